"""Training a part of a net: what is frozen keeps every bit and costs nothing; adapters are all that changes."""

import dataclasses
import itertools
import shutil
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax import loss, nets, order, predict, schedule
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.nets import MLP, DiT, Transformer, UNet, adapters, lora
from diffjax.noise import Gaussian, Masking
from diffjax.sampling import cached
from diffjax.sampling.loop import sample
from diffjax.training.checkpoint import Saver, restore, to_orbax
from diffjax.training.freezing import freeze
from diffjax.training.loop import fit
from diffjax.training.optimizers import adamw
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import create, warm_start
from diffjax.utils.prng import keys
from diffjax.utils.tree_paths import leaves_by_name

NET = MLP(width=8, depth=1, classes=2)
LOSS = loss.regression(Gaussian(schedule.cosine, predict.v), order.together)
X = jnp.asarray(np.random.default_rng(0).normal(size=(16, 3)), jnp.float32)
BATCH = {"x": X, "cond": jnp.arange(16) % 2}
ONE = jax.devices()[:1]


def trained(net, optimizer, start=None, steps=3, **more):
    given = {"optimizer": optimizer, "start": start, "devices": ONE, **more}
    return fit(jax.random.key(0), net, LOSS, itertools.repeat(BATCH), steps, **given)


@pytest.fixture(scope="module")
def begun():
    """Weights that are not zero anywhere, where a net begins."""
    state = create(jax.random.key(0), NET, optax.sgd(0.1), (0.9,), X, BATCH["cond"])
    leaves, tree = jax.tree.flatten(state.params)
    return jax.tree.unflatten(tree, [leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape) for leaf in leaves])


def test_what_is_frozen_keeps_every_bit_and_has_no_state(begun) -> None:
    """Though its weights would decay; and all else moves."""
    net, optimizer = freeze(NET, adamw(10, 0.1, 0, weight_decay=0.5), ("Embedding_0/*", "*/bias"))
    start = warm_start(create(jax.random.key(0), net, optimizer, (0.9,), X, BATCH["cond"]), begun)
    state = trained(net, optimizer, start)
    before, after = leaves_by_name(begun), leaves_by_name(state.params)
    for name in before:
        same = np.array_equal(before[name], after[name])
        assert same == (name.startswith("Embedding_0/") or name.endswith("/bias")), name
    trained_size = sum(leaf.size for name, leaf in before.items() if not np.array_equal(leaf, after[name]))
    moments = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    assert moments == 2 * trained_size


@pytest.mark.long
def test_the_norm_that_is_clipped_and_told_is_of_what_is_trained(begun) -> None:
    """One step of plain descent on the last layer alone is the same layer's step with all else held by hand."""
    patterns = ("Embedding_0/*", "Dense_0/*", "Dense_1/*", "Dense_2/*", "Layer*", "Mod*")
    plain = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    net, optimizer = freeze(NET, plain, patterns)
    start = warm_start(create(jax.random.key(0), net, optimizer, (0.9,), X, BATCH["cond"]), begun)
    told = []
    state = fit(
        jax.random.key(0),
        net,
        LOSS,
        itertools.repeat(BATCH),
        1,
        optimizer=optimizer,
        start=start,
        devices=ONE,
        watch=lambda _, metrics: told.append(float(metrics["grad_norm"][0])),
    )
    moved = jax.tree.map(jnp.subtract, begun, state.params)
    np.testing.assert_allclose(optax.tree.norm(moved), 1e-3, rtol=1e-3)
    free = trained(
        NET,
        optax.sgd(1.0),
        warm_start(create(jax.random.key(0), NET, optax.sgd(1.0), (0.9,), X, BATCH["cond"]), begun),
        1,
    )
    of_last = jax.tree.map(jnp.subtract, begun["Dense_3"], free.params["Dense_3"])
    np.testing.assert_allclose(told[0], optax.tree.norm(of_last), rtol=1e-4)


