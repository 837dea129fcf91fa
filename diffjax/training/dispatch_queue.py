"""The queue of dispatched steps that are not confirmed yet, so that neither host nor devices wait for the other."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from diffjax.training import data_parallel
from diffjax.training.batch_stream import next_batch
from diffjax.training.state import State
from diffjax.training.step import Batch, Metrics
from diffjax.training.trainer import Trainer

MAX_DISPATCHES_AHEAD = 4  # dispatches in the device's queue before the host waits for the oldest
QUEUE_SECONDS = 2.0  # their duration together, so that a run stops soon after a signal

Shapes = tuple[tuple[int, ...], ...]


def batch_shapes(batch: Batch) -> Shapes:
    """The shapes of x and of the leaves of the condition."""
    return tuple(np.shape(leaf) for leaf in jax.tree.leaves((batch["x"], batch.get("cond"))))


@dataclass(frozen=True)
class _Dispatch:
    """A dispatch in the device's queue; `done` counts the steps of the run after it.

    `compiled` is whether a program for batches of these shapes was there before.
    """

    done: int
    batches: list[Batch]
    metrics: Metrics
    begun_s: float
    compiled: bool


class _DispatchPace:
    """Steps per dispatch, and dispatches that may wait, such that the queue lasts at most QUEUE_SECONDS.

    Until then of one step each, the first dispatch whose program is compiled already is timed.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self.size = 1
        self.ahead = 0
        self._timed = False

    def record_seconds(self, seconds: float, compiled: bool) -> None:
        """Take the duration of a dispatch into account: that of the first one that was compiled before."""
        if compiled and not self._timed:
            self._timed = True
            seconds = data_parallel.broadcast_from_first_host(seconds)  # all hosts must dispatch the same
            self.size = int(np.clip(QUEUE_SECONDS / MAX_DISPATCHES_AHEAD / max(seconds, 1e-9), 1, self.max_steps))
            self.ahead = int(np.clip(QUEUE_SECONDS / max(seconds * self.size, 1e-9), 1, MAX_DISPATCHES_AHEAD)) - 1


class DispatchQueue:
    """The dispatches under way and the batches that follow them.

    The batches of a dispatch have equal shapes, of which each has a program of its own. `metrics` are those of the last
    dispatch that was confirmed, `stopped` whether a host was asked to stop.
    """

    def __init__(
        self, trainer: Trainer, stream: Iterator[Batch], watch: Callable[[int, Metrics], object] | None
    ) -> None:
        self.pace = _DispatchPace(trainer.max_steps)
        self.metrics: Metrics = {}
        self.stopped = False
        self._trainer = trainer
        self._stream = stream
        self._returned: deque[Batch] = deque()  # batches that come before the rest of the stream
        self._watch = watch
        self._queue: deque[_Dispatch] = deque()
        self._shapes: set[Shapes] = set()

    def dispatch(self, state: State, done: int, max_count: int, stop: bool) -> tuple[State, int]:
        """Send the next steps to the devices, after `done`, without waiting for them; the state, and how many.

        They are `max_count`, or fewer, until the shapes of the batches change.
        """
        batches = self._take(done, max_count)
        begun_s = time.monotonic()
        chunk = data_parallel.shard_batches(batches, self._trainer.local_device_count, self._trainer.max_steps)
        state, metrics = self._trainer.advance(state, chunk, len(batches), stop)
        shapes = batch_shapes(batches[0])
        self._queue.append(_Dispatch(done + len(batches), batches, metrics, begun_s, shapes in self._shapes))
        self._shapes.add(shapes)
        return state, len(batches)

    def _take(self, done: int, max_count: int) -> list[Batch]:
        """The next batches, as far as their shapes are equal; the first other one is returned."""
        batches = [self._next(done)]
        shapes = batch_shapes(batches[0])
        while len(batches) < max_count:
            batch = self._next(done + len(batches))
            if batch_shapes(batch) != shapes:
                self._returned.appendleft(batch)
                break
            batches.append(batch)
        return batches

    def _next(self, step: int) -> Batch:
        """The batch of a step: one that was returned, or the next of the stream."""
        return self._returned.popleft() if self._returned else next_batch(self._stream, step)

    def confirm(self, waiting: int) -> Batch | None:
        """Wait until at most `waiting` dispatches are under way, or none once `stopped`.

        Returns the batch of the first step that was not finite, if any; the batches after it are returned.
        """
        while len(self._queue) > (0 if self.stopped else waiting):
            dispatch = self._queue.popleft()
            finite_count = self._finish(dispatch)
            if finite_count < len(dispatch.batches):
                later = [batch for dispatch in self._queue for batch in dispatch.batches]
                self._returned.extendleft(reversed([*dispatch.batches[finite_count + 1 :], *later]))
                self._queue.clear()
                return dispatch.batches[finite_count]
        return None

    def _finish(self, dispatch: _Dispatch) -> int:
        """Wait for a dispatch and report its metrics; the number of its steps before one that was not finite."""
        metrics = {name: np.asarray(metric) for name, metric in dispatch.metrics.items()}  # waits for the device
        self.pace.record_seconds(time.monotonic() - dispatch.begun_s, dispatch.compiled)
        self.stopped |= bool(metrics.pop("stop"))
        is_finite = metrics.pop("fine")[: len(dispatch.batches)]
        finite_count = len(is_finite) if is_finite.all() else int(np.argmin(is_finite))
        self.metrics = {name: metric[:finite_count] for name, metric in metrics.items()}
        if finite_count and self._watch is not None:
            self._watch(dispatch.done - len(is_finite) + finite_count, self.metrics)
        return finite_count
