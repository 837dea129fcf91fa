"""Numbers that are known before a program runs are computed before it runs, whatever is being traced around them."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from jax.core import Tracer, eval_context

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def on_host(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, its result concrete also under jit, vmap, pmap and shard_map, unless an argument is traced."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if any(isinstance(argument, Tracer) for argument in (*args, *kwargs.values())):
            return function(*args, **kwargs)
        with eval_context():
            return function(*args, **kwargs)

    return call
