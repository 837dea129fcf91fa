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


def matches_type(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotation's kind; annotations that are not plain (Any, arrays) take every value."""
    if get_origin(kind) in (Union, UnionType):
        return any(matches_type(value, option) for option in get_args(kind))
    if get_origin(kind) in (tuple, Sequence):
        return isinstance(value, tuple) and all(matches_type(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is Callable:
        return callable(value)
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max  # which also an integer may exceed
    if kind in (bool, int, str, NoneType):
        return type(value) is kind
    return isinstance(value, kind) if dataclasses.is_dataclass(kind) and isinstance(kind, type) else True


def type_name(kind: Any) -> str:
    """An annotation that `matches_type` knows, in words."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(type_name(option) for option in get_args(kind))
    if get_origin(kind) is Callable:
        return "a name"
    if get_args(kind):
        return f"a tuple, each {type_name(get_args(kind)[0])}"
    name = kind.__name__ if isinstance(kind, type) else str(kind)
    return {float: "a finite number", NoneType: "None"}.get(kind, name)


def python_scalar(value: Any) -> Any:
    """A number of NumPy or JAX as Python's; everything else as it is."""
    scalar = isinstance(value, jax.Array | np.ndarray | np.generic) and np.ndim(value) == 0
    if not scalar or isinstance(value, Tracer) or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return value  # a key is an array of an extended type
    return value.item()


def describe_value(value: Any) -> str:
    """What a value is, for messages: a function that makes other things is told to be called."""
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, type):
        return f"the class {value.__name__}; make one of it: {value.__name__}(…)"
    if inspect.isfunction(value) and value.__name__ != "<lambda>":
        return f"the function {value.__name__}; call it if it is a maker: {value.__name__}(…)"
    if isinstance(value, jax.Array | np.ndarray):
        return f"an array, {value.dtype} of shape {value.shape}"
    if isinstance(value, tuple | list) and not all(isinstance(item, int | float | str) for item in value):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {value!r}"[:80]
