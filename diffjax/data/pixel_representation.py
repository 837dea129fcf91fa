"""Pixels as levels 0 … levels − 1, as floats in [−1, 1] and as bytes; and the forms in which a model sees them."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log2, prod
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int32, Integer, Key, Shaped, UInt8

from diffjax.errors import UserError

__all__ = ["dequantised", "real", "tokens", "unit"]

Shape = tuple[int, ...]
Images = UInt8[jax.Array, "b ..."] | Float32[jax.Array, "b ..."]
Encoded = Shaped[jax.Array, "b ..."]  # x, as the model sees it
States = Shaped[jax.Array | np.ndarray, "b ..."]  # such x, on the device or not
Levels = Int32[np.ndarray, "b ..."]
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


def _clip(x: States, shape: Shape, levels: int) -> UInt8[np.ndarray, "b h w c"]:
    return to_uint8(np.asarray(x), 256)


@dataclass(frozen=True)
class Form:
    """`encode(keys, images, levels) -> x`, and its inverse, `decode(x, shape, levels) -> levels`.

    `shape` maps the shape of an image to that of its x. `noisy`: encoding needs keys, one per example. `discrete`: x
    are tokens 0 … levels - 1. `real`: pixels are real numbers, not levels. `frame` renders intermediate x as bytes.
    `offset_bits(levels)` is added to bits per dimension of a density of x to give those of the level; None if there is
    no such relation.
    """

    encode: Callable[[Any, Images, int], Encoded]
    decode: Callable[[States, Shape, int], Levels]
    shape: Callable[[Shape], Shape]
    noisy: bool = False
    discrete: bool = False
    real: bool = False
    frame: Callable[[States, Shape, int], UInt8[np.ndarray, "b h w _"]] = _clip
    offset_bits: Callable[[int], float] | None = None

    def empty(self, shape: Shape) -> Encoded:
        """One example of zeros, to initialise a net."""
        return jnp.zeros((1, *self.shape(shape)), jnp.int32 if self.discrete else jnp.float32)


def _flatten(keys: object, images: Images, levels: int) -> Int32[jax.Array, "b n"]:
    return images.astype(jnp.int32).reshape(len(images), -1)


def _unflatten(x: States, shape: Shape, levels: int) -> Levels:
    return np.asarray(x, np.int32).reshape(len(x), *shape)


unit = Form(
    encode=lambda keys, images, levels: to_unit(images, levels),
    decode=lambda x, shape, levels: to_levels(np.asarray(x), levels),
    shape=lambda shape: shape,
)
"""Level v is 2 v / (levels - 1) - 1, a number in [-1, 1]."""

dequantised = Form(
    encode=dequantise,
    decode=lambda x, shape, levels: requantise(np.asarray(x), levels),
    shape=lambda shape: shape,
    noisy=True,
    offset_bits=lambda levels: log2(levels / 2),
)
"""Level v is 2 (v + U) / levels - 1, U uniform in (0, 1): a density, whose bits bound those of v from above."""

real = Form(
    encode=lambda keys, images, levels: images,
    decode=lambda x, shape, levels: to_levels(np.asarray(x), levels),
    shape=lambda shape: shape,
    real=True,
    offset_bits=lambda levels: 0.0,
)
"""Pixels of a known density, unchanged: bits are of that density. Decoding rounds to the nearest levels."""

HIDDEN_COLOUR = (120, 160, 214)  # a colour that no grey pixel has


def colour_hidden(levels_or_mask: Levels, levels: int) -> UInt8[np.ndarray, "b h w 3"]:
    """RGB bytes of pixels 0 … levels - 1; pixels with a masked channel (`levels`) in `HIDDEN_COLOUR`."""
    hidden = np.any(levels_or_mask == levels, axis=-1, keepdims=True)
    grey = np.round(levels_or_mask * (255 / (levels - 1))).clip(0, 255).astype(np.uint8)
    return np.where(hidden, np.array(HIDDEN_COLOUR, np.uint8), np.broadcast_to(grey, (*grey.shape[:3], 3)))


tokens = Form(
    encode=_flatten,
    decode=_unflatten,
    shape=lambda shape: (prod(shape),),
    discrete=True,
    frame=lambda x, shape, levels: colour_hidden(_unflatten(x, shape, levels), levels),
    offset_bits=lambda levels: 0.0,
)
"""Level v is the token v; the pixels in raster order, from the top and left, are one sequence (channels innermost)."""
