"""Arrays as tokens: patches of equal sides in raster order, each one vector, and their levels.

Sides that `patch` does not divide are padded at their ends, and cut again by `from_patches`.
"""

from collections.abc import Sequence
from math import prod
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from diffjax.errors import UserError
from diffjax.nets.layers import require_spatial_axes

Picture = Float[Array, "b *sides _"]  # with one spatial axis or more
Patches = Float[Array, "b n features"]
Padding = Literal["reflect", "edge"]
"""What stands beyond the end of a side: what lies before it, in reverse, or its last value.

Reflected noise is as independent as all noise is, so that a net sees nothing new; but the patch at the end then holds
values of the patch before it. Edge values are of its own.
"""


def to_patches(x: Shaped[Array, "b ... _"], patch: int, padding: Padding = "reflect") -> Shaped[Array, "b n features"]:
    """The patches in raster order, each as one vector; where sides do not divide, of the array with `padding`."""
    missing = [-side % patch for side in x.shape[1:-1]]
    if any(missing):
        x = jnp.pad(x, [(0, 0), *((0, more) for more in missing), (0, 0)], mode=padding)
    b, *sides, c = x.shape
    axes = len(sides)
    split = x.reshape(b, *(size for side in sides for size in (side // patch, patch)), c)
    blocks = split.transpose(0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1)
    return blocks.reshape(b, prod(sides) // patch**axes, patch**axes * c)


def from_patches(patches: Patches, shape: tuple[int, ...], patch: int) -> Picture:
    """The array of these patches: the inverse of `to_patches`."""
    b, *sides, c = shape
    axes = len(sides)
    counts = _count_patches(sides, patch)
    blocks = patches.reshape(b, *counts, *(patch,) * axes, c)
    pairs = (axis for i in range(1, axes + 1) for axis in (i, axes + i))
    whole = blocks.transpose(0, *pairs, 2 * axes + 1).reshape(b, *(patch * count for count in counts), c)
    return jax.lax.slice(whole, [0] * len(shape), shape)


def levels_of_patches(level: Float[Array, "_ ... 1"], patch: int) -> Float[Array, "_ _"]:
    """The mean level of each patch's positions, [b, n], or the level of the example, [b, 1]."""
    if level.size == len(level):
        return level.reshape(len(level), 1)
    return jnp.mean(to_patches(level, patch, "edge"), axis=2)


def sides_in_patches(x: Picture, patch: int, net: str) -> tuple[int, ...]:
    """The sides in patches. Raises UserError where the array has no spatial axis, and for a patch longer than all."""
    require_spatial_axes(x, net)
    if patch > max(x.shape[1:-1]):
        raise UserError(f"{net}: expected patch to be at most the longest side of x {x.shape}, got patch={patch}")
    return _count_patches(x.shape[1:-1], patch)


def _count_patches(sides: Sequence[int], patch: int) -> tuple[int, ...]:
    return tuple(-(-side // patch) for side in sides)
