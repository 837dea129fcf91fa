"""A number that is not finite is caught at its step, named, and never reaches a state; the policy decides what then."""

import dataclasses
from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax import loss, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets import MLP
from diffjax.noise import Gaussian
from diffjax.training import nonfinite
from diffjax.training.checkpoint import to_orbax
from diffjax.training.loop import fit
from diffjax.training.nonfinite import Diverged
from diffjax.training.optimizers import adamw
from diffjax.training.state import create
from diffjax.training.trainer import build_trainer

NOISE = Gaussian(schedule.cosine, predict.v)
NET = MLP(width=8, depth=1)
LOSS = loss.regression(NOISE, order.together)
BAD = 6  # the step that goes wrong, counted from 0
STEPS, CHUNK = 12, 5  # and of a dispatch, so that it goes wrong within one


pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(autouse=True)
def nans_may_occur():
    with jax.debug_nans(False):
        yield


def batch(position: int, nan: bool = False) -> dict:
    x = np.random.default_rng(position).normal(size=(16, 3)).astype(np.float32)
    if nan:
        x[5, 1] = np.nan
    return {"x": x}


def batches(bad: tuple[int, ...] = (), start: int = 0):
    position = start
    while True:
        yield batch(position, position in bad)
        position += 1


def spoiling(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer, and in its state whether at update BAD the gradients or the updates go wrong (0: neither)."""

    def update(grads, state, params):
        count, spoils, inner = state
        before, after = jnp.where((count == BAD) & (spoils == 1), jnp.nan, 0.0)
        updates, inner = optimizer.update(jax.tree.map(lambda leaf: leaf + before, grads), inner, params)
        return jax.tree.map(lambda leaf: leaf + after, updates), (count + 1, spoils, inner)

    zero, neither = jnp.zeros((), jnp.int32), jnp.zeros(2, jnp.int32)
    return optax.GradientTransformation(lambda params: (zero, neither, optimizer.init(params)), update)


OPTIMIZER = spoiling(adamw(STEPS))
PLACES = {  # where the NaN is put: what the optimizer spoils, the bad batches, and what the report must name
    "batch": ((0, 0), (BAD,), "batch/x"),
    "gradient": ((1, 0), (), "new params/"),
    "parameters": ((0, 1), (), "new params/"),
}


@cache
def fresh(spoils: tuple[int, int] = (0, 0)):
    state = create(jax.random.key(0), NET, OPTIMIZER, (0.999,), batch(0)["x"], None)
    count, _, inner = state.opt_state
    return dataclasses.replace(state, opt_state=(count, jnp.array(spoils, jnp.int32), inner))


def run(bad=(), steps=STEPS, **options):
    """Train, and return the state, the metrics by step, and the faults."""
    seen, told = {}, []

    def watch(step, metrics):
        seen.update(zip(range(step - len(metrics["loss"]) + 1, step + 1), metrics["loss"].tolist(), strict=True))

    state = trained(batches(bad), steps, **{"start": fresh(), "watch": watch, "report": told.append, **options})
    return state, seen, told


def trained(given, steps, **options):
    options = {"dispatch": CHUNK, "devices": jax.devices()[:1], **options}
    return fit(jax.random.key(0), NET, LOSS, given, steps, optimizer=OPTIMIZER, **options)


def finite(state) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(to_orbax(state)))


def equal(one, other) -> bool:
    pairs = zip(jax.tree.leaves(to_orbax(one)), jax.tree.leaves(to_orbax(other)), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("place", "dispatch", "devices"),
    [
        ("batch", CHUNK, 4),
        pytest.param("gradient", CHUNK, 1, marks=pytest.mark.long),
        pytest.param("batch", 1, 1, marks=pytest.mark.long),
        pytest.param("parameters", CHUNK, 1, marks=pytest.mark.long),
    ],
)
def test_stop_is_at_the_step_and_the_state_is_that_before(place, dispatch, devices) -> None:
    spoils, bad, leaf = PLACES[place]
    options = {"dispatch": dispatch, "devices": jax.devices()[:devices], "start": fresh(spoils)}
    with pytest.raises(Diverged, match=f"step {BAD + 1} .batch {BAD} of") as end:
        run(bad, **options)
    fault = end.value.fault
    assert (fault.step, fault.position, fault.count, fault.sound) == (BAD, BAD, 1, True)
    assert fault.leaves[0].startswith(leaf)
    assert finite(end.value.state)
    assert equal(end.value.state, run(steps=BAD, **options)[0])


def test_the_report_names_the_example_and_its_noise() -> None:
    """The levels are those that the loss drew: of the row that is bad, and of all of the batch."""
    with pytest.raises(Diverged) as end:
        run(bad=(BAD,))
    fault = end.value.fault
    seen = []

    def spy(x, level, cond, keys):
        seen.append(np.asarray(level).ravel())
        return x

    state = end.value.state
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(state.key, BAD), jnp.arange(16))
    LOSS(keys, spy, jnp.asarray(batch(BAD)["x"]), None)
    assert fault.rows == (5,)
    np.testing.assert_allclose(fault.levels, np.stack([seen[0], seen[0]], axis=1), rtol=1e-6)
    assert f"5 at {seen[0][5]:.4g}" in fault.describe()


def test_a_state_that_is_bad_itself_is_told_and_never_saved() -> None:
    """A flipped bit in the weights or in an average, as memory may have it."""
    for name in ("params", "emas"):
        start = run(steps=BAD)[0]
        spoilt = jax.tree.map(lambda leaf: leaf.at[..., 0].set(jnp.nan), getattr(start, name))
        with pytest.raises(Diverged, match=f"{name}/") as end:
            run(start=dataclasses.replace(start, **{name: spoilt}), on_fault=nonfinite.skip())
        assert "skipping cannot help" in str(end.value)
        assert not end.value.fault.sound
        assert end.value.fault.step == BAD


def test_a_fault_that_is_gone_when_taken_again_points_at_the_machine() -> None:
    """Looked at twice, the second time with what was compiled for the first."""
    traced = []

    def counted(*args):
        traced.append(1)
        return LOSS(*args)

    trainer = build_trainer(NET, counted, OPTIMIZER, devices=jax.devices()[:1])
    for _ in range(2):
        fault = nonfinite.locate_nonfinite(trainer, fresh(), batch(0))
        assert fault.leaves == ()
        assert "suspect the machine" in fault.describe()
        traced.append("fault")
    assert traced.index("fault") == len(traced) - 2


def test_what_is_not_finite_is_named_in_the_order_of_computation() -> None:
    spoilt = optax.stateless(lambda updates, params: jax.tree.map(lambda leaf: leaf * jnp.nan, updates))
    optimizer = optax.chain(OPTIMIZER, spoilt)
    state = create(jax.random.key(0), NET, optimizer, (0.9,), batch(0)["x"], None)
    with jax.debug_nans(False):
        fault = nonfinite.locate_nonfinite(
            build_trainer(NET, LOSS, optimizer, devices=jax.devices()[:1]), state, batch(0)
        )
    assert list(dict.fromkeys(name.split("/")[0] for name in fault.leaves)) == ["new params", "new emas"]


def test_skip_is_as_if_the_batch_had_never_been() -> None:
    """Bit for bit the run that takes the good stretches of the data one after the other."""
    state, seen, told = run(bad=(3, 4, 9), on_fault=nonfinite.skip(limit=3))
    assert (int(state.step), int(state.position), int(state.faults)) == (STEPS, STEPS + 3, 3)
    assert [fault.position for fault in told] == [3, 4, 9]
    by_hand, losses = None, {}
    for position, until in ((0, 3), (5, 7), (10, STEPS)):
        begun = fresh() if by_hand is None else by_hand
        start = dataclasses.replace(begun, position=jnp.asarray(position, jnp.int32))
        watch = {"watch": lambda step, metrics: losses.update({step - len(metrics["loss"]): metrics["loss"].tolist()})}
        by_hand = trained(batches(start=position), until, start=start, **watch)
    assert [seen[step] for step in sorted(seen)] == [value for step in sorted(losses) for value in losses[step]]
    assert equal(dataclasses.replace(by_hand, faults=state.faults), state)


def test_skip_has_a_limit() -> None:
    with pytest.raises(Diverged, match=r"3 .*train\.on_fault.* 2") as end:
        run(bad=(3, 4, 9), on_fault=nonfinite.skip(limit=2))
    assert finite(end.value.state)


def test_rewind_goes_back_and_past_the_bad_batch() -> None:
    """With the state of step 4 as the last that was saved: step 5 and on, with what follows the bad batch."""
    saved = {}
    options = {
        "on_fault": nonfinite.rewind(limit=1),
        "events": [(4, lambda step, state, _: saved.update({step: jax.tree.map(jnp.copy, state)}))],
        "restore": lambda: saved[max(saved)],
    }
    state, _, told = run(bad=(BAD,), **options)
    assert len(told) == 1
    assert (int(state.step), int(state.faults)) == (STEPS, 1)
    assert int(state.position) == STEPS + 1 + (BAD - 4)  # two good batches were trained on, and then given up
    again = dataclasses.replace(saved[4], position=jnp.asarray(BAD + 1, jnp.int32), faults=jnp.asarray(1, jnp.int32))
    straight = trained(batches(start=BAD + 1), STEPS, start=again)
    assert equal(state, straight)
    with pytest.raises(Diverged, match="2 "):
        run(bad=(BAD, BAD + 2), on_fault=nonfinite.rewind(limit=1))


def test_without_a_state_to_restore_rewind_goes_back_to_the_new_one() -> None:
    state, _, told = run(bad=(BAD,), start=None, ema=0.999, on_fault=nonfinite.rewind())
    again = dataclasses.replace(fresh(), position=jnp.asarray(BAD + 1, jnp.int32), faults=jnp.asarray(1, jnp.int32))
    assert len(told) == 1
    assert equal(state, trained(batches(start=BAD + 1), STEPS, start=again))


def test_rewind_heals_a_state_that_is_bad_itself() -> None:
    good = run(steps=BAD)[0]
    spoilt = jax.tree.map(lambda leaf: leaf * jnp.nan, good.params)
    start = dataclasses.replace(good, params=spoilt)
    state, _, told = run(start=start, on_fault=nonfinite.rewind(), restore=lambda: good)
    assert not told[0].sound
    assert int(state.step) == STEPS
    assert finite(state)


def test_limits_are_at_least_one() -> None:
    for policy in (nonfinite.skip, nonfinite.rewind):
        with pytest.raises(UserError, match="limit"):
            policy(limit=0)


def test_told_to_stop_it_ends_after_what_is_under_way() -> None:
    told = []
    state, seen, _ = run(steps=1_000, stopping=lambda: bool(told), events=[(50, lambda *_: told.append(1))])
    assert 50 < int(state.step) < 200
    assert sorted(seen) == list(range(1, int(state.step) + 1))
    assert all(later - earlier == 1 for earlier, later in pairwise(sorted(seen)))
