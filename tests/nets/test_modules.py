"""Modules of flax.nnx and Equinox as nets: the same numbers as the same net in linen, all through the library."""

import itertools
from contextlib import closing
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import diffjax as dj
from diffjax.nets import from_equinox, from_nnx, lora
from diffjax.nets.module_net import ModuleNet
from diffjax.training.checkpoint import Saver, restore, to_orbax
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import create, warm_start
from diffjax.utils.tree_paths import leaves_by_name

eqx = pytest.importorskip("equinox")

NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
LOSS = dj.loss.regression(NOISE, dj.order.together)
X = jnp.asarray(np.random.default_rng(0).normal(size=(16, 2)), jnp.float32)
LEVEL, LABELS = jnp.linspace(0.1, 0.9, 16)[:, None], jnp.arange(16) % 2
BATCH = {"x": X, "cond": LABELS}
ONE = jax.devices()[:1]
WIDTH, NULL = 8, 2


class InLinen(nn.Module):
    @nn.compact
    def __call__(self, x, level, cond=None, keys=None):
        hidden = nn.Dense(WIDTH)(jnp.concatenate([x, jnp.broadcast_to(level, (len(x), 1))], axis=1))
        hidden += nn.Embed(NULL + 1, WIDTH)(jnp.full(len(x), NULL) if cond is None else cond)
        return nn.Dense(2)(nn.silu(hidden))


class InNNX(nnx.Module):
    null_cond = NULL

    def __init__(self, rngs: nnx.Rngs, dropout: float = 0.0):
        self.layers = nnx.List([nnx.Linear(3, WIDTH, rngs=rngs), nnx.Linear(WIDTH, 2, rngs=rngs)])
        self.table = nnx.Embed(NULL + 1, WIDTH, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.offset = jnp.zeros(2)

    def __call__(self, x, level, cond=None, keys=None):
        hidden = self.layers[0](jnp.concatenate([x, level], axis=1))
        hidden += self.table(jnp.full(len(x), NULL) if cond is None else cond)
        return self.layers[1](self.dropout(nnx.silu(hidden))) + self.offset[None]


class InEquinox(eqx.Module):
    layers: list[Any]
    table: Any
    dropout: Any
    offset: Any
    null_cond: int = eqx.field(static=True)

    def __init__(self, key, dropout: float = 0.0):
        one, two, three = jax.random.split(key, 3)
        self.layers = [eqx.nn.Linear(3, WIDTH, key=one), eqx.nn.Linear(WIDTH, 2, key=two)]
        self.table = eqx.nn.Embedding(NULL + 1, WIDTH, key=three)
        self.dropout = eqx.nn.Dropout(dropout)
        self.offset = jnp.zeros(2, jnp.int32)
        self.null_cond = NULL

    def __call__(self, x, level, cond=None, *, key=None):
        hidden = self.layers[0](jnp.concatenate([x, level]))
        hidden += self.table(jnp.asarray(NULL) if cond is None else cond)
        return self.layers[1](self.dropout(jax.nn.silu(hidden), key=key)) + self.offset


def of_nnx(seed: int = 0, dropout: float = 0.0) -> ModuleNet:
    return from_nnx(InNNX(nnx.Rngs(seed), dropout))


def of_equinox(seed: int = 0, dropout: float = 0.0) -> ModuleNet:
    return from_equinox(InEquinox(jax.random.key(seed), dropout))


def linen_of_nnx(params):
    layers = params["layers"]
    return {"Dense_0": layers["0"], "Dense_1": layers["1"], "Embed_0": params["table"]}


def linen_of_equinox(params):
    layers = [{"kernel": layer["weight"].T, "bias": layer["bias"]} for _, layer in sorted(params["layers"].items())]
    return {"Dense_0": layers[0], "Dense_1": layers[1], "Embed_0": {"embedding": params["table"]["weight"]}}


FRAMEWORKS = {"nnx": (of_nnx, linen_of_nnx), "equinox": (of_equinox, linen_of_equinox)}


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    """(make a net, the params of the same linen net of its own)."""
    return FRAMEWORKS[request.param]


def trained(net, steps=4, start=None, **more):
    losses: list[Any] = []
    more = {"optimizer": optax.adam(1e-2), "ema": (0.5,), "devices": ONE, **more}
    watch = {"watch": lambda _, metrics: losses.extend(metrics["loss"])}
    state = dj.fit(jax.random.key(1), net, LOSS, itertools.repeat(BATCH), steps, start=start, **watch, **more)
    return state, np.asarray(losses)


def close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other)


