"""What a net may do to be small and fast: compute in bfloat16, and its blocks twice; and how large it may be."""

import dataclasses
import itertools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from quickly import few

from diffjax import loss, nets, order, predict, schedule
from diffjax.denoising import PerExample, denoiser
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.nets import MLP, DiT, Transformer, UNet
from diffjax.noise import Gaussian, Masking
from diffjax.sampling import cached
from diffjax.training.loop import fit
from diffjax.training.state import create
from diffjax.utils.prng import keys

PICTURE, TOKENS = jnp.linspace(-1, 1, 2 * 64).reshape(2, 8, 8, 1), jnp.arange(32).reshape(2, 16) % 5
LEVEL, LABELS, RANK = jnp.full((2, 1, 1, 1), 0.5), jnp.array([0, 1]), jnp.linspace(0.1, 0.9, 32).reshape(2, 16)
NETS = {
    "mlp": (MLP(width=16, depth=2, classes=2, dropout=0.1), (PICTURE, LEVEL, LABELS), {}),
    "unet": (UNet(width=8, classes=2, attention=(0,), dropout=0.1), (PICTURE, LEVEL, LABELS), {}),
    "dit": (DiT(width=16, depth=2, heads=2, classes=2, dropout=0.1), (PICTURE, LEVEL, LABELS), {}),
    "transformer": (Transformer(5, (4, 4), 16, 2, 2, classes=2), (TOKENS, LEVEL[:, :, 0, 0], LABELS), {}),
    "causal": (Transformer(5, (16,), 16, 2, 2, causal=True), (TOKENS, LEVEL[:, :, 0, 0], None), {"rank": RANK}),
}

EXACT = ("sin", "cos", "exp", "rsqrt", "reduce_sum", "reduce_max")
GAUSSIAN, MASKING = Gaussian(schedule.cosine, predict.v), Masking(5)
LOSSES = {
    "mlp": (GAUSSIAN, loss.regression(GAUSSIAN, order.together)),
    "causal": (MASKING, loss.causal(MASKING, order.raster)),
}


