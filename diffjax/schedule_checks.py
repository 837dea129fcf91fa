"""The validation of schedules, once when a noise is built."""

import weakref
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_context
from jaxtyping import Array

from diffjax.errors import UserError
from diffjax.protocols import Schedule, Times
from diffjax.utils.shape_checks import require_floating

POINTS = 257  # times at which a schedule is evaluated, evenly from 0 to 1
ROUNDING = 1e-5  # of values and of angles in float32

_sound_functions: weakref.WeakSet = weakref.WeakSet()  # functions that passed


def check_schedule(schedule: Schedule) -> None:
    """(1, 0) at t = 0, noise at t = 1, finite, alpha and sigma at least 0, sigma/alpha never falling.

    Raises UserError that names the schedule and its first fault. Traced values are not checked.
    """
    if schedule in _sound_functions:
        return
    pair = f"Gaussian: schedule {function_name(schedule)}"
    curves = _curves(pair, schedule, ("alpha", "sigma"), "t -> (alpha, sigma), such as dj.schedule.cosine")
    if curves is None:
        return
    alpha, sigma = curves
    _require(pair, np.all(alpha >= -ROUNDING) and np.all(sigma >= -ROUNDING), "alpha and sigma must be at least 0")
    _require(pair, abs(alpha[0] - 1) < ROUNDING, f"alpha(0) must be 1, for x at t = 0 is data, and is {alpha[0]:g}")
    _require(
        pair,
        abs(sigma[0]) < ROUNDING,
        f"sigma(0) must be 0, for x at t = 0 is data, and is {sigma[0]:g}; a smallest noise is taken off, as edm_of "
        "does, or left by the grid",
    )
    _require(pair, sigma[-1] > ROUNDING, f"sigma(1) must be above 0, and is {sigma[-1]:g}")
    falls = np.diff(np.arctan2(sigma, alpha)) < -ROUNDING
    _require(pair, not falls.any(), f"sigma/alpha must grow with t, and falls at t = {_first_time(falls):.3g}")
    _sound_functions.add(schedule)


def check_keep(keep: Callable[[Times], Times]) -> None:
    """1 at t = 0 and 0 at t = 1, finite, never rising. Raises UserError that names the function and its first fault.

    Otherwise samples would keep masks, and a bound would lack terms.
    """
    if keep in _sound_functions:
        return
    name = f"Masking: keep {function_name(keep)}"
    curves = _curves(name, keep, ("keep",), "t -> the share of tokens that is shown, such as lambda t: 1 - t")
    if curves is None:
        return
    (keep_values,) = curves
    _require(name, abs(keep_values[0] - 1) < ROUNDING, f"keep(0) must be 1, all is shown, and is {keep_values[0]:g}")
    _require(name, abs(keep_values[-1]) < ROUNDING, f"keep(1) must be 0, all is hidden, and is {keep_values[-1]:g}")
    rises = np.diff(keep_values) > ROUNDING
    _require(name, not rises.any(), f"keep must fall with t, and rises at t = {_first_time(rises):.3g}")
    _sound_functions.add(keep)


def function_name(function: object) -> str:
    """The name of a function in messages."""
    return str(getattr(function, "__name__", type(function).__name__))


def _curves(source: str, function: object, names: tuple[str, ...], expected: str) -> list[np.ndarray] | None:
    """Its validated values at even times, in float64; None where they are traced."""
    if not callable(function):
        raise UserError(f"{source}: expected a function {expected}, got {function!r}")
    with eval_context(), jax.debug_nans(False):
        times = jnp.linspace(0.0, 1.0, POINTS)
        values = _evaluate(source, function, times, len(names), expected)
        _evaluate(source, function, times[0], len(names), expected)
        if any(isinstance(value, Tracer) for value in values):
            return None
        curves = [np.asarray(value, np.float64) for value in values]
    for name, curve in zip(names, curves, strict=True):
        finite = np.isfinite(curve)
        _require(source, finite.all(), f"{name} is not finite at t = {_first_time(~finite):.3g}")
    return curves


def _evaluate(
    source: str, function: Callable[..., object], times: Times, count: int, expected: str
) -> tuple[Array, ...]:
    """Its values at these times: `count` arrays, each of the times' shape."""
    try:
        result = function(times)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(f"{source}: expected a function {expected}; called with times it says: {reason}") from error
    values = result if isinstance(result, tuple) else (result,)
    if len(values) != count:
        raise UserError(f"{source}: expected a function {expected}, got {type(result).__name__} of its call")
    return tuple(require_floating(f"{source}, at times of shape {times.shape}", value, times.shape) for value in values)


def _first_time(faults: np.ndarray) -> float:
    """The first time of a fault."""
    return int(np.argmax(faults)) / (POINTS - 1)


def _require(source: str, holds: bool | np.bool_, message: str) -> None:
    if not holds:
        raise UserError(f"{source}: {message}")
