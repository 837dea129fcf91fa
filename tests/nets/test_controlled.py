"""A condition added to a net that stays as it is: at first nothing changes, and then only what was added."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import loss, nets, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets.condition_encoders import Number, Picture
from diffjax.nets.controlnet import control
from diffjax.noise import Gaussian
from diffjax.protocols import ConditionPart
from diffjax.training.freezing import freeze
from diffjax.training.optimizers import adamw
from diffjax.training.state import create, warm_start
from diffjax.training.step import train_step
from tests.quickly import few

B = 4
SKETCH = (Picture(part="sketch", shape=(4, 4, 1)),)
BASES = {
    "unet": nets.UNet(width=8, multipliers=(1, 1), heads=2, classes=3),
    "dit": nets.DiT(patch=2, width=8, depth=2, heads=2, classes=3),
    "parts": nets.DiT(patch=2, width=8, depth=1, heads=2, conditions=(Number(),)),
    "tokens": nets.Transformer(vocab=5, shape=(4, 4, 1), width=8, depth=2, heads=2),
}
SKETCHES = ConditionPart(jnp.linspace(0, 1, B * 16).reshape(B, 4, 4, 1), jnp.ones(B, bool))
CONDITIONS = {
    "unet": {"label": jnp.arange(B) % 3},
    "dit": {"label": jnp.arange(B) % 3},
    "parts": {"number": ConditionPart(jnp.arange(B) / 4, jnp.ones(B, bool))},
    "tokens": {},
}


@pytest.fixture(scope="module", params=few(list(BASES), "unet", "dit", "parts"))
def made(request):
    """A base with random weights, the net that adds a sketch to it, and an input of both."""
    base = BASES[request.param]
    net = control(base.clone(conditions=(*base.conditions, *SKETCH)))
    tokens = request.param == "tokens"
    x = jnp.arange(B * 16).reshape(B, 16) % 5 if tokens else jnp.linspace(-1, 1, B * 16).reshape(B, 4, 4, 1)
    level = jnp.full((B, 1) if tokens else (B, 1, 1, 1), 0.5)
    own = CONDITIONS[request.param]
    cond = {**own, "sketch": SKETCHES}
    variables = jax.jit(net.init)(jax.random.key(0), x, level, cond)
    leaves, tree = jax.tree.flatten(variables["params"]["base"])
    moved = [leaf + 0.2 * jax.random.normal(jax.random.key(i), leaf.shape) for i, leaf in enumerate(leaves)]
    variables["params"]["base"] = jax.tree.unflatten(tree, moved)
    return base, net, variables, (x, level), own.get("label", own or None), cond


def test_at_first_it_is_the_base_exactly(made) -> None:
    """Bit for bit; compiled, XLA rounds in another order."""
    base, net, variables, at, own, cond = made
    of_base = base.apply({"params": variables["params"]["base"]}, *at, own)
    np.testing.assert_array_equal(net.apply(variables, *at, cond), of_base)
    np.testing.assert_allclose(jax.jit(net.apply)(variables, *at, cond), of_base, atol=4e-6)


def test_training_moves_what_was_added_alone_and_so_the_sketch_matters(made) -> None:
    _, bare, variables, (x, level), _, cond = made
    if jnp.issubdtype(x.dtype, jnp.integer):
        pytest.skip("the same code, with another noise")
    net, optimizer = freeze(bare, adamw(20, 0.1, 0))
    state = warm_start(create(jax.random.key(0), net, optimizer, (0.9,), x, cond), variables["params"])
    before = jax.tree.map(jnp.copy, state.params)
    noise = Gaussian(schedule.cosine, predict.v)
    some = loss.regression(noise, order.together)
    step = jax.jit(lambda state, batch: train_step(net, some, optimizer, state, batch))
    for _ in range(3):
        state, _ = step(state, {"x": x, "cond": cond, "index": jnp.arange(B)})
    np.testing.assert_array_equal(
        *(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(each["base"])]) for each in (before, state.params))
    )
    apply = jax.jit(lambda cond: net.apply({"params": state.params}, x, level, cond))
    other = {**cond, "sketch": ConditionPart(1 - SKETCHES.value, SKETCHES.present)}
    assert float(jnp.max(jnp.abs(apply(cond) - apply(other)))) > 1e-4


def test_its_null_condition_is_that_of_all_parts(made) -> None:
    base, net, *_ = made
    null = net.null_cond
    assert not bool(null["sketch"].present)
    assert net.base == base


def test_what_cannot_be_controlled_is_named() -> None:
    cases = [
        (lambda: control(BASES["dit"]), r"Picture\(part='sketch'\).*model\.conditions"),
        (lambda: control(nets.DiT(conditions=(Number(part="sketch"),))), "Picture"),
        (lambda: control(nets.MLP(conditions=SKETCH)), "^control: .*MLP"),
        (
            lambda: control(nets.Transformer(vocab=3, shape=(4, 4), causal=True, conditions=SKETCH)),
            "^control: .*Transformer",
        ),
    ]
    for mistake, told in cases:
        with pytest.raises(UserError, match=told):
            mistake()
