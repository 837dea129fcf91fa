"""The training loop: batches in, state out, and whatever should happen every so many steps."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from diffjax.errors import UserError
from diffjax.loss.simple import Loss
from diffjax.parallel.dispatch import steps_per_dispatch
from diffjax.training import data_parallel, fit_arguments, nonfinite
from diffjax.training.batch_stream import stream as batches_from
from diffjax.training.freezing import freeze
from diffjax.training.nonfinite import Fault, Policy, examiner
from diffjax.training.optimizers import adamw
from diffjax.training.state import State, create
from diffjax.training.step import Batch, Metrics, train_step
from diffjax.utils.closures import interned, remembered

Event = tuple[int, Callable[[int, State, Metrics], None]]
AHEAD = 4  # dispatches in the device's queue, at most, before the host waits for the oldest
QUEUE_S = 2.0  # how long they may take together, so that a run can stop soon when it is told to


def fit(
    keys: Key[Array, "..."],
    net: Any,
    loss: Loss,
    batches: Iterable[Batch],
    steps: int,
    *,
    optimizer: optax.GradientTransformation | None = None,
    ema: float | Sequence[float | str] | None = None,
    start: State | None = None,
    events: Sequence[Event] = (),
    watch: Callable[[int, Metrics], None] | None = None,
    on_fault: Policy | None = None,
    restore: Callable[[], State | None] | None = None,
    report: Callable[[Fault], None] | None = None,
    stopping: Callable[[], bool] | None = None,
    devices: Sequence[Any] | None = None,
    dispatch: int | None = None,
    accumulate: int = 1,
) -> State:
    """Train until step `steps` and return the state.

    `keys` is a key (of several, the first is used). `batches` yields `{"x": [b, *shape], "cond": pytree}`, this host's
    share, from the position of `start` on (a list is repeated, see `batch_stream`); each is taken in `accumulate` parts
    a device. `ema` are the decays of the averages, by default those of `start`, else 0.999.

    `events` are `(every, call)`: `call(step, state, metrics)` after each `every` steps and after the last (of 0: after
    the last alone), when all steps so far are known to be good; the state is valid during the call.
    `watch(step, metrics)` is called for each dispatch, some dispatches late, so that nothing waits. A metric has one
    entry per step of the dispatch. `dispatch` is the most steps per compiled call, by default chosen from platform and
    net. Of a net with adapters, they alone are trained (`freeze`).

    Where a number is not finite, `report` is told, and `on_fault` (by default `faults.stop()`) decides; `restore` is
    where `rewind` finds the state to go back to, by default `start`. Once `stopping` is true, on any host, training
    ends after the steps that are under way, and the state that is returned says how far it came.

    Raises UserError when batches run out or do not divide by the devices, faults.Diverged where the policy says so.
    """
    given = fit_arguments.checked(keys, net, loss, steps, optimizer, ema, start, accumulate, dispatch)
    fit_arguments.check_events(events)
    devices = devices or jax.devices()
    net, loss, optimizer = _parts(net, loss, given.optimizer or adamw(given.steps))
    stream = batches_from(batches, 0 if start is None else int(start.position))
    first = _next(stream, 0)
    _check_tokens(net, first["x"])
    begun = start or create(given.key, net, optimizer, given.averages, first["x"], first.get("cond"))
    if start is not None:
        fit_arguments.check_start(start, optimizer, given.averages)
    most = dispatch or steps_per_dispatch(net)
    examined, advance = examiner(net, loss, optimizer), _program(net, loss, optimizer, accumulate, tuple(devices))
    run = _Run(advance, devices, most, itertools.chain([first], stream), watch)
    state, done = data_parallel.replicated(begun, devices), int(begun.step)
    while done < steps:
        size = min([run.pace.size, steps - done, *(every - done % every for every, _ in events if every)])
        state, done = run.dispatched(state, done, size, stopping is not None and stopping())
        due = [call for every, call in events if done == steps or (every and done % every == 0)]
        if wrong := run.confirmed(0 if due or done == steps else run.pace.ahead):
            fault = examined(state, run.cut(wrong.batches[:1]))
            if report is not None:
                report(fault)
            went_on = (on_fault or nonfinite.stop())(fault, state, lambda: (restore and restore()) or begun)
            state, done = data_parallel.replicated(went_on, devices), int(went_on.step)
        elif run.told_to_stop:
            return state
        else:
            for call in due:
                call(done, state, run.last)
    return state


def step_memory(
    net: Any,
    loss: Loss,
    batch: Batch,
    *,
    optimizer: optax.GradientTransformation,
    start: State,
    devices: Sequence[Any] | None = None,
    dispatch: int | None = None,
    accumulate: int = 1,
) -> data_parallel.Memory | None:
    """What the program that `fit` runs with these arguments takes on each device; None where the platform is silent.

    `batch` is one of this host. The program is compiled for this, once: `fit` then finds it.
    """
    devices = devices or jax.devices()
    advance = _program(*_parts(net, loss, optimizer), accumulate, tuple(devices))
    chunk = data_parallel.shares([batch], len(data_parallel.local(devices)), dispatch or steps_per_dispatch(net))
    return advance.memory(data_parallel.replicated(start, devices), chunk)


def _parts(
    net: Any, loss: Loss, optimizer: optax.GradientTransformation
) -> tuple[Any, Loss, optax.GradientTransformation]:
    """The same without what the net leaves as it is, each equal part being one object: programs are found by them."""
    net, optimizer = freeze(net, optimizer)
    return net, interned(loss), optax.GradientTransformation(*map(interned, optimizer))


@remembered(4)
def _program(
    net: Any, loss: Loss, optimizer: optax.GradientTransformation, parts: int, devices: tuple[Any, ...]
) -> data_parallel.Advance:
    """The training step on these devices: a second run of an equal net, loss and optimizer compiles nothing."""
    return data_parallel.pmapped(partial(train_step, net, loss, optimizer, parts=parts), devices)


@dataclass(frozen=True)
class _Flight:
    """A dispatch in the device's queue: the steps done after it, its batches and metrics, and when it was begun."""

    done: int
    batches: list[Batch]
    metrics: Metrics
    begun_s: float


