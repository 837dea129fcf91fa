"""Makers whose results are compared by identity: equal arguments must give one object, or everything compiles again."""

import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")


def one_object(maker: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """Cache a maker by what its arguments mean: `ddim()`, `ddim(0)` and `ddim(eta=0.0)` are one object."""
    signature = inspect.signature(maker)

    @functools.cache
    def made(*named: tuple[str, Hashable]) -> Any:
        return maker(**dict(named))  # type: ignore[call-arg]

    @functools.wraps(maker)
    def make(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return made(*bound.arguments.items())

    return make
