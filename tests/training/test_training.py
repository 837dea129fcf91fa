"""The trainer: the same numbers on any number of devices and dispatches, stopped and resumed, and a loss that falls."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import loss, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets import MLP, Transformer, UNet
from diffjax.noise import Gaussian, Masking
from diffjax.training import data_parallel
from diffjax.training.checkpoint import Saver, restore, to_orbax
from diffjax.training.ema import update_averages
from diffjax.training.loop import fit
from diffjax.training.optimizers import adamw
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import create
from diffjax.training.step import train_step
from diffjax.training.variables_files import load_variables, save

pytestmark = pytest.mark.usefixtures("compiled_once")
NOISE = Gaussian(schedule.cosine, predict.v)
NET = MLP(width=16, depth=1, classes=3, dropout=0.2)
LOSS = loss.drop_cond(loss.regression(NOISE, order.together), NET.null_cond, 0.1)
OPTIMIZER = adamw(100, warmup_steps=2)


def batches(start: int = 0):
    """64 examples a step, a pure function of the step."""
    step = start
    while True:
        rng = np.random.default_rng(step)
        yield {"x": rng.normal(size=(64, 4)).astype(np.float32), "cond": rng.integers(0, 3, 64).astype(np.int32)}
        step += 1


def trained(steps: int, **options):
    """The state after so many steps, and the losses on the way."""
    losses = []

    def watch(step, metrics):
        losses.extend(metrics["loss"].tolist())

    state = fit(
        jax.random.key(0),
        options.pop("net", NET),
        LOSS,
        batches(options.pop("first", 0)),
        steps,
        optimizer=OPTIMIZER,
        **{"dispatch": 1, "devices": jax.devices()[:1], "watch": watch, **options},
    )
    return state, losses


def bits(state) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(to_orbax(state))]


@pytest.fixture(scope="module")
def straight():
    """20 steps in one go on one device."""
    return trained(20)


def test_the_pmapped_step_is_the_plain_one(straight) -> None:
    batch = next(batches())
    state = create(jax.random.key(0), NET, OPTIMIZER, (0.999,), batch["x"], batch["cond"])
    step = partial(train_step, NET, LOSS, OPTIMIZER)
    plain, metrics = jax.jit(step)(state, {**batch, "index": jnp.arange(64)})
    devices = jax.devices()
    mapped, mapped_metrics = data_parallel.pmap_step(step, devices)(
        data_parallel.replicate(state, devices), data_parallel.shard_batches([batch], len(devices), 1), 1, False
    )
    np.testing.assert_allclose(mapped_metrics["loss"][0], metrics["loss"], rtol=1e-5)
    for one, other in zip(bits(plain), bits(mapped), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [8, pytest.param(2, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.long)])
def test_losses_do_not_know_the_devices(count, straight) -> None:
    _, losses = trained(20, devices=jax.devices()[:count])
    np.testing.assert_allclose(losses, straight[1], rtol=1e-5)


@pytest.mark.parametrize("counts", [(8, 1, 8), pytest.param((4, 1, 8), marks=pytest.mark.long)])
def test_a_run_that_moves_is_the_run_never_stopped(counts, straight) -> None:
    """From some devices to one and on to eight: the losses of all steps, and the state at the end, to the rounding of
    their sums (algorithmic-efficiency#816)."""
    state, losses = None, []
    for count, first, last in zip(counts, (0, 6, 12), (6, 12, 20), strict=True):
        state, some = trained(last, start=state, first=first, devices=jax.devices()[:count])
        losses += some
    np.testing.assert_allclose(losses, straight[1], rtol=1e-5)
    for one, other in zip(bits(state), bits(straight[0]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_going_on_in_bfloat16_is_never_having_stopped(tmp_path) -> None:
    """Bit for bit, in memory and from disk (diffusers#5004)."""
    net = MLP(width=8, depth=1, classes=3, dtype=jnp.bfloat16)
    whole, losses = trained(8, net=net)
    half, _ = trained(4, net=net)
    saver = Saver(tmp_path, RetentionPolicy(last=1))
    saver.save(4, half, {})
    saver.close()
    example = next(batches())
    fresh = create(jax.random.key(0), net, OPTIMIZER, (0.999,), example["x"], example["cond"])
    for start in (half, restore(tmp_path, fresh)):
        again, later = trained(8, net=net, start=start, first=4)
        assert later == losses[4:]
        for one, other in zip(bits(again), bits(whole), strict=True):
            np.testing.assert_array_equal(one, other)


class Half(nn.Module):
    """Parameters in bfloat16."""

    @nn.compact
    def __call__(self, x, level, cond=None, keys=None):
        return nn.Dense(x.shape[-1], param_dtype=jnp.bfloat16)(x)


def test_bfloat16_parameters_have_averages_in_float32(tmp_path) -> None:
    """In bfloat16 an average would not move: a thousandth of a difference rounds to nothing."""
    loss_of_data = loss.regression(NOISE, order.together)
    few = [{"x": next(batches())["x"]}]
    state = fit(jax.random.key(0), Half(), loss_of_data, few, 4, optimizer=OPTIMIZER, accumulate=2)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.emas)} == {jnp.dtype(jnp.float32)}
    save(state, tmp_path / "half.safetensors")
    loaded = load_variables(tmp_path / "half.safetensors", Half(), few[0]["x"])
    jax.tree.map(np.testing.assert_array_equal, loaded, state.ema)
    longer = fit(jax.random.key(0), Half(), loss_of_data, few, 5, optimizer=OPTIMIZER, start=state)
    moved = [np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (longer.ema, state.ema)), strict=True)]
    assert all(moved)