def test_training_is_that_of_the_same_net_in_linen(framework) -> None:
    """Losses, weights and averages; training begins with the module's weights."""
    make, in_linen = framework
    net = make()
    state, losses = trained(net)
    start = create(jax.random.key(0), InLinen(), optax.adam(1e-2), (0.5,), X, LABELS)
    expected, expected_losses = trained(InLinen(), start=begun_with_key(start, in_linen(net.variables["params"])))
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    close(in_linen(state.params), expected.params)
    close(in_linen(state.ema["params"]), expected.ema["params"])


def begun_with_key(state, params):
    """The state with these weights, and the key that `fit` would have given it."""
    return warm_start(state, params).replace(key=jax.random.split(jax.random.key(1))[1])


def test_samples_are_those_of_the_same_net_in_linen(framework) -> None:
    """With a condition, under guidance, and without a condition."""
    make, in_linen = framework
    net = make()
    own = dj.denoiser(NOISE, net, net.variables)
    same = dj.denoiser(NOISE, InLinen(), {"params": in_linen(net.variables["params"])})
    given = dj.keys(0, 16), NOISE, dj.order.together
    for cond, change in (
        (None, lambda denoise: denoise),
        (LABELS, lambda denoise: denoise),
        (LABELS, lambda denoise: dj.guidance.cfg(denoise, 2.0, net.null_cond)),
    ):
        drawn, expected = (dj.sample(*given, change(each), (2,), cond=cond, steps=5) for each in (own, same))
        np.testing.assert_allclose(drawn, expected, atol=1e-4)


def test_equal_modules_compile_once(framework) -> None:
    """Whatever their weights, and not where what is computed differs."""
    make, _ = framework
    traces = []

    @jax.jit
    def output(denoise, x, t):
        traces.append(denoise)
        return denoise(x, t, None)

    one, other, different = make(0), make(1), make(0, dropout=0.5)
    for net in (one, other, different):
        output(dj.denoiser(NOISE, net, net.variables), X, LEVEL)
    assert len(traces) == 2
    assert one == other
    assert hash(one) == hash(other)
    assert one != different


def test_constants_are_compared_by_what_they_hold() -> None:
    moved_nnx, moved_equinox = InNNX(nnx.Rngs(0)), InEquinox(jax.random.key(0))
    moved_nnx.offset = jnp.ones(2)
    moved_equinox = eqx.tree_at(lambda module: module.offset, moved_equinox, jnp.ones(2, jnp.int32))
    for net, moved in ((of_nnx(), from_nnx(moved_nnx)), (of_equinox(), from_equinox(moved_equinox))):
        assert net != moved
        assert "offset" not in net.variables["params"]
        out, shifted = (each.apply(net.variables, X, LEVEL) for each in (net, moved))
        np.testing.assert_allclose(shifted, out + 1, atol=1e-6)


def test_what_is_frozen_by_its_path_stays(framework) -> None:
    net = framework[0]()
    frozen, optimizer = dj.freeze(net, optax.adam(1e-2), ("layers/0/*",))
    state, _ = trained(frozen, optimizer=optimizer)
    before, after = leaves_by_name(net.variables["params"]), leaves_by_name(state.params)
    assert {name for name in before if np.array_equal(before[name], after[name])} == {
        name for name in before if name.startswith("layers/0/")
    }


