"""Representations of pixels for a model: level as number, dequantised, or as token; or real numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log2, prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int32, Shaped, UInt8

from diffjax.data.quantization import dequantise, requantise, to_levels, to_uint8, to_unit

__all__ = ["dequantised", "real", "tokens", "unit"]

Shape = tuple[int, ...]
Images = UInt8[jax.Array, "b h w c"] | Float32[jax.Array, "b h w c"]
Encoded = Shaped[jax.Array, "b ..."]  # x, as the model sees it
Levels = Int32[np.ndarray, "b h w c"]


def _clip(x: Encoded, shape: Shape, levels: int) -> UInt8[np.ndarray, "b h w c"]:
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
    decode: Callable[[Encoded, Shape, int], Levels]
    shape: Callable[[Shape], Shape]
    noisy: bool = False
    discrete: bool = False
    real: bool = False
    frame: Callable[[Encoded, Shape, int], UInt8[np.ndarray, "b h w _"]] = _clip
    offset_bits: Callable[[int], float] | None = None

    def empty(self, shape: Shape) -> Encoded:
        """One example of zeros, to initialise a net."""
        return jnp.zeros((1, *self.shape(shape)), jnp.int32 if self.discrete else jnp.float32)


def _flatten(keys: object, images: Images, levels: int) -> Int32[jax.Array, "b n"]:
    return images.astype(jnp.int32).reshape(len(images), -1)


def _unflatten(x: Encoded, shape: Shape, levels: int) -> Levels:
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
