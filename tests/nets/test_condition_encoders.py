"""Conditions of parts: each matters where it is present, and where it is not its value does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import nets, order, steps
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.nets.condition_encoders import Category, Embedded, Number, Picture, Style, Text
from diffjax.noise import Masking
from diffjax.protocols import ConditionPart
from diffjax.sampling import cached
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys
from tests.quickly import few

B, SIDE = 3, 4
CONDITIONS = (
    Text(width=8, depth=1, heads=1, shape=(6,)),
    Picture(part="sketch", shape=(SIDE, SIDE, 1)),
    Picture(part="low_res", shape=(2, 2, 1)),
    Number(part="weight", center=1.0, spread=2.0),
    Category(part="font", vocab=3),
    Embedded(part="other", shape=(2, 5)),
    Style(shape=(6, 4, 3), width=4, code=3),
)
SIZES = {"width": 8, "depth": 1, "heads": 2, "classes": 4, "conditions": CONDITIONS}
MADE = {
    "dit": nets.DiT(patch=2, **SIZES),
    "unet": nets.UNet(width=8, multipliers=(1, 1), heads=2, classes=4, conditions=CONDITIONS, attention=(0,)),
    "mlp": nets.MLP(width=8, depth=1, classes=4, conditions=CONDITIONS),
    "mar": nets.MAR(head_width=8, head_depth=1, **SIZES),
    "transformer": nets.Transformer(vocab=5, shape=(SIDE, SIDE, 1), **SIZES),
    "causal": nets.Transformer(vocab=5, shape=(SIDE, SIDE, 1), causal=True, **SIZES),
}
PARTS = [each.part for each in CONDITIONS]


def x_of(name: str) -> tuple[jax.Array, jax.Array, dict]:
    """An input of a net, with a level and what else it must be told."""
    if name in ("transformer", "causal"):
        rank = {"rank": jnp.broadcast_to(jnp.arange(16) / 16, (B, 16))} if name == "causal" else {}
        return jnp.arange(B * 16).reshape(B, 16) % 5, jnp.full((B, 1), 0.5), rank
    return jnp.linspace(-1, 1, B * 16).reshape(B, SIDE, SIDE, 1), jnp.full((B, 1, 1, 1), 0.5), {}


def condition(seed: int) -> dict:
    """Every part of the condition, by chance."""
    rng, there = np.random.default_rng(seed), jnp.ones(B, bool)
    values = {
        "text": rng.integers(1, 257, (B, 6)).astype(np.int32),
        "sketch": rng.uniform(size=(B, SIDE, SIDE, 1)).astype(np.float32),
        "low_res": rng.uniform(size=(B, 2, 2, 1)).astype(np.float32),
        "weight": rng.uniform(size=B).astype(np.float32),
        "font": ((np.arange(B) + seed) % 3).astype(np.int32),
        "other": rng.normal(size=(B, 2, 5)).astype(np.float32),
        "reference": rng.normal(size=(B, 6, 4, 3)).astype(np.float32),
    }
    parts = {name: ConditionPart(jnp.asarray(value), there) for name, value in values.items()}
    return {"label": (jnp.arange(B) + seed) % 4, **parts}


@pytest.fixture(scope="module", params=few(list(MADE), "dit", "unet", "causal"))
def net(request):
    """A net with random weights: (its name, the net, variables, its jitted call on one input)."""
    made = MADE[request.param]
    x, level, told = x_of(request.param)
    variables = jax.jit(made.init)(jax.random.key(0), x, level, condition(0))
    leaves, tree = jax.tree.flatten(variables)
    moved = [leaf + 0.2 * jax.random.normal(jax.random.key(i), leaf.shape) for i, leaf in enumerate(leaves)]
    variables = jax.tree.unflatten(tree, moved)
    return request.param, made, variables, jax.jit(lambda cond: made.apply(variables, x, level, cond, **told))


def without(cond: dict, part: str) -> dict:
    """The condition with a part that is not present."""
    return {**cond, part: ConditionPart(cond[part].value, jnp.zeros(B, bool))}


def test_every_part_matters_and_each_example_has_its_own(net) -> None:
    *_, apply = net
    whole, other = condition(1), condition(2)
    out = apply(whole)
    for part in whole:
        changed = apply({**whole, part: jax.tree.map(lambda a, b: a.at[0].set(b[0]), whole[part], other[part])})
        moved = jnp.max(jnp.abs(changed - out).reshape(B, -1), axis=1)
        assert moved[0] > 1e-5, part
        np.testing.assert_allclose(moved[1:], 0, atol=1e-5)


def test_what_is_not_present_is_what_was_learnt_in_its_place(net) -> None:
    *_, apply = net
    whole, other = condition(1), condition(2)
    for part in PARTS:
        absent = apply(without(whole, part))
        np.testing.assert_array_equal(absent, apply(without({**whole, part: other[part]}, part)), part)
        left_out = {each: given for each, given in whole.items() if each != part}
        np.testing.assert_allclose(absent, apply(left_out), atol=1e-5)
        assert float(jnp.max(jnp.abs(absent - apply(whole)))) > 1e-5, part


def test_the_null_condition_is_none_of_the_parts_and_a_label_alone_is_one(net) -> None:
    _, made, _, apply = net
    null = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (B, *leaf.shape)), made.null_cond)
    assert {*null} == {"label", *PARTS}
    np.testing.assert_allclose(apply(null), apply(None), rtol=1e-5, atol=2e-5)
    labels = jnp.arange(B)
    np.testing.assert_allclose(apply({**null, "label": labels}), apply(labels), rtol=1e-5, atol=2e-5)
    assert jax.tree.structure(null) == jax.tree.structure(condition(1))


def test_the_cache_of_a_causal_net_knows_the_condition() -> None:
    made = MADE["causal"]
    x, level, _ = x_of("causal")
    variables = jax.jit(made.init)(jax.random.key(0), x, level, condition(0))
    noise = Masking(5)
    variables = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), variables)
    told = {"cond": condition(1), "steps": 16, "step": steps.posterior()}
    args = keys(0, B), noise, order.raster, denoiser(noise, made, variables), (16,)
    np.testing.assert_array_equal(cached.sample(*args, **told), sample(*args, **told))


def test_a_net_without_conditions_has_the_weights_that_it_had() -> None:
    x, level, _ = x_of("dit")
    bare = nets.DiT(patch=2, width=8, depth=1, heads=2, classes=4)
    given = nets.DiT(patch=2, **SIZES)
    names = [
        {"/".join(str(key.key) for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
        for params in (jax.eval_shape(net.init, jax.random.key(0), x, level) for net in (bare, given))
    ]
    assert names[0] < names[1]  # so that a run can begin from the weights of one without


def test_what_does_not_fit_is_named(untyped) -> None:
    x, level, _ = x_of("dit")
    bare, given = nets.DiT(width=8, depth=1, classes=4), MADE["dit"]
    variables = jax.jit(given.init)(jax.random.key(0), x, level)
    whole = condition(1)
    cases = [
        (lambda: nets.DiT(conditions=(Number(part="label"),)), "'label'"),
        (lambda: nets.DiT(conditions=(Number(), Number())), "conditions"),
        (lambda: nets.MLP(conditions=("text",)), "conditions"),
        (lambda: nets.UNet(conditions=(Text(drop=1.5),)), "drop of 'text'"),
        (lambda: nets.UNet(conditions=(Text(table=1000),)), "table of 'text'"),
        (lambda: nets.DiT(depth=2, perturbed=(2,)), "perturbed .*0 … 1"),
        (lambda: bare.init(jax.random.key(0), x, level, whole), "label.* label, text"),
        (lambda: given.apply(variables, x, level, {"depth": whole["sketch"]}), "depth"),
        (
            lambda: given.apply(variables, x, level, {**whole, "sketch": whole["low_res"]}),
            "'sketch'.*\\(4, 4, 1\\).*\\(2, 2, 1\\)",
        ),
    ]
    for mistake, told in cases:
        with pytest.raises(UserError, match=told):
            jax.eval_shape(mistake)