def test_low_rank_changes_are_trained_alone(framework) -> None:
    base = framework[0]()
    state, losses = trained(lora(base, rank=2, on="layers/*"))
    close(state.params["base"], base.variables["params"])
    assert len(leaves_by_name(state.params["lora"])) == 4
    assert np.isfinite(losses).all()


def test_a_checkpoint_holds_all(framework, tmp_path) -> None:
    net = framework[0]()
    with closing(Saver(tmp_path, RetentionPolicy())) as saver:
        whole, _ = trained(net, steps=4, events=[(2, saver.save)])
    fresh = create(jax.random.key(0), framework[0](1), optax.adam(1e-2), (0.5,), X, LABELS)
    again = restore(tmp_path, fresh)
    assert again is not None
    for one, other in zip(jax.tree.leaves(to_orbax(again)), jax.tree.leaves(to_orbax(whole)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_module_comes_back_with_its_weights() -> None:
    net = of_nnx()
    state, _ = trained(net)
    module = net.module(state.ema)
    assert isinstance(module, InNNX)
    np.testing.assert_allclose(module(X, LEVEL, LABELS), net.apply(state.ema, X, LEVEL, LABELS), atol=1e-6)
    net = of_equinox()
    module = net.module(trained(net)[0].ema)
    assert isinstance(module, InEquinox)
    assert jax.vmap(module)(X, LEVEL, LABELS).shape == X.shape


def test_the_module_may_change_later() -> None:
    """A net is of the module as it was; and training donates no array of the module."""
    module = InNNX(nnx.Rngs(0))
    net = from_nnx(module)
    before = net.apply(net.variables, X, LEVEL)
    trained(net)
    module.table.embedding[...] = jnp.zeros_like(module.table.embedding[...])
    np.testing.assert_array_equal(net.apply(net.variables, X, LEVEL), before)


def test_an_example_drops_by_its_own_key_and_only_in_training(framework) -> None:
    make, _ = framework
    net, whole = make(0, 0.5), make(0)
    apply = jax.jit(lambda x, level, cond, keys: net.apply(net.variables, x, level, cond, keys))
    dropped = apply(X, LEVEL, LABELS, dj.keys(0, 16))
    np.testing.assert_allclose(dropped[6:], apply(X[6:], LEVEL[6:], LABELS[6:], dj.keys(0, 10, start=6)), atol=1e-5)
    same = apply(jnp.repeat(X[:1], 16, 0), LEVEL[:1] + 0 * LEVEL, 0 * LABELS, dj.keys(0, 16))
    assert len(np.unique(np.asarray(same), axis=0)) > 8  # of 256 masks of eight numbers, 16 are drawn
    close(apply(X, LEVEL, LABELS, None), whole.apply(whole.variables, X, LEVEL, LABELS))
    assert np.isfinite(trained(net)[1]).all()


def test_a_batch_of_levels_may_be_one(framework) -> None:
    net = framework[0]()
    np.testing.assert_array_equal(
        net.apply(net.variables, X, LEVEL[:1]), net.apply(net.variables, X, LEVEL[:1] + 0 * LEVEL)
    )


def test_weights_are_no_constants_of_a_program(framework) -> None:
    """They would be copied several times (JAX warns, an error here); nor are they buffers that training gives away."""
    net = framework[0]()
    warn_bytes = jax.config.values["jax_captured_constants_warn_bytes"]
    jax.config.update("jax_captured_constants_warn_bytes", 64)
    try:
        state = create(jax.random.key(0), net, optax.adam(1e-2), (0.5,), X, LABELS)
    finally:
        jax.config.update("jax_captured_constants_warn_bytes", warn_bytes)
    own = {leaf.unsafe_buffer_pointer() for leaf in net.arrays.values()}
    assert not own & {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state.params)}
