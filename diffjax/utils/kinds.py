"""Whether a plain value is of an annotation's kind, for what is read from text and what a maker is called with."""

import dataclasses
import inspect
import sys
from collections.abc import Callable, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def holds(given: Any, kind: Any) -> bool:
    """Whether a value is of an annotation's kind; annotations that are not plain (Any, arrays) take every value."""
    if get_origin(kind) in (Union, UnionType):
        return any(holds(given, each) for each in get_args(kind))
    if get_origin(kind) in (tuple, Sequence):
        return isinstance(given, tuple) and all(holds(item, get_args(kind)[0]) for item in given)
    if get_origin(kind) is Callable:
        return callable(given)
    if kind is float:
        return type(given) in (int, float) and abs(given) <= sys.float_info.max  # which also an integer may exceed
    if kind in (bool, int, str, NoneType):
        return type(given) is kind
    return isinstance(given, kind) if dataclasses.is_dataclass(kind) and isinstance(kind, type) else True


def named(kind: Any) -> str:
    """An annotation that `holds` knows, in words."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(named(each) for each in get_args(kind))
    if get_origin(kind) is Callable:
        return "a name"
    if get_args(kind):
        return f"a tuple, each {named(get_args(kind)[0])}"
    return {float: "a finite number", NoneType: "None"}.get(kind, str(getattr(kind, "__name__", kind)))


def plain(value: Any) -> Any:
    """A number of NumPy or JAX as Python's; everything else as it is."""
    scalar = isinstance(value, jax.Array | np.ndarray | np.generic) and np.ndim(value) == 0
    if not scalar or isinstance(value, Tracer) or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return value  # a key is an array of an extended type
    return value.item()


def kind_of(value: Any) -> str:
    """What a value is, for messages: a function that makes other things is told to be called."""
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, type):
        return f"the class {value.__name__}; make one of it: {value.__name__}(…)"
    if inspect.isfunction(value) and value.__name__ != "<lambda>":
        return f"the function {value.__name__}; call it if it is a maker: {value.__name__}(…)"
    if isinstance(value, jax.Array | np.ndarray):
        return f"an array, {value.dtype} of shape {value.shape}"
    if isinstance(value, tuple | list) and not all(isinstance(each, int | float | str) for each in value):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {value!r}"[:80]
