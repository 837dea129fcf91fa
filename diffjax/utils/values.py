"""Values that may be arrays: scalars as Python numbers, and what a value is, for messages."""

import inspect
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

Value = TypeVar("Value")


def python_scalar(value: Value) -> Value:
    """A scalar array of NumPy or JAX as a Python number; everything else as it is."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic) or isinstance(value, Tracer) or np.ndim(value):
        return value
    if jnp.issubdtype(value.dtype, jax.dtypes.extended):  # a key
        return value
    return value.item()


def describe_value(value: object) -> str:
    """What a value is, for messages, with a hint to call a maker or a class."""
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
