"""Checks of arguments by name: each returns the argument in its usual form, or raises UserError.

The error names the argument and says what to write. No check depends on values that may be traced.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_origin

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.protocols import Net, Noise, NoiseAwareHook, Step
from diffjax.utils.kinds import matches_type
from diffjax.utils.prng import Keys, require_key
from diffjax.utils.values import describe_value, python_scalar

Value = TypeVar("Value")
Check = Callable[[object], object]

_METHODS = tuple(name for name in vars(Noise) if not name.startswith("_"))


def require_callable(name: str, value: Value, count: int, expected: str) -> Value:
    """The value. Raises UserError, with the text `expected`, unless it can be called with `count` arguments."""
    if not callable(value) or isinstance(value, type):
        raise UserError(f"{name}: expected {expected}, got {describe_value(value)}")
    try:
        inspect.signature(value).bind(*range(count))
    except TypeError:
        raise UserError(
            f"{name}: expected {expected}, got {describe_value(value)}, which takes other arguments"
        ) from None
    except ValueError:  # what is not written in Python may have no signature
        pass
    return value


def keys(value: object) -> Keys:
    """One key for each example, at least one."""
    array = require_key("keys", value)
    if array.ndim != 1 or not len(array):
        raise UserError(
            f"keys: expected one key for each example, [b] with b of at least 1, got shape {array.shape}; n keys are "
            "dj.keys(0, n), or jax.random.split(key, n)"
        )
    return array


def noise(value: Value) -> Value:
    """A noise."""
    missing = [name for name in _METHODS if not hasattr(value, name)]
    if missing and len(missing) < len(_METHODS) and not isinstance(value, type):
        raise UserError(f"noise: {type(value).__name__} has no {', '.join(missing)}, which a noise needs (dj.Noise)")
    if missing or isinstance(value, type):
        raise UserError(
            f"noise: expected dj.Gaussian(schedule, prediction) or dj.Masking(vocab), got {describe_value(value)}; "
            "a schedule alone is no noise: dj.Gaussian(dj.schedule.cosine, dj.predict.v)"
        )
    return value


def order(value: object) -> Order:
    """An order."""
    if not isinstance(value, Order):
        raise UserError(
            "order: expected dj.order.together, raster or shuffled, dj.order.rolling(0.3) or dj.order.blocks(4), got "
            f"{describe_value(value)}"
        )
    return value


def step(value: object) -> Step | None:
    """A step rule, or None for the default."""
    if value is None or isinstance(value, Step):
        return value
    raise UserError(f"step: expected a step rule, such as dj.steps.ddim(), got {describe_value(value)}")


def denoiser(name: str) -> Check:
    """The check of a denoiser."""

    def check(value: object) -> object:
        if isinstance(value, Net | type):
            kind = value if isinstance(value, type) else type(value)
            raise UserError(
                f"{name}: expected a function (x_t, t, cond), got the net {kind.__name__}; its denoiser is "
                "dj.denoiser(noise, net, state.ema)"
            )
        return require_callable(name, value, 3, "a function (x_t, t, cond), such as dj.denoiser(noise, net, state.ema)")

    return check


def shape(value: object) -> tuple[object, ...]:
    """The shape of one example."""
    sizes = tuple(map(python_scalar, value)) if isinstance(value, Iterable) else ()
    if not sizes or not all(matches_type(size, int) and size > 0 for size in sizes):
        raise UserError(f"shape: expected that of one example, such as (8, 8, 1), got {value!r}")
    return sizes


def steps(value: object) -> int | None:
    """A number of steps, or None for the default."""
    count = python_scalar(value)
    if isinstance(count, Tracer) or not (count is None or (matches_type(count, int) and count >= 1)):
        raise UserError(f"steps: expected a whole number of at least 1, known before tracing, got {value!r}")
    return count


def grid(value: object) -> jax.Array | np.ndarray | None:
    """Clock values, or None for even ones."""
    if value is None:
        return None
    if callable(value) or isinstance(value, str):
        raise UserError(
            f"grid: expected clock values, such as dj.grids.log_snr(noise, 50), got {describe_value(value)}"
        )
    return as_array("grid", value)


def hook(value: object) -> object:
    """A hook, a constraint of editing, or None."""
    if value is None or isinstance(value, NoiseAwareHook):
        return value
    return require_callable("hook", value, 5, "a function (keys, x, pred, t, s) -> x, or dj.edit.inpaint(image, known)")


def cond(value: PyTree) -> PyTree:
    """A condition whose every leaf is an array; a list of numbers becomes one."""

    def leaf(entry: object) -> jax.Array | np.ndarray:
        if isinstance(entry, str | bytes):
            raise UserError(f"cond: {entry!r} is text, and nets read numbers; encode it (a class as its number)")
        return as_array("cond", entry)

    return jax.tree.map(leaf, value, is_leaf=_is_list_of_plain)


def data(name: str) -> Callable[[object], jax.Array | np.ndarray]:
    """The check of an array with the batch first."""

    def check(value: object) -> jax.Array | np.ndarray:
        array = as_array(name, value)
        if not array.ndim or not len(array):
            raise UserError(f"{name}: expected at least one example, the batch first, got shape {array.shape}")
        return array

    return check


def strength(value: object) -> object:
    """One number, which may be traced."""
    number = python_scalar(value)
    if not (isinstance(number, Tracer) and not number.ndim) and not matches_type(number, float):
        raise UserError(f"strength: expected one number in (0, 1], got {value!r}")
    return number


def start(value: object) -> jax.Array | np.ndarray | None:
    """A state to start from, or None."""
    return None if value is None else as_array("start", value)


def rule(value: object) -> object:
    """A rule of guidance."""
    expected = (
        "a function (unconditional, conditional, w, x_t, t), such as dj.guidance.linear or dj.guidance.rescaled(0.7)"
    )
    return require_callable("rule", value, 5, expected)


def weight(value: object) -> object:
    """A weight of noise levels, or None."""
    return value if value is None else _reject_maker("weight", value, 1, "such as dj.weights.min_snr(5.0)")


def times(value: object) -> object:
    """A distribution of times, or None."""
    return value if value is None else _reject_maker("times", value, 2, "such as dj.times.logit_normal()")


CHECKS_BY_NAME: Mapping[str, Check] = {
    "keys": keys,
    "noise": noise,
    "order": order,
    "denoise": denoiser("denoise"),
    "weak": denoiser("weak"),
    "strength": strength,
    "shape": shape,
    "cond": cond,
    "steps": steps,
    "grid": grid,
    "step": step,
    "start": start,
    "hook": hook,
    "rule": rule,
    "weight": weight,
    "times": times,
    "x": data("x"),
    "x0": data("x0"),
}
"""The check of every argument of a name: `check(value)` returns the value in its usual form."""


def require_count(count: int, noun: str, trees: Mapping[str, PyTree]) -> None:
    """Raise UserError where a leaf of the trees, which are called by their names, does not have `count` entries."""
    for name, tree in trees.items():
        for leaf in jax.tree.leaves(tree):
            if not jnp.ndim(leaf) or len(leaf) != count:
                raise UserError(
                    f"{name}: expected one entry for each of the {count} {noun}, the batch first, got shape "
                    f"{jnp.shape(leaf)}"
                )


def as_array(name: str, value: object) -> Any:
    """The value as an array, unchanged if it is one. Raises UserError for anything else but numbers and lists."""
    if isinstance(value, jax.Array | np.ndarray):
        return value
    if isinstance(value, int | float | list | tuple | np.generic):
        try:
            return np.asarray(value)
        except (TypeError, ValueError):
            pass
    raise UserError(f"{name}: expected an array, got {describe_value(value)}")


def _reject_maker(name: str, value: Value, count: int, expected: str) -> Value:
    """A function of `count` arguments that is not one of the library's makers of such functions."""
    if inspect.isfunction(value) and get_origin(inspect.signature(value).return_annotation) is Callable:
        raise UserError(f"{name}: {value.__name__} makes one; call it: {value.__name__}(…), {expected}")
    return require_callable(name, value, count, f"a function of {count} arguments, {expected}")


def _is_list_of_plain(value: object) -> bool:
    if not isinstance(value, list | tuple) or type(value) not in (list, tuple):  # a NamedTuple is a tree
        return False
    return bool(value) and all(isinstance(entry, int | float) for entry in value)