def test_no_gradient_is_computed_for_what_is_frozen() -> None:
    """The program of a gradient has fewer operations, not the same ones and zeros at the end."""
    net, _ = freeze(NET, optax.sgd(1.0), ("Embedding_0/*", "Dense_0/*"))
    level = jnp.full((16, 1), 0.5)

    def operations(net) -> int:
        weights = jax.eval_shape(net.init, jax.random.key(0), X, level, BATCH["cond"])
        grad = jax.grad(lambda weights: jnp.sum(net.apply(weights, X, level, BATCH["cond"])))
        return str(jax.make_jaxpr(grad)(weights)).count("dot_general")

    assert operations(net) < operations(NET)


def test_patterns_that_mean_nothing_are_refused() -> None:
    for patterns, message in (
        (("Embeding_0/*",), r"train\.freeze: .*'Embeding_0/\*'.* Embedding_0/"),
        (("*",), r"^train\.freeze: "),
    ):
        net, optimizer = freeze(NET, optax.sgd(1.0), patterns)
        with pytest.raises(UserError, match=message):
            create(jax.random.key(0), net, optimizer, (0.9,), X, BATCH["cond"])
    assert freeze(NET, adamw(10), ())[0] is NET


PICTURES, LEVEL = jnp.linspace(-1, 1, 2 * 64).reshape(2, 8, 8, 1), jnp.full((2, 1, 1, 1), 0.5)
TOKENS = jnp.arange(32).reshape(2, 16) % 5
ADAPTED = {
    "mlp": (lora(MLP(width=8, depth=1), rank=2), (PICTURES, LEVEL)),
    "unet": (lora(UNet(width=8, attention=(0,)), rank=2, on="*Attention*"), (PICTURES, LEVEL)),
    "dit": (lora(DiT(width=16, depth=1, heads=2), rank=2, alpha=8.0), (PICTURES, LEVEL)),
    "transformer": (lora(Transformer(5, (4, 4), 16, 1, 2), rank=3), (TOKENS, LEVEL[:, :, 0, 0])),
}


@pytest.mark.parametrize(
    "name", ["mlp", "transformer", *(pytest.param(name, marks=pytest.mark.long) for name in ("unet", "dit"))]
)
def test_adapters_begin_as_the_net_and_merge_into_it(name) -> None:
    net, given = ADAPTED[name]
    params = jax.jit(net.init)(jax.random.key(0), *given)["params"]
    jax.tree.map(
        np.testing.assert_array_equal, params["base"], jax.jit(net.net.init)(jax.random.key(0), *given)["params"]
    )
    jax.tree.map(np.testing.assert_array_equal, net.merged(params), params["base"])
    moved = {**params, "lora": jax.tree.map(lambda leaf: leaf + 0.1, params["lora"])}
    bare, merged = adapters.merge_adapters(net, moved)
    assert bare is net.net
    np.testing.assert_allclose(
        jax.jit(net.apply)({"params": moved}, *given), jax.jit(bare.apply)({"params": merged}, *given), atol=1e-6
    )
    changed = {
        name
        for name, leaf in leaves_by_name(merged).items()
        if not np.array_equal(leaf, leaves_by_name(params["base"])[name])
    }
    assert changed == {name.rpartition("/")[0] for name in leaves_by_name(params["lora"])}
    assert changed
    assert all(name.endswith("/kernel") and "Conv" not in name for name in changed)
    assert (net.traits.convolutional, net.null_cond) == (bare.traits.convolutional, None)


