"""The training loop: batches in, state out, callbacks on the way."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, Shaped

from diffjax.errors import UserError
from diffjax.loss.protocol import Loss
from diffjax.protocols import Net
from diffjax.training import data_parallel, nonfinite
from diffjax.training.batch_stream import next_batch, stream_batches
from diffjax.training.data_parallel import Device
from diffjax.training.dispatch_queue import DispatchQueue
from diffjax.training.fit_arguments import (
    Event,
    FitArguments,
    check_arguments,
    check_events,
    check_start,
    first_key,
    is_due,
    steps_until,
)
from diffjax.training.nonfinite import Fault, Policy
from diffjax.training.optimizers import adamw
from diffjax.training.state import State, create
from diffjax.training.step import Batch, Metrics
from diffjax.training.trainer import Trainer, build_trainer
from diffjax.traits import net_traits
from diffjax.utils.programs import keep_programs


def fit(
    keys: Key[Array, "..."],
    net: Net,
    loss: Loss,
    batches: Iterable[Batch],
    steps: int,
    *,
    optimizer: optax.GradientTransformation | None = None,
    ema: float | Sequence[float | str] | None = None,
    start: State | None = None,
    events: Sequence[Event] = (),
    watch: Callable[[int, Metrics], object] | None = None,
    on_fault: Policy | None = None,
    restore: Callable[[], State | None] | None = None,
    report: Callable[[Fault], object] | None = None,
    stopping: Callable[[], bool] | None = None,
    devices: Sequence[Device] | None = None,
    dispatch: int | None = None,
    accumulate: int = 1,
) -> State:
    """Train until step `steps` and return the state.

    `keys` is a key (of several, the first is used). `batches` yields `{"x": [b, *shape], "cond": pytree}`, this host's
    share, from the position of `start` on; a list is repeated. A step is compiled for each shape that batches have.
    `ema` are the decays of the averages, by default those of `start`, else 0.999. A device takes its share of a batch
    in `accumulate` parts, and up to `dispatch` steps in one compiled call, by default chosen by platform and net. Of a
    net with adapters only those are trained.
    `events`, `watch`, `on_fault`, `restore`, `report` and `stopping` are described at `Callbacks`.

    Compiled programs are kept for later processes (`utils.programs`), unless JAX's own settings say otherwise.

    Raises UserError where batches run out or do not divide by the devices, `Diverged` where the policy stops.
    """
    arguments = FitArguments(keys, net, loss, batches, steps, optimizer, ema, start, devices, dispatch, accumulate)
    callbacks = Callbacks(events, watch, on_fault, restore, report, stopping)
    return _train(*_prepare(arguments), int(steps), callbacks)


def step_memory(trainer: Trainer, start: State, batch: Batch) -> data_parallel.Memory | None:
    """Bytes that the program of `fit` takes on each device, by XLA's account; None where the platform has none.

    `batch` is one of this host. The program is compiled, and `fit` with an equal trainer finds it.
    """
    chunk = data_parallel.shard_batches([batch], trainer.local_device_count, trainer.max_steps)
    return trainer.advance.memory(data_parallel.replicate(start, trainer.devices), chunk)


@dataclass(frozen=True)
class Callbacks:
    """The functions that `fit` calls.

    `events` are pairs `(every, call)`: `call(step, state, metrics)` runs after each `every` steps and after the last
    (0: after the last alone), or after the steps of a tuple alone, once all steps so far are known to be finite; the
    devices are idle and the state is valid during the call.
    `watch(step, metrics)` runs for each dispatch, some dispatches late, so that nothing waits for it. A metric has one
    entry per step of the dispatch.
    Where a number is not finite, `report(fault)` runs and `on_fault` decides, by default `nonfinite.stop()`;
    `restore()` returns the state that `rewind` goes back to, by default the initial one.
    Once `stopping()` is true on any host, training ends after the steps under way.
    """

    events: Sequence[Event] = ()
    watch: Callable[[int, Metrics], object] | None = None
    on_fault: Policy | None = None
    restore: Callable[[], State | None] | None = None
    report: Callable[[Fault], object] | None = None
    stopping: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        check_events(self.events)

    def steps_to_next(self, step: int) -> list[int]:
        """Steps from this one to the next of each event, and to later ones where they are known."""
        return [steps for when, _ in self.events for steps in steps_until(when, step)]

    def due(self, step: int, last: int) -> list[Callable[[int, State, Metrics], object]]:
        """The events of this step, when `last` is the last one."""
        return [call for when, call in self.events if is_due(when, step, last)]

    def recover(self, fault: Fault, state: State, initial: Callable[[], State]) -> State:
        """The state to go on from after a fault. Raises Diverged where the policy stops."""
        if self.report is not None:
            self.report(fault)
        return (self.on_fault or nonfinite.stop())(fault, state, lambda: (self.restore and self.restore()) or initial())


def _prepare(arguments: FitArguments) -> tuple[Trainer, Callable[[], State], Iterator[Batch]]:
    """The trainer, the state to start from, and the batches, once the arguments and the first batch are checked.

    A new state is made at each call, so that none is kept beside the one that is trained.
    """
    averages = check_arguments(arguments)
    keep_programs()
    start = arguments.start
    optimizer = arguments.optimizer or adamw(int(arguments.steps))
    trainer = build_trainer(
        arguments.net, arguments.loss, optimizer, arguments.devices, arguments.dispatch, arguments.accumulate
    )
    stream = stream_batches(arguments.batches, 0 if start is None else int(start.position))
    first = next_batch(stream, 0)
    _check_tokens(trainer.net, first["x"])
    stream = itertools.chain([first], stream)
    if start is not None:
        check_start(start, trainer.optimizer, averages)
        return trainer, lambda: start, stream
    example = jax.tree.map(lambda leaf: leaf[:1], (first["x"], first.get("cond")))
    key = first_key(arguments.keys)
    return trainer, partial(create, key, trainer.net, trainer.optimizer, averages, *example), stream


def _train(
    trainer: Trainer, initial: Callable[[], State], stream: Iterator[Batch], steps: int, callbacks: Callbacks
) -> State:
    """Dispatch steps, confirm them, call what is due; the state at the end."""
    queue = DispatchQueue(trainer, stream, callbacks.watch)
    state = data_parallel.replicate(initial(), trainer.devices)
    done = int(state.step)
    while done < steps:
        size = min(queue.pace.size, steps - done, *callbacks.steps_to_next(done))
        state, count = queue.dispatch(state, done, size, callbacks.stopping is not None and callbacks.stopping())
        done += count
        due = callbacks.due(done, steps)
        bad_batch = queue.confirm(0 if due or done == steps else queue.pace.ahead)
        if bad_batch is not None:
            fault = nonfinite.locate_nonfinite(trainer, state, bad_batch)
            state = data_parallel.replicate(callbacks.recover(fault, state, initial), trainer.devices)
            done = int(state.step)
        elif queue.stopped:
            return state
        else:
            for call in due:
                call(done, state, queue.metrics)
    return state


def _check_tokens(net: Net, x: Shaped[Array | np.ndarray, "b ..."]) -> None:
    """Raise UserError where the first batch holds tokens that the net does not know: its loss would be NaN."""
    vocab = net_traits(net).vocab
    if vocab is not None and not (jnp.min(x) >= 0 and jnp.max(x) < vocab):
        raise UserError(
            f"fit: the net knows tokens 0 … {vocab - 1} (vocab={vocab}), and the batches hold {int(jnp.min(x))} … "
            f"{int(jnp.max(x))}; build net and noise with vocab={int(jnp.max(x)) + 1}, or map the data"
        )
