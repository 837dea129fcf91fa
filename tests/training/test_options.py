"""What options of training promise: parts equal the whole, watching changes nothing, and the best is kept."""

import contextlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax import loss, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets import MLP
from diffjax.noise import Gaussian
from diffjax.training import checkpoint, retention
from diffjax.training.checkpoint import Saver, to_orbax
from diffjax.training.loop import fit
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import create
from diffjax.training.validation import losses_by_level, validation_function
from diffjax.utils.prng import keys

NET = MLP(width=16, depth=1, dropout=0.2)
LOSS = loss.regression(Gaussian(schedule.cosine, predict.v), order.together)
STEPS, TURN, GROUP = 6, 3, 8  # of eight examples the times are drawn together (times.stratified)
OPTIMIZER = optax.adam(lambda count: jnp.where(count < TURN, 1e-2, -1e-2))  # downhill, and then uphill
HELD_OUT = np.random.default_rng(99).normal(size=(48, 4)).astype(np.float32)

pytestmark = pytest.mark.usefixtures("compiled_once")


def batches():
    for step in range(STEPS):
        yield {"x": np.random.default_rng(step).normal(size=(48, 4)).astype(np.float32)}


def trained(**options):
    """The state after STEPS, and the losses and gradient norms on the way."""
    seen = {"loss": [], "grad_norm": []}

    def watch(step, metrics):
        for name, values in seen.items():
            values.extend(metrics[name].tolist())

    options = {"devices": jax.devices()[:1], "dispatch": 1, "watch": watch, **options}
    return fit(jax.random.key(0), NET, LOSS, batches(), STEPS, optimizer=OPTIMIZER, **options), seen


@pytest.fixture(scope="module")
def whole():
    """Of batches in one part, with nothing else going on."""
    return trained()


@pytest.mark.parametrize(
    ("parts", "devices"),
    [(3, 2), pytest.param(2, 1, marks=pytest.mark.long), pytest.param(6, 1, marks=pytest.mark.long)],
)
def test_parts_of_a_batch_are_the_batch(parts, devices, whole) -> None:
    """The mean gradient of the parts is the batch's: noise and dropout are each example's own, in whole groups."""
    state, seen = trained(accumulate=parts, devices=jax.devices()[:devices])
    for name, values in seen.items():
        np.testing.assert_allclose(values, whole[1][name], rtol=1e-6 if name == "loss" else 1e-5, err_msg=name)
    for one, other in zip(jax.tree.leaves(state.params), jax.tree.leaves(whole[0].params), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


def test_parts_are_of_what_a_device_has() -> None:
    with pytest.raises(UserError, match=r"train\.accumulate: .*24 .*16"):
        trained(accumulate=16, devices=jax.devices()[:2])


@pytest.fixture(scope="module")
def params():
    return create(jax.random.key(3), NET, OPTIMIZER, (0.9,), HELD_OUT[:1], None).params


@pytest.fixture(scope="module")
def by_hand(params) -> np.ndarray:
    """The loss of each example that is held out, group by group, with every unit of the net."""

    def apply(x, level, cond, keys):
        return NET.apply({"params": params}, x, level, cond, None)

    groups = (slice(at, at + GROUP) for at in range(0, 48, GROUP))
    return np.concatenate([LOSS(keys(0, 48)[rows], apply, jnp.asarray(HELD_OUT[rows]), None) for rows in groups])


def validation(batch: int = 512):
    return validation_function(NET, LOSS, keys(0, 48), jnp.asarray(HELD_OUT), None, batch)


@pytest.mark.parametrize(("batch", "used"), [(512, 48), (24, 48), (40, 40)])
def test_validation_is_the_mean_loss_of_examples_and_noise_that_stay(batch, used, params, by_hand) -> None:
    """Whatever the batch; what does not fill one is left out."""
    validate = validation(batch)
    first = validate(params)
    assert [validate(params) for _ in range(3)] == [first] * 3
    assert first["validation_loss"] == pytest.approx(by_hand[:used].mean(), rel=1e-6)


def test_validation_by_level_makes_up_the_whole_and_is_of_the_level_it_says(params) -> None:
    """A net that says its own level, where the data is nothing: the loss of a band is the mean square of its levels."""
    told = validation()(params)
    bands = {float(name.split("/")[1]): value for name, value in told.items() if "/" in name}
    assert len(bands) == 8
    assert list(bands) == sorted(bands)
    assert np.mean(list(bands.values())) == pytest.approx(told["validation_loss"], rel=1e-6)

    def level_of(keys, apply, x0, cond):
        t = jnp.linspace(0.1, 0.9, len(x0))[:, None]
        return apply(x0, t, cond, keys)[:, 0] - 0.5

    net = SimpleNamespace(apply=lambda variables, x, level, cond, keys: level + 0.5)
    told = validation_function(net, level_of, keys(0, 48), jnp.asarray(HELD_OUT), None)({})
    bands = {float(name.split("/")[1]): value for name, value in told.items() if "/" in name}
    assert list(bands) == pytest.approx(list(bands.values()), abs=1e-3)
    assert list(bands) == pytest.approx(np.linspace(0.1, 0.9, 48).reshape(8, 6).mean(1), abs=1e-3)


def test_levels_that_are_all_one_make_no_bands() -> None:
    assert losses_by_level(np.ones(9), np.full(9, 0.5)) == {}
    assert len(losses_by_level(np.arange(3.0), np.arange(3.0))) == 3


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run that is measured and saved at each step: its state, its folder, and what was measured."""
    folder, validate, measured = tmp_path_factory.mktemp("run"), validation(), {}
    with contextlib.closing(Saver(folder, RetentionPolicy(last=1, best_by="validation_loss"))) as saver:

        def save(step, state, metrics):
            measured[step] = validate(state.ema["params"])["validation_loss"]
            saver.save(step, state, {**metrics, "validation_loss": measured[step]})

        state, seen = trained(events=[(1, save)])
    return state, seen, folder, measured


def test_validation_and_saving_do_not_disturb_training(watched, whole) -> None:
    """Bit for bit, in the state and in what is told of the steps."""
    pairs = zip(jax.tree.leaves(to_orbax(watched[0])), jax.tree.leaves(to_orbax(whole[0])), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert watched[1] == whole[1]


def test_the_best_is_kept_and_is_what_it_was_when_it_was_measured(watched) -> None:
    """The loss falls and then rises, so that it is not the last."""
    _, _, folder, measured = watched
    least = min(measured, key=lambda step: measured[step])
    assert 1 < least < STEPS
    assert sorted(int(path.name) for path in retention.complete_checkpoints(folder)) == [least, STEPS]
    best = retention.best_checkpoint(folder, "validation_loss")
    assert best is not None
    assert int(best.name) == least
    _, emas = checkpoint.read(folder, least, tuple)
    assert validation()(jax.tree.map(jnp.asarray, emas["0.999"]))["validation_loss"] == measured[least]
