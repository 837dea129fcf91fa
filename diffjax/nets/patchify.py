"""Images as tokens: square patches in raster order, each one vector, and their levels."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from diffjax.errors import UserError

Picture = Float[Array, "b _ _ _"]
Patches = Float[Array, "b n features"]


def to_patches(x: Shaped[Array, "b _ _ _"], patch: int) -> Shaped[Array, "b n features"]:
    """The patches in raster order, each as one vector."""
    b, h, w, c = x.shape
    squares = x.reshape(b, h // patch, patch, w // patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(b, h * w // patch**2, patch**2 * c)


def from_patches(patches: Patches, shape: tuple[int, ...], patch: int) -> Picture:
    """The image of these patches: the inverse of `to_patches`."""
    b, h, w, c = shape
    squares = patches.reshape(b, h // patch, w // patch, patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(shape)


def levels_of_patches(level: Float[Array, "_ _ _ 1"], patch: int) -> Float[Array, "_ _"]:
    """The mean level of each patch's pixels, [b, n], or the level of the example, [b, 1]."""
    return level[:, :, 0, 0] if level.shape[1:3] == (1, 1) else jnp.mean(to_patches(level, patch), axis=2)


def sides_in_patches(x: Picture, patch: int, net: str) -> tuple[int, int]:
    """The height and width in patches. Raises UserError where the image's do not divide by `patch`."""
    if x.shape[1] % patch or x.shape[2] % patch:
        raise UserError(f"{net}: expected images with sides that divide by patch={patch}, got {x.shape}")
    return x.shape[1] // patch, x.shape[2] // patch
