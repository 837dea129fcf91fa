"""Pixels as levels 0 … levels − 1, as floats in [−1, 1], and as bytes."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int32, Integer, Key, UInt8

from diffjax.errors import UserError

Pixels = TypeVar("Pixels", np.ndarray, jax.Array)

_NOISE_BITS = 14  # the most that a float32 next to level 255 keeps, with room for rounding in `requantise`


def to_unit(images: Integer[Pixels, "..."], levels: int) -> Float32[Pixels, "..."]:
    """Level v becomes 2 v / (levels − 1) − 1: floats in [−1, 1], to within 1e-7."""
    top = _top(levels)
    return (2 * images.astype(np.float32) - top) / top  # exact but for the division, so that fusion changes no bit


def to_levels(x: Float32[Pixels, "..."], levels: int) -> Int32[Pixels, "..."]:
    """The level nearest to each x, values outside [−1, 1] clipped: the inverse of `to_unit`."""
    top = _top(levels)
    return ((x.clip(-1, 1) + 1) * (top / 2)).round().astype(np.int32)


def to_uint8(x: Float32[Pixels, "..."], levels: int) -> UInt8[Pixels, "..."]:
    """Bytes 0 … 255: x rounded to the data's levels, then scaled."""
    return (to_levels(x, levels) * (255 / _top(levels))).round().astype(np.uint8)


def dequantise(
    keys: Key[jax.Array, " b"], images: Integer[jax.Array | np.ndarray, "b ..."], levels: int
) -> Float32[jax.Array, "b ..."]:
    """Uniform dequantisation, 2 (v + U) / levels − 1 in (−1, 1), with one key per example.

    U is (k + ½) / 2¹⁴ with k uniform, so that float32 never rounds a value into the next level's bin.
    """
    _top(levels)
    noise = jax.vmap(lambda key: _uniform(key, images.shape[1:]))(keys)
    return (2 * (jnp.asarray(images, jnp.float32) + noise) - levels) / levels


def requantise(x: Float32[Pixels, "..."], levels: int) -> Int32[Pixels, "..."]:
    """The level whose bin holds each x, values outside [−1, 1] clipped: the inverse of `dequantise`."""
    top = _top(levels)
    return ((x + 1) * (levels / 2)).clip(0, top).astype(np.int32)


def _uniform(key: Key[jax.Array, ""], shape: tuple[int, ...]) -> Float32[jax.Array, "..."]:
    """Midpoints of 2¹⁴ equal parts of (0, 1), uniformly."""
    bits = jax.random.bits(key, shape, jnp.uint16) >> (16 - _NOISE_BITS)
    return (bits.astype(jnp.float32) + 0.5) / 2**_NOISE_BITS


def _top(levels: int) -> int:
    """The highest level, levels − 1."""
    if not 2 <= levels <= 256:
        raise UserError(f"levels: expected 2 … 256, got {levels}; give the number of values that a pixel may take")
    return levels - 1
