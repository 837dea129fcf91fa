"""Batches of several shapes: each has a program of its own, and the steps, their order and their bits are the same."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import diffjax as dj
from diffjax.training import nonfinite
from diffjax.training.batch_stream import validate_batch
from diffjax.training.dispatch_queue import DispatchQueue
from diffjax.training.trainer import build_trainer

NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
LOSS = dj.loss.regression(NOISE, dj.order.together)


class Pixelwise(nn.Module):
    """A net for images of any size."""

    @nn.compact
    def __call__(self, x: jax.Array, level: jax.Array, cond: Any = None, keys: Any = None) -> jax.Array:
        levels = jnp.broadcast_to(level, (*x.shape[:-1], 1))
        return nn.Dense(1)(jnp.tanh(nn.Dense(4)(jnp.concatenate([x, levels], axis=-1))))


NET = Pixelwise()
SHAPES = [(4, 4), (4, 4), (4, 6), (4, 4), (6, 4), (6, 4), (6, 4), (4, 6)]


def batches(start: int = 0) -> Iterator[dict[str, Any]]:
    for step in itertools.count(start):
        shape = SHAPES[step % len(SHAPES)]
        yield {"x": np.random.default_rng(step).normal(size=(2, *shape, 1)).astype(np.float32), "cond": None}


def train(steps: int, **options: Any) -> Any:
    options = {"optimizer": optax.sgd(1e-2), "devices": jax.devices()[:1], **options}
    return dj.fit(jax.random.key(0), NET, LOSS, options.pop("batches", batches()), steps, **options)


def same(ours: Any, theirs: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


def test_several_steps_in_a_dispatch_are_the_same_steps() -> None:
    """Whatever a dispatch takes, and the shape at which it has to end."""
    reached: list[int] = []
    one = train(12, dispatch=1, watch=lambda step, metrics: reached.append(len(metrics["loss"])))
    assert reached == [1] * 12
    reached.clear()
    several = train(12, dispatch=4, watch=lambda step, metrics: reached.append(len(metrics["loss"])))
    assert sum(reached) == 12
    assert max(reached) > 1
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)  # a loop of steps is another program
    jax.tree.map(close, several.params, one.params)


def test_events_fall_on_their_steps_and_a_run_resumes_at_any() -> None:
    at: list[int] = []
    whole = train(11, dispatch=4, events=[(3, lambda step, state, metrics: at.append(step))])
    assert at == [3, 6, 9, 11]
    half = train(6, dispatch=4)
    same(train(11, batches=batches(6), start=half, dispatch=4), whole)


def test_the_first_step_of_each_shape_is_not_timed() -> None:
    """It compiles: timed as a step, it would leave one step to a dispatch and none in the queue for good."""
    trainer = build_trainer(NET, LOSS, optax.sgd(1e-2), jax.devices()[:1], 4)
    state = train(1)
    queue = DispatchQueue(trainer, map(validate_batch, batches()), None)
    timed: list[tuple[bool, ...]] = []
    record = queue.pace.record_seconds
    queue.pace.record_seconds = lambda seconds, compiled: (timed.append((compiled,)), record(0.01, compiled))[0]
    done = 0
    while done < 8:
        state, count = queue.dispatch(state, done, queue.pace.size, False)
        done += count
        assert queue.confirm(0) is None
    compiled = [each for (each,) in timed]
    first = compiled.index(True)
    assert compiled[:first] == [False] * first
    assert compiled.count(False) == 3
    assert queue.pace.size == 4


def test_shapes_that_change_at_each_step_do_not_deepen_the_stream() -> None:
    """A batch of another shape is returned at each of many steps, each time to the same place."""
    trainer = build_trainer(NET, LOSS, optax.sgd(1e-2), jax.devices()[:1], 4)
    shaped = [next(batches(number)) for number in (0, 2)]
    queue = DispatchQueue(trainer, itertools.cycle(shaped), None)
    for step in range(50_000):
        assert len(queue._take(step, 2)) == 1


@pytest.mark.parametrize("dispatch", [1, 4])
def test_a_fault_leaves_the_other_batches_in_their_order(dispatch: int) -> None:
    """A batch that is not finite is skipped, and those after it come back into the stream, of whatever shape."""

    def spoilt() -> Iterator[dict[str, Any]]:
        for step, batch in enumerate(batches()):
            yield {**batch, "x": batch["x"] * np.float32(np.nan if step == 3 else 1)}

    with jax.debug_nans(False):
        policy = nonfinite.skip(limit=2)
        losses: list[float] = []
        watch = lambda step, metrics: losses.extend(metrics["loss"].tolist())  # noqa: E731
        train(9, batches=spoilt(), watch=watch, dispatch=dispatch, on_fault=policy)
    assert len(losses) == 9
    assert np.isfinite(losses).all()