def test_several_steps_per_dispatch_are_the_same_steps(straight) -> None:
    state, _ = trained(20, dispatch=7)
    for one, other in zip(bits(state), bits(straight[0]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_going_on_is_never_having_stopped(straight) -> None:
    half, _ = trained(10)
    again, losses = trained(20, start=half, first=10)
    for one, other in zip(bits(again), bits(straight[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert losses == straight[1][10:]
    assert int(half.step) == 10  # the state that was handed in is still there
    assert bool(jnp.all(jnp.isfinite(jax.tree.leaves(half.params)[0])))


def test_going_on_from_disk_is_never_having_stopped(straight, tmp_path) -> None:
    saver = Saver(tmp_path, RetentionPolicy(last=1))
    half, _ = trained(10)
    saver.save(10, half, {})
    saver.close()
    example = next(batches())
    fresh = create(jax.random.key(0), NET, OPTIMIZER, (0.999,), example["x"], example["cond"])
    again, losses = trained(20, start=restore(tmp_path, fresh), first=10)
    for one, other in zip(bits(again), bits(straight[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert losses == straight[1][10:]


def test_the_key_and_the_averages_are_part_of_the_state(straight) -> None:
    state, _ = straight
    assert int(state.step) == 20
    assert set(state.emas) == {"0.999"}
    assert jax.tree.structure(state.ema["params"]) == jax.tree.structure(state.params)


def test_average_is_the_weighted_sum_of_the_past() -> None:
    """With the warm-up decay d_n = (1 + n)/(10 + n), three steps by hand."""
    emas = {"0.999": jnp.asarray(5.0)}
    for n, value in enumerate((1.0, 2.0, 4.0)):
        emas = update_averages(emas, jnp.asarray(value), jnp.asarray(n))
    expected = ((5 * 0.1 + 1 * 0.9) * (2 / 11) + 2 * (9 / 11)) * (3 / 12) + 4 * (9 / 12)
    np.testing.assert_allclose(emas["0.999"], expected, rtol=1e-6)


def test_events_come_at_their_steps_whatever_the_dispatch() -> None:
    seen, watched = [], []
    options = {"dispatch": 7, "watch": lambda step, metrics: watched.append((step, len(metrics["loss"])))}
    trained(23, events=[(5, lambda step, state, metrics: seen.append((step, int(state.step))))], **options)
    assert seen == [(step, step) for step in (5, 10, 15, 20, 23)]
    assert watched[-1][0] == 23
    assert sum(count for _, count in watched) == 23


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(UNet(width=8, classes=2), id="unet", marks=pytest.mark.long),
        pytest.param(MLP(width=32, depth=1, classes=2), id="mlp"),
    ],
)
def test_a_net_learns_two_pictures(net) -> None:
    """Class 0 is black, class 1 is white: the loss falls to less than a third of where it began."""
    x = np.repeat(np.array([-1.0, 1.0], np.float32), 8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.float32)
    batch = {"x": x, "cond": np.repeat(np.arange(2, dtype=np.int32), 8)}
    losses = []
    fit(
        jax.random.key(0),
        net,
        loss.regression(NOISE, order.together),
        iter(lambda: batch, None),
        200,
        optimizer=adamw(200, learning_rate=1e-2, warmup_steps=5),
        events=[(1, lambda step, state, metrics: losses.append(float(metrics["loss"][-1])))],
        devices=jax.devices()[:1],
    )
    assert np.mean(losses[-10:]) < np.mean(losses[:3]) / 3


def test_batches_that_cannot_serve_are_named() -> None:
    with pytest.raises(UserError, match="8 devices"):
        fit(
            jax.random.key(0),
            NET,
            LOSS,
            iter([{"x": np.zeros((12, 4), np.float32), "cond": np.zeros(12, np.int32)}]),
            5,
        )
    with pytest.raises(UserError, match="step 2"):
        fit(jax.random.key(0), NET, LOSS, iter(list(zip_of(2))), 5, devices=jax.devices()[:1], dispatch=1)


def zip_of(count: int):
    return (batch for batch, _ in zip(batches(), range(count), strict=False))


def test_a_vocabulary_that_does_not_fit_the_data_is_named() -> None:
    """An index beyond the logits would make the loss NaN, silently."""
    noise, net = Masking(5), Transformer(5, (4,), width=8, depth=1, heads=2)
    for x in (np.full((8, 4), 5, np.int32), np.full((8, 4), -1, np.int32)):
        with pytest.raises(UserError, match=r"0 … 4 \(vocab=5\)"):
            fit(jax.random.key(0), net, loss.bound(noise, order.shuffled), iter([{"x": x}]), 1)
