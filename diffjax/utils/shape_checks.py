"""Shapes and kinds that one part of the library owes another, held when a program is traced.

Arrays of other shapes would broadcast, and a wrong number would come out. What does not fit is refused here, by a
message that gives what was expected and what came.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffjax.errors import UserError

Shape = tuple[int, ...]


def require_floating(source: str, value: Any, shape: Shape) -> Array:
    """The value, once it is an array of real floating-point numbers of exactly this shape. Raises UserError."""
    array = require_array(source, value)
    if array.shape != shape or not jnp.issubdtype(array.dtype, jnp.floating):
        raise UserError(f"{source}: expected floating-point numbers of shape {shape}, got {describe_array(array)}")
    return array


def require_like(source: str, value: Any, model: Array) -> Array:
    """The value in the dtype of `model`, once it has its shape and is, like it, floating or integer."""
    array = require_array(source, value)
    kind = jnp.floating if jnp.issubdtype(model.dtype, jnp.floating) else jnp.integer
    if array.shape != model.shape or not jnp.issubdtype(array.dtype, kind):
        raise UserError(f"{source}: expected {describe_array(model)}, got {describe_array(array)}")
    return array.astype(model.dtype)


def require_shape(source: str, value: Any, shape: Shape) -> Array:
    """The value, once it is an array of exactly this shape. Raises UserError."""
    array = require_array(source, value)
    if array.shape != shape:
        raise UserError(f"{source}: expected shape {shape}, got {describe_array(array)}")
    return array


def require_array(source: str, value: Any) -> Array:
    """The value as an array. Raises UserError for what is none."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise UserError(f"{source}: expected one array, got {type(value).__name__}")
    return jnp.asarray(value)


def describe_array(value: Array) -> str:
    """Dtype and shape, for messages."""
    return f"{value.dtype} of shape {value.shape}"