def test_a_change_has_its_rank_and_its_scale() -> None:
    net, given = ADAPTED["dit"]
    params = jax.jit(net.init)(jax.random.key(0), *given)["params"]
    moved = {
        **params,
        "lora": jax.tree.map(
            lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), params["lora"]
        ),
    }
    base, merged = leaves_by_name(params["base"]), leaves_by_name(net.merged(moved))
    twice = leaves_by_name(dataclasses.replace(net, alpha=2 * net.alpha).merged(moved))
    for name in merged:
        if merged[name].ndim == 2 and not np.array_equal(merged[name], base[name]):
            assert np.linalg.matrix_rank(np.asarray(merged[name] - base[name], np.float64), tol=1e-4) == 2
            np.testing.assert_allclose(twice[name] - base[name], 2 * (merged[name] - base[name]), atol=1e-5)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A net with adapters, its optimizer, its state after four steps of plain `fit`, and where that of two is saved."""
    net, optimizer = lora(NET, rank=2, on="Dense_*"), adamw(10, 0.1, 0, weight_decay=0.5)
    with closing(Saver(tmp_path_factory.mktemp("tuned"), RetentionPolicy(last=9))) as saver:
        return net, optimizer, trained(net, optimizer, steps=4, events=[(2, saver.save)]), saver.folder


def test_training_moves_adapters_alone(tuned) -> None:
    """Whoever calls fit need not freeze anything: the base has no state, and its weights do not decay."""
    net, _, state, _ = tuned
    start = create(jax.random.key(0), net, optax.sgd(1.0), (0.9,), X, BATCH["cond"])
    for params in (state.params, state.ema["params"]):
        jax.tree.map(np.testing.assert_array_equal, params["base"], start.params["base"])
        assert all(
            np.any(leaf != leaves_by_name(start.params["lora"])[name])
            for name, leaf in leaves_by_name(params["lora"]).items()
        )
    shapes = {
        name: leaf.shape for name, leaf in leaves_by_name(start.params["base"]).items() if name.startswith("Dense_")
    }
    count = sum(net.rank * sum(shape) for name, shape in shapes.items() if name.endswith("/kernel"))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params["lora"])) == count
    assert sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim) == 2 * count


def test_going_on_from_disk_is_never_having_stopped(tuned, tmp_path) -> None:
    """An optimizer that has no state for what is frozen is saved and found again, frozen by fit or by hand."""
    net, optimizer, whole, folder = tuned
    shutil.copytree(folder / "00000002", tmp_path / "00000002")
    net, optimizer = freeze(net, optimizer)
    fresh = create(jax.random.key(1), net, optimizer, (0.999,), X, BATCH["cond"])
    again = trained(net, optimizer, restore(tmp_path, fresh), steps=4)
    for one, other in zip(jax.tree.leaves(to_orbax(again)), jax.tree.leaves(to_orbax(whole)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_a_causal_net_with_adapters_is_drawn_from_with_its_cache() -> None:
    noise = Masking(5)
    net = lora(Transformer(5, (4,), 16, 1, 2, causal=True), rank=3)
    params = jax.jit(net.init)(jax.random.key(0), TOKENS[:, :4], LEVEL[:, :, 0, 0])["params"]
    moved = {**params, "lora": jax.tree.map(lambda leaf: leaf + 0.1, params["lora"])}
    given = (keys(0, 16), noise, order.raster)
    fast = cached.sample(*given, denoiser(noise, net, {"params": moved}), (4,))
    np.testing.assert_array_equal(fast, sample(*given, denoiser(noise, net, {"params": moved}), (4,), steps=4))


def test_adapters_are_no_net_to_choose() -> None:
    with pytest.raises(UserError, match=r"^model\.net: .*'lora'.*DiT, MAR, MLP, Transformer, UNet$"):
        specs.instantiate(nets, "lora(MLP())", "model.net")


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lora(MLP(width=8), rank=2, on="Attention*"), r"model\.adapters: .*'Attention\*'.*Dense_"),
        (lora(MLP(width=8), rank=9), r"model\.adapters: .*rank.* 9"),
        (lora(MLP(width=8), rank=2, on="*/bias"), r"model\.adapters: "),
    ],
)
def test_adapters_that_cannot_be_are_refused(net, message) -> None:
    with pytest.raises(UserError, match=message):
        jax.eval_shape(net.init, jax.random.key(0), PICTURES, LEVEL)


def test_ranks_and_scales_that_cannot_be_are_refused() -> None:
    for given in ({"rank": 0}, {"alpha": 0.0}, {"alpha": float("nan")}):
        with pytest.raises(UserError, match=r"rank|alpha"):
            lora(NET, **given)
