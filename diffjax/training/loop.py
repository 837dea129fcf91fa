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
from diffjax.loss.protocol import Loss
from diffjax.parallel.dispatch import steps_per_dispatch
from diffjax.training import data_parallel, fit_arguments, nonfinite
from diffjax.training.batch_stream import stream as batches_from
from diffjax.training.freezing import freeze
from diffjax.training.nonfinite import Fault, Policy, locate_nonfinite
from diffjax.training.optimizers import adamw
from diffjax.training.state import State, create
from diffjax.training.step import Batch, Metrics, train_step
from diffjax.traits import net_traits
from diffjax.utils.closures import cache_hashable, intern_function

Event = tuple[int, Callable[[int, State, Metrics], None]]
MAX_DISPATCHES_AHEAD = 4  # dispatches in the device's queue, at most, before the host waits for the oldest
QUEUE_SECONDS = 2.0  # how long they may take together, so that a run can stop soon when it is told to


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
    arguments = fit_arguments.validate_arguments(keys, net, loss, steps, optimizer, ema, start, accumulate, dispatch)
    fit_arguments.check_events(events)
    devices = devices or jax.devices()
    net, loss, optimizer = _parts(net, loss, arguments.optimizer or adamw(arguments.steps))
    stream = batches_from(batches, 0 if start is None else int(start.position))
    first = _next(stream, 0)
    _check_tokens(net, first["x"])
    initial = start or create(arguments.key, net, optimizer, arguments.averages, first["x"], first.get("cond"))
    if start is not None:
        fit_arguments.check_start(start, optimizer, arguments.averages)
    max_steps = dispatch or steps_per_dispatch(net)
    locate, advance = (
        locate_nonfinite(net, loss, optimizer),
        _compiled_step(net, loss, optimizer, accumulate, tuple(devices)),
    )
    run = _Run(advance, devices, max_steps, itertools.chain([first], stream), watch)
    state, steps_done = data_parallel.replicate(initial, devices), int(initial.step)
    while steps_done < steps:
        size = min([run.pace.size, steps - steps_done, *(every - steps_done % every for every, _ in events if every)])
        state, steps_done = run.dispatch(state, steps_done, size, stopping is not None and stopping())
        due_calls = [call for every, call in events if steps_done == steps or (every and steps_done % every == 0)]
        if nonfinite_step := run.confirm(0 if due_calls or steps_done == steps else run.pace.ahead):
            fault = locate(state, run.shard(nonfinite_step.batches[:1]))
            if report is not None:
                report(fault)
            continued = (on_fault or nonfinite.stop())(fault, state, lambda: (restore and restore()) or initial)
            state, steps_done = data_parallel.replicate(continued, devices), int(continued.step)
        elif run.told_to_stop:
            return state
        else:
            for call in due_calls:
                call(steps_done, state, run.last)
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
    advance = _compiled_step(*_parts(net, loss, optimizer), accumulate, tuple(devices))
    chunk = data_parallel.shard_batches(
        [batch], len(data_parallel.addressable_devices(devices)), dispatch or steps_per_dispatch(net)
    )
    return advance.memory(data_parallel.replicate(start, devices), chunk)


def _parts(
    net: Any, loss: Loss, optimizer: optax.GradientTransformation
) -> tuple[Any, Loss, optax.GradientTransformation]:
    """The same without what the net leaves as it is, each equal part being one object: programs are found by them."""
    net, optimizer = freeze(net, optimizer)
    return net, intern_function(loss), optax.GradientTransformation(*map(intern_function, optimizer))


@cache_hashable(4)
def _compiled_step(
    net: Any, loss: Loss, optimizer: optax.GradientTransformation, parts: int, devices: tuple[Any, ...]
) -> data_parallel.AdvanceState:
    """The training step on these devices: a second run of an equal net, loss and optimizer compiles nothing."""
    return data_parallel.pmap_step(partial(train_step, net, loss, optimizer, parts=parts), devices)


