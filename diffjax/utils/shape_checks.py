"""Checks, while a program is traced, of shape and dtype between parts of the library.

Arrays of wrong shapes could broadcast to a wrong result. Each check raises a UserError with the expected and the actual
shape.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffjax.errors import UserError

Shape = tuple[int, ...]


def require_floating(source: str, value: object, shape: Shape) -> Array:
    """The value as an array. Raises UserError unless it is real, floating-point and of exactly this shape."""
    array = require_array(source, value)
    if array.shape != shape or not jnp.issubdtype(array.dtype, jnp.floating):
        raise UserError(f"{source}: expected floating-point numbers of shape {shape}, got {describe_array(array)}")
    return array


def require_like(source: str, value: object, model: Array) -> Array:
    """The value in the dtype of `model`. Raises UserError unless both have one shape and are floating, or integer."""
    array = require_array(source, value)
    kind = jnp.floating if jnp.issubdtype(model.dtype, jnp.floating) else jnp.integer
    if array.shape != model.shape or not jnp.issubdtype(array.dtype, kind):
        raise UserError(f"{source}: expected {describe_array(model)}, got {describe_array(array)}")
    return array.astype(model.dtype)


def require_shape(source: str, value: object, shape: Shape) -> Array:
    """The value as an array. Raises UserError unless it has exactly this shape."""
    array = require_array(source, value)
    if array.shape != shape:
        raise UserError(f"{source}: expected shape {shape}, got {describe_array(array)}")
    return array


def require_array(source: str, value: object) -> Array:
    """The value as an array of JAX. Raises UserError for anything but an array."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise UserError(f"{source}: expected one array, got {type(value).__name__}")
    return jnp.asarray(value)


def describe_array(value: Array) -> str:
    """Dtype and shape, for messages."""
    return f"{value.dtype} of shape {value.shape}"
