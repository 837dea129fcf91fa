"""Caches of makers whose results are compared by identity: equal arguments give one object, and nothing recompiles."""

import functools
import inspect
from collections.abc import Callable, Hashable
from typing import ParamSpec, TypeVar

from jax.core import Tracer

from diffjax.errors import UserError
from diffjax.utils.kinds import is_hashable, matches_type, type_name
from diffjax.utils.values import python_scalar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def memoize_by_arguments(maker: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Cache a maker by the meaning of its arguments: `ddim()`, `ddim(0)` and `ddim(eta=0.0)` are one object.

    Scalars of NumPy and JAX count as Python numbers. Raises UserError for an argument that does not fit its annotation,
    and for one that is traced or an array: the result is part of a program, and so are its numbers.
    """
    signature = inspect.signature(maker)
    name = maker.__name__.lstrip("_")

    @functools.cache
    def cached(*items: tuple[str, Hashable]) -> Result:
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


def cache_hashable(count: int) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """`functools.lru_cache` of `count` results, and no caching for arguments that cannot be hashed."""

    def decorate(maker: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        cached = functools.lru_cache(count)(maker)

        @functools.wraps(maker)
        def make(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            return cached(*args, **kwargs) if is_hashable((args, *kwargs.values())) else maker(*args, **kwargs)

        return make

    return decorate


def _check(argument: str, value: object, kind: object) -> None:
    """Raise UserError for a value that does not fit the annotation, or that cannot be part of a program."""
    if isinstance(value, Tracer):
        raise UserError(f"{argument} must be known before tracing; give a Python number, not a traced one")
    if not matches_type(value, kind):
        raise UserError(f"{argument} must be {type_name(kind)}, got {value!r}")
    if not is_hashable(value):
        raise UserError(f"{argument} must be one number or name that can be hashed, got {type(value).__name__}")
