"""Makers whose results are compared by identity: equal arguments must give one object, or everything compiles again."""

import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar

from jax.core import Tracer

from diffjax.errors import UserError
from diffjax.utils.kinds import matches_type, python_scalar, type_name

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def memoize_by_arguments(maker: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Cache a maker by what its arguments mean: `ddim()`, `ddim(0)` and `ddim(eta=0.0)` are one object.

    Numbers of NumPy and JAX count as Python's. Raises UserError for an argument that is not of its annotation's kind,
    and for one that is traced or an array: what is made is part of a program, and so are its numbers.
    """
    signature = inspect.signature(maker)
    name = maker.__name__.lstrip("_")

    @functools.cache
    def cached(*items: tuple[str, Hashable]) -> Any:
        return maker(**dict(items))  # type: ignore[call-arg]

    @functools.wraps(maker)
    def make(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {key: python_scalar(value) for key, value in bound.arguments.items()}
        for key, value in arguments.items():
            parameter = signature.parameters[key]
            if value is not parameter.default:
                _check(f"{name}: {key}", value, parameter.annotation)
        return cached(*arguments.items())

    return make


@functools.cache
def bind(function: Callable[..., Result], *arguments: Hashable) -> Callable[..., Result]:
    """`functools.partial`, one object for equal arguments: in a pytree a function is compared by identity."""
    return functools.partial(function, *arguments)


def _check(argument: str, value: Any, kind: Any) -> None:
    """Raise UserError for a value that is not of the kind, or that cannot be a part of a program."""
    if isinstance(value, Tracer):
        raise UserError(f"{argument} must be known before tracing; give a Python number, not a traced one")
    if not matches_type(value, kind):
        raise UserError(f"{argument} must be {type_name(kind)}, got {value!r}")
    if not _hashable(value):
        raise UserError(f"{argument} must be one number or name that can be hashed, got {type(value).__name__}")


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