class _Pace:
    """How many steps a dispatch takes, and how many dispatches may wait, so that all of them last QUEUE_S at most.

    The first dispatch compiles and the second is timed, one step each.
    """

    def __init__(self, most: int) -> None:
        self.most, self.size, self.ahead, self._seen = most, 1, 0, 0

    def see(self, seconds: float) -> None:
        """A dispatch has taken so long; only the second one tells."""
        self._seen += 1
        if self._seen == 2:
            seconds = data_parallel.first_says(seconds)  # all hosts must dispatch the same
            self.size = int(np.clip(QUEUE_S / AHEAD / max(seconds, 1e-9), 1, self.most))
            self.ahead = int(np.clip(QUEUE_S / max(seconds * self.size, 1e-9), 1, AHEAD)) - 1


class _Run:
    """The device's queue, and the batches that are on their way to it."""

    def __init__(
        self,
        advance: data_parallel.Advance,
        devices: Sequence[Any],
        most: int,
        stream: Iterator[Batch],
        watch: Callable[[int, Metrics], None] | None,
    ) -> None:
        self.advance, self.here, self.most = advance, len(data_parallel.local(devices)), most
        self.stream, self.watch, self.pace = stream, watch, _Pace(most)
        self.queue: deque[_Flight] = deque()
        self.last: Metrics = {}
        self.told_to_stop = False

    def dispatched(self, state: State, done: int, size: int, stop: bool) -> tuple[State, int]:
        """Send so many steps to the device, and do not wait for them."""
        batches = [_next(self.stream, done + i) for i in range(size)]
        begun_s = time.monotonic()
        chunk = data_parallel.shares(batches, self.here, self.most)
        state, metrics = self.advance(state, chunk, size, stop)
        self.queue.append(_Flight(done + size, batches, metrics, begun_s))
        return state, done + size

    def confirmed(self, leave: int) -> _Flight | None:
        """Wait until at most so many dispatches are under way, or all where one of them was told to stop.

        Returns the one that went wrong, if any, cut to what follows the last good step; the batches after its first go
        back into the stream.
        """
        while len(self.queue) > (0 if self.told_to_stop else leave):
            flight = self.queue.popleft()
            metrics = {name: np.asarray(metric) for name, metric in flight.metrics.items()}  # waits for the device
            self.pace.see(time.monotonic() - flight.begun_s)
            self.told_to_stop |= bool(metrics.pop("stop"))
            fine = metrics.pop("fine")[: len(flight.batches)]
            good = len(fine) if fine.all() else int(np.argmin(fine))
            self.last = {name: metric[:good] for name, metric in metrics.items()}
            if good and self.watch is not None:
                self.watch(flight.done - len(fine) + good, self.last)
            if good < len(fine):
                left = flight.batches[good:]
                later = [batch for flight in self.queue for batch in flight.batches]
                self.stream = itertools.chain(left[1:], later, self.stream)
                self.queue.clear()
                return _Flight(flight.done - len(left), left, flight.metrics, flight.begun_s)
        return None

    def cut(self, batches: list[Batch]) -> list[Batch]:
        """A batch as the devices see it, one part for each."""
        chunk = data_parallel.shares(batches, self.here, 1)
        return [jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i, 0]), chunk) for i in range(self.here)]


def _check_tokens(net: Any, x: Any) -> None:
    """Raise UserError where the first batch holds tokens that the net does not know: its loss would be NaN."""
    vocab = getattr(net, "vocab", None)
    if vocab is not None and not (jnp.min(x) >= 0 and jnp.max(x) < vocab):
        raise UserError(
            f"fit: the net knows tokens 0 … {vocab - 1} (vocab={vocab}), and the batches hold {int(jnp.min(x))} … "
            f"{int(jnp.max(x))}; build net and noise with vocab={int(jnp.max(x)) + 1}, or map the data"
        )


def _next(stream: Iterator[Batch], step: int) -> Batch:
    try:
        return next(stream)
    except StopIteration:
        raise UserError(f"fit: the batches ended at step {step}; give an iterable that goes on (repeat it)") from None