@dataclass(frozen=True)
class _Dispatch:
    """A dispatch in the device's queue: the steps done after it, its batches and metrics, and when it was begun."""

    done: int
    batches: list[Batch]
    metrics: Metrics
    begun_s: float


class _DispatchPace:
    """Steps per dispatch and dispatches that may wait, so that all of them last QUEUE_SECONDS at most.

    The first dispatch compiles and the second is timed, one step each.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps, self.size, self.ahead, self._dispatch_count = max_steps, 1, 0, 0

    def record_seconds(self, seconds: float) -> None:
        """A dispatch has taken so long; only the second one tells."""
        self._dispatch_count += 1
        if self._dispatch_count == 2:
            seconds = data_parallel.broadcast_from_first_host(seconds)  # all hosts must dispatch the same
            self.size = int(np.clip(QUEUE_SECONDS / MAX_DISPATCHES_AHEAD / max(seconds, 1e-9), 1, self.max_steps))
            self.ahead = int(np.clip(QUEUE_SECONDS / max(seconds * self.size, 1e-9), 1, MAX_DISPATCHES_AHEAD)) - 1


class _Run:
    """The device's queue, and the batches that are on their way to it."""

    def __init__(
        self,
        advance: data_parallel.AdvanceState,
        devices: Sequence[Any],
        max_steps: int,
        stream: Iterator[Batch],
        watch: Callable[[int, Metrics], None] | None,
    ) -> None:
        self.advance, self.here, self.max_steps = advance, len(data_parallel.addressable_devices(devices)), max_steps
        self.stream, self.watch, self.pace = stream, watch, _DispatchPace(max_steps)
        self.queue: deque[_Dispatch] = deque()
        self.last: Metrics = {}
        self.told_to_stop = False

    def dispatch(self, state: State, done: int, size: int, stop: bool) -> tuple[State, int]:
        """Send so many steps to the device, and do not wait for them."""
        batches = [_next(self.stream, done + i) for i in range(size)]
        begun_s = time.monotonic()
        chunk = data_parallel.shard_batches(batches, self.here, self.max_steps)
        state, metrics = self.advance(state, chunk, size, stop)
        self.queue.append(_Dispatch(done + size, batches, metrics, begun_s))
        return state, done + size

    def confirm(self, leave: int) -> _Dispatch | None:
        """Wait until at most so many dispatches are under way, or all where one of them was told to stop.

        Returns the one that went wrong, if any, cut to what follows the last good step; the batches after its first go
        back into the stream.
        """
        while len(self.queue) > (0 if self.told_to_stop else leave):
            flight = self.queue.popleft()
            metrics = {name: np.asarray(metric) for name, metric in flight.metrics.items()}  # waits for the device
            self.pace.record_seconds(time.monotonic() - flight.begun_s)
            self.told_to_stop |= bool(metrics.pop("stop"))
            finite_steps = metrics.pop("fine")[: len(flight.batches)]
            good_count = len(finite_steps) if finite_steps.all() else int(np.argmin(finite_steps))
            self.last = {name: metric[:good_count] for name, metric in metrics.items()}
            if good_count and self.watch is not None:
                self.watch(flight.done - len(finite_steps) + good_count, self.last)
            if good_count < len(finite_steps):
                untaken = flight.batches[good_count:]
                later = [batch for flight in self.queue for batch in flight.batches]
                self.stream = itertools.chain(untaken[1:], later, self.stream)
                self.queue.clear()
                return _Dispatch(flight.done - len(untaken), untaken, flight.metrics, flight.begun_s)
        return None

    def shard(self, batches: list[Batch]) -> list[Batch]:
        """A batch as the devices see it, one part for each."""
        chunk = data_parallel.shard_batches(batches, self.here, 1)
        return [jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i, 0]), chunk) for i in range(self.here)]


def _check_tokens(net: Any, x: Any) -> None:
    """Raise UserError where the first batch holds tokens that the net does not know: its loss would be NaN."""
    vocab = net_traits(net).vocab
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
