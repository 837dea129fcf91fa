"""Checks of the arguments of `fit`: a UserError names the one that is wrong."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import optax
from jaxtyping import Array, Key, PyTree

from diffjax.arguments.expected import require_callable
from diffjax.errors import UserError
from diffjax.loss.protocol import Loss
from diffjax.nets.interface import check_net
from diffjax.protocols import Net
from diffjax.training.data_parallel import Device
from diffjax.training.ema import average_names
from diffjax.training.state import State
from diffjax.training.step import Batch, Metrics
from diffjax.utils.kinds import matches_type
from diffjax.utils.prng import require_key
from diffjax.utils.values import describe_value, python_scalar

DEFAULT_DECAY = 0.999  # of the average
When = int | tuple[int, ...]  # each so many steps and after the last, or these steps
Event = tuple[When, Callable[[int, State, Metrics], object]]


class FitArguments(NamedTuple):
    """The arguments of `fit` but its callbacks."""

    keys: Key[Array, "..."]
    net: Net
    loss: Loss
    batches: Iterable[Batch]
    steps: int
    optimizer: optax.GradientTransformation | None
    ema: float | Sequence[float | str] | None
    start: State | None
    devices: Sequence[Device] | None
    dispatch: int | None
    accumulate: int


def check_arguments(arguments: FitArguments) -> tuple[str, ...]:
    """The names of the averages. Raises UserError for an argument of the wrong kind."""
    require_key("keys", arguments.keys)
    check_net(arguments.net)
    require_callable(
        "loss", arguments.loss, 4, "a function (keys, apply, x0, cond) -> [b], such as dj.loss.regression(noise, order)"
    )
    optimizer = arguments.optimizer
    if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
        raise UserError(f"optimizer: expected one of Optax, such as optax.adam(1e-3), got {describe_value(optimizer)}")
    if arguments.start is not None and not isinstance(arguments.start, State):
        raise UserError(f"start: expected the state that fit returned, got {describe_value(arguments.start)}")
    dispatch = 1 if arguments.dispatch is None else arguments.dispatch
    for name, value in {"steps": arguments.steps, "accumulate": arguments.accumulate, "dispatch": dispatch}.items():
        count = python_scalar(value)
        if not matches_type(count, int) or count < 1:
            raise UserError(f"fit: {name} must be a whole number of at least 1, got {count!r}")
    return resolve_averages(arguments.ema, arguments.start)


def first_key(keys: Key[Array, "..."]) -> Key[Array, ""]:
    """The first of one or several keys."""
    return keys if keys.ndim == 0 else keys.ravel()[0]


def check_events(events: Sequence[object]) -> None:
    """Raise UserError for anything but pairs of a whole number of steps (0 or more), or several, and a function."""
    for event in events:
        when, call = event if isinstance(event, tuple | list) and len(event) == 2 else (None, None)
        counts = [python_scalar(count) for count in (when if isinstance(when, tuple) else (when,))]
        whole = [isinstance(count, int) and matches_type(count, int) and count >= 0 for count in counts]
        if not (all(whole) and callable(call)):
            raise UserError(
                f"events: expected pairs of a whole number of steps, 0 (after the last alone) or more, or a tuple of "
                f"the steps themselves, and a function (step, state, metrics), got {describe_value(event)}"
            )


def steps_until(when: When, step: int) -> list[int]:
    """Steps from this one to the next calls of an event, but for that after the last step."""
    if isinstance(when, tuple):
        return [at - step for at in when if at > step]
    return [when - step % when] if when else []


def is_due(when: When, step: int, last: int) -> bool:
    """Whether an event is called after this step, when `last` is the last one."""
    if isinstance(when, tuple):
        return step in when
    return step == last or (when > 0 and step % when == 0)


def check_start(start: State, optimizer: optax.GradientTransformation, averages: tuple[str, ...]) -> None:
    """Raise UserError where `start` has other averages, or the state of another optimizer."""
    if set(start.emas) != set(averages):
        raise UserError(
            f"ema: start has averages {', '.join(start.emas)}, and {', '.join(averages)} were asked for; leave ema out "
            "to go on with those of start"
        )
    if not _same_arrays(jax.eval_shape(optimizer.init, start.params), start.opt_state):
        raise UserError(
            "optimizer: start has the state of another one; give the optimizer that it was trained with, or begin anew "
            "without start"
        )


def resolve_averages(ema: object, start: State | None) -> tuple[str, ...]:
    """The names of the averages: of one or several decays, else those of the state, else the default."""
    if ema is None:
        return average_names((DEFAULT_DECAY,)) if start is None else tuple(start.emas)
    decay = python_scalar(ema)
    if matches_type(decay, float) or isinstance(decay, str):
        return average_names((decay,))
    if not isinstance(ema, Sequence):
        raise UserError(f"ema: expected decays, such as (0.999,), got {describe_value(ema)}")
    return average_names(tuple(python_scalar(average) for average in ema))


def _same_arrays(a_tree: PyTree, b_tree: PyTree) -> bool:
    """Whether two trees have the same structure, shapes and dtypes."""
    if jax.tree.structure(a_tree) != jax.tree.structure(b_tree):
        return False
    leaves = zip(jax.tree.leaves(a_tree), jax.tree.leaves(b_tree), strict=True)
    return all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in leaves)