def variables(name: str):
    """Weights that are not zero anywhere."""
    net, given, more = NETS[name]
    leaves, tree = jax.tree.flatten(jax.jit(lambda: net.init(jax.random.key(0), *given, **more))())
    moved = [leaf + 0.1 * jax.random.normal(jax.random.key(i), leaf.shape) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(tree, moved)


def value_and_gradient(net, name: str, weights):
    _, given, more = NETS[name]

    def loss(weights):
        out = net.apply(weights, *given, keys=keys(0, 2), **more)
        return jnp.mean(jnp.sin(out)), out

    (_, out), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(weights)
    return out, grads


@pytest.fixture(scope="module", params=few(NETS, "mlp", "transformer"))
def found(request):
    """A net's name, its weights, and output and gradient in float32."""
    weights = variables(request.param)
    return request.param, weights, *value_and_gradient(NETS[request.param][0], request.param, weights)


def test_computation_in_bfloat16_is_that_in_float32_to_three_digits(found) -> None:
    name, weights, out, grads = found
    small = dataclasses.replace(NETS[name][0], dtype="bfloat16")
    shapes = jax.eval_shape(lambda: small.init(jax.random.key(0), *NETS[name][1], **NETS[name][2]))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    other, others = value_and_gradient(small, name, weights)
    assert other.dtype == jnp.float32
    assert 0 < float(jnp.max(jnp.abs(out - other))) < 0.03 * float(jnp.max(jnp.abs(out)))
    apart = jax.tree.map(jnp.subtract, grads, others)
    assert float(optax.tree.norm(apart)) < 0.05 * float(optax.tree.norm(grads))
    assert {leaf.dtype for leaf in jax.tree.leaves(others)} == {jnp.dtype("float32")}


def test_the_output_is_summed_up_in_float32(found) -> None:
    """Outputs would otherwise be among the few numbers that bfloat16 has."""
    name, weights, *_ = found
    small = dataclasses.replace(NETS[name][0], dtype="bfloat16")
    _, given, more = NETS[name]
    out = jax.jit(lambda weights: small.apply(weights, *given, **more))(weights)
    assert np.mean(np.asarray(out) == np.asarray(out.astype(jnp.bfloat16).astype(jnp.float32))) < 0.1


def operations(jaxpr: Any) -> Iterator[Any]:
    """All operations of a program, those of its parts too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda part: hasattr(part, "eqns")):
            if hasattr(inner, "eqns"):
                yield from operations(inner)


@pytest.mark.parametrize("name", NETS)
def test_sinusoids_softmax_and_statistics_are_never_rounded(name) -> None:
    """What only attention's softmax, the level's sinusoids and the norms do is done in float32."""
    net, given, more = NETS[name]
    small = dataclasses.replace(net, dtype="bfloat16")
    weights = jax.eval_shape(lambda: small.init(jax.random.key(0), *given, **more))
    made = list(operations(jax.make_jaxpr(lambda weights: small.apply(weights, *given, **more))(weights).jaxpr))
    kinds = {name: {str(one.invars[0].aval.dtype) for one in made if str(one.primitive) == name} for name in EXACT}
    assert kinds["sin"] == kinds["rsqrt"] == {"float32"}
    assert kinds["exp"] == ({"float32"} if name != "mlp" else set())
    assert all(kind <= {"float32"} for kind in kinds.values())
    assert "bfloat16" in {str(one.invars[0].aval.dtype) for one in made if str(one.primitive) == "dot_general"}


@pytest.mark.parametrize("name", few(LOSSES, "causal"))
def test_a_step_of_training_in_bfloat16_moves_weights_of_float32(name) -> None:
    """And what loss and sampler compute around the net is float32 too."""
    net, (x, _, cond), more = NETS[name]
    small = dataclasses.replace(net, dtype="bfloat16", depth=1)
    noise, a_loss = LOSSES[name]
    told: list[dict[str, Any]] = []
    start = create(jax.random.key(0), small, optax.adam(0.1), (0.9,), x, cond)
    state = fit(
        jax.random.key(0),
        small,
        a_loss,
        itertools.repeat({"x": x, "cond": cond}),
        1,
        optimizer=optax.adam(0.1),
        start=start,
        devices=jax.devices()[:1],
        watch=lambda _, metrics: told.append(metrics),
    )
    assert (told[0]["loss"].dtype, told[0]["grad_norm"].dtype) == (jnp.float32, jnp.float32)
    floats = [leaf for leaf in jax.tree.leaves((state.params, state.opt_state, state.emas)) if leaf.ndim]
    assert {str(leaf.dtype) for leaf in floats} == {"float32"}
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), start.params, state.params)
    assert any(jax.tree.leaves(moved))
    ranks = {name: PerExample(each) for name, each in more.items()}
    denoise = dataclasses.replace(denoiser(noise, small, {"params": state.params}), **ranks)
    assert jax.eval_shape(denoise, x, jnp.full((2,) + (1,) * (x.ndim - 1), 0.5), cond).dtype == jnp.float32


def test_a_cache_does_not_know_that_blocks_are_computed_twice() -> None:
    """Nor does it hold more digits than the net computes with."""
    weights, drawn = variables("causal"), []
    for remat in (False, True):
        net = dataclasses.replace(NETS["causal"][0], dtype="bfloat16", remat=remat)
        drawn.append(cached.sample(keys(0, 4), MASKING, order.raster, denoiser(MASKING, net, weights), (16,)))
        assert {str(cache.key.dtype) for cache in net.init_cache(1)} == {"bfloat16"}
    np.testing.assert_array_equal(*drawn)
    assert len(np.unique(drawn[0])) > 1


def test_blocks_computed_twice_change_neither_names_nor_numbers(found) -> None:
    name, weights, out, grads = found
    thrifty = dataclasses.replace(NETS[name][0], remat=True)
    shapes = jax.eval_shape(lambda: thrifty.init(jax.random.key(0), *NETS[name][1], **NETS[name][2]))
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, weights)
    other, others = value_and_gradient(thrifty, name, weights)
    np.testing.assert_allclose(out, other, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, others)


@pytest.mark.parametrize(
    "net",
    [
        DiT(width=32, depth=8, heads=2),
        pytest.param(UNet(width=8, blocks=3), marks=pytest.mark.long),
        MLP(width=16, depth=16),
    ],
)
def test_blocks_computed_twice_leave_less_to_be_remembered(net) -> None:
    """Counted is what the way there leaves for the way back, weights aside. (XLA undoes all this on a CPU.)"""
    x, level = jnp.zeros((8, 16, 16, 1)), jnp.full((8, 1, 1, 1), 0.5)

    def left(net) -> int:
        weights = jax.eval_shape(net.init, jax.random.key(0), x, level)
        back = jax.eval_shape(
            lambda weights: jax.vjp(lambda weights: net.apply(weights, x, level), weights)[1], weights
        )
        return sum(leaf.size for leaf in jax.tree.leaves(back) if leaf.shape[:1] == (8,))

    assert left(dataclasses.replace(net, remat=True)) < 0.25 * left(net)


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (MLP, {"depth": 10**4_000}, "^net: .*depth .*512"),
        (MLP, {"dropout": float("nan")}, "^net: dropout "),
        (MLP, {"dtype": "float16"}, "^net: dtype .*float32.*bfloat16"),
        (MLP, {"dtype": [1]}, "^net: dtype "),
        (UNet, {"multipliers": (1,) * 10**6}, "^net: .*depths .*16"),
        (UNet, {"multipliers": (1, 10**9)}, "^net: .*multiplier .*1,024"),
        (UNet, {"attention": (0,) * 10**6}, "^UNet: attention .*0 … 1"),
        (UNet, {"attention": tuple(range(10**6))}, "^UNet: attention .*0 … 1"),
        (UNet, {"attention": (-1,)}, "^UNet: attention .*0 … 1"),
        (DiT, {"dtype": "x" * 10**6}, "^net: dtype "),
        (DiT, {"dropout": float("inf")}, "dropout"),
        (Transformer, {"vocab": 10**12, "shape": (4, 4)}, "^net: .*vocab .*1,048,576"),
        (Transformer, {"vocab": 5, "shape": ()}, "^net: .*shape"),
        (Transformer, {"vocab": 5, "shape": (4, 4), "dtype": "float8"}, "^net: dtype "),
    ],
)
def test_what_no_net_is_is_refused_as_it_is_made(untyped, kind, given, told) -> None:
    begun = time.perf_counter()
    with pytest.raises(UserError, match=told) as error:
        kind(**given)
    assert time.perf_counter() - begun < 0.5
    assert len(str(error.value)) < 200


def test_a_config_of_such_a_net_is_refused_by_its_field() -> None:
    for text in ("UNet(width=1000000000)", f"UNet(multipliers={[1] * 3_000})", "UNet(dropout=1.5)"):
        with pytest.raises(UserError, match=r"^model\.net: net: (width|depths|dropout)\b"):
            specs.instantiate(nets, text, "model.net", classes=0)
