"""What `fit` is called with: each argument becomes what was meant, or one UserError names it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Key

from diffjax.arguments.expected import require_callable
from diffjax.errors import UserError
from diffjax.nets.interface import check_net
from diffjax.training.ema import average_names
from diffjax.training.state import State
from diffjax.utils.kinds import describe_value, matches_type, python_scalar
from diffjax.utils.prng import require_key

DEFAULT_DECAY = 0.999  # of the average, where none is asked for


class FitArguments(NamedTuple):
    """The arguments as `fit` uses them."""

    key: Key[Array, ""]
    steps: int
    optimizer: optax.GradientTransformation | None
    averages: tuple[str, ...]


def validate_arguments(
    keys: Any, net: Any, loss: Any, steps: Any, optimizer: Any, ema: Any, start: Any, accumulate: Any, dispatch: Any
) -> FitArguments:
    """Raises UserError for what cannot be trained, or trained by."""
    key = require_key("keys", keys)
    check_net(net)
    require_callable(
        "loss", loss, 4, "a function (keys, apply, x0, cond) -> [b], such as dj.loss.regression(noise, order)"
    )
    if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
        raise UserError(f"optimizer: expected one of Optax, such as optax.adam(1e-3), got {describe_value(optimizer)}")
    if start is not None and not isinstance(start, State):
        raise UserError(f"start: expected the state that fit returned, got {describe_value(start)}")
    counts = {"steps": steps, "accumulate": accumulate, "dispatch": 1 if dispatch is None else dispatch}
    for name, value in counts.items():
        if not matches_type(python_scalar(value), int) or value < 1:
            raise UserError(f"fit: {name} must be a whole number of at least 1, got {value!r}")
    return FitArguments(key if key.ndim == 0 else key.ravel()[0], int(steps), optimizer, _averages(ema, start))


def check_events(events: Any) -> None:
    """Raise UserError for what is no sequence of (whole number of steps, 0 or more; function)."""
    for event in events:
        pair = isinstance(event, tuple | list) and len(event) == 2
        if not (pair and matches_type(python_scalar(event[0]), int) and event[0] >= 0 and callable(event[1])):
            raise UserError(
                f"events: expected pairs of a whole number of steps, 0 (after the last alone) or more, and a function "
                f"(step, state, metrics), got {describe_value(event)}"
            )


def check_start(start: State, optimizer: optax.GradientTransformation, averages: tuple[str, ...]) -> None:
    """Raise UserError where a state has other averages than were asked for, or is of another optimizer."""
    if set(start.emas) != set(averages):
        raise UserError(
            f"ema: start has averages {', '.join(start.emas)}, and {', '.join(averages)} were asked for; leave ema out "
            "to go on with those of start"
        )
    like = jax.eval_shape(optimizer.init, start.params)
    if jax.tree.structure(like) != jax.tree.structure(start.opt_state) or not _same_shapes(like, start.opt_state):
        raise UserError(
            "optimizer: start has the state of another one; give the optimizer that it was trained with, or begin anew "
            "without start"
        )


def _same_shapes(a_tree: Any, b_tree: Any) -> bool:
    return all(
        (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(a_tree), jax.tree.leaves(b_tree), strict=True)
    )


def _averages(ema: Any, start: State | None) -> tuple[str, ...]:
    """The names of the averages: those asked for, of a single decay too, else those of the state, else the default."""
    if ema is None:
        return average_names((DEFAULT_DECAY,)) if start is None else tuple(start.emas)
    requested = python_scalar(ema)
    if matches_type(requested, float) or isinstance(requested, str):
        return average_names((requested,))
    if not isinstance(ema, Sequence):
        raise UserError(f"ema: expected decays, such as (0.999,), got {describe_value(ema)}")
    return average_names(tuple(python_scalar(average) for average in ema))
