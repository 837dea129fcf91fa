"""Augmentations of training images, one key per image, on integer levels.

Every name makes a function: `flip(rate=0.5)` is `(keys [b], images [b, h, w, c]) -> images`. Pixels are moved and never
interpolated, so that any number of levels works. Which augmentations keep the class depends on the data: a mirrored cat
is a cat, a mirrored 3 is no digit.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import UInt8

from diffjax.data.splits import Dataset
from diffjax.errors import UserError
from diffjax.protocols import Keys
from diffjax.utils.image_io import format_size
from diffjax.utils.prng import fold, keys

__all__ = ["flip", "shift", "turn"]

Images = UInt8[jax.Array, "b h w c"]
Augment = Callable[[Keys, Images], Images]


def flip(rate: float = 0.5) -> Augment:
    """Horizontal flip with probability `rate`."""
    if not 0 <= rate <= 1:
        raise UserError(f"flip: rate must be in [0, 1], got {rate:g}")

    def flipped(keys: Keys, images: Images) -> Images:
        mirrored = jax.vmap(lambda key: jax.random.bernoulli(key, rate))(keys)
        return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)

    return flipped


def shift(pixels: int = 1) -> Augment:
    """Translation by integers, each uniform in -pixels … pixels; uncovered pixels repeat the nearest edge pixel."""
    if pixels < 1:
        raise UserError(f"shift: pixels must be at least 1, got {pixels}")

    def shift_image(key: jax.Array, image: jax.Array) -> jax.Array:
        height, width, _ = image.shape
        down, across = jax.random.randint(key, (2,), -pixels, pixels + 1)
        rows = jnp.clip(jnp.arange(height) - down, 0, height - 1)
        columns = jnp.clip(jnp.arange(width) - across, 0, width - 1)
        return image[rows][:, columns]

    def shifted(keys: Keys, images: Images) -> Images:
        height, width = images.shape[1:3]
        if pixels >= min(height, width):
            raise UserError(
                f"shift: pixels must be below the sides of the images ({format_size(height, width)}), got {pixels}"
            )
        return jax.vmap(shift_image)(keys, images)

    return shifted


def turn() -> Augment:
    """Rotation of a square image by 0, 90, 180 or 270 degrees, with equal probability."""

    def turn_image(keys: Keys, images: Images) -> Images:
        height, width = images.shape[1:3]
        if height != width:
            size = format_size(height, width)
            raise UserError(f"turn: needs square images, got {size}; set data.image_size, or leave turn out")
        quarters = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys)
        four = jnp.stack([jnp.rot90(images, number, axes=(1, 2)) for number in range(4)])
        return four[quarters, jnp.arange(len(images))]

    return turn_image


def apply_augmentations(augment: Sequence[Augment], keys: Keys, images: jax.Array) -> jax.Array:
    """Applies the augmentations in turn, each with its own keys."""
    for number, change in enumerate(augment):
        images = change(fold(keys, number), images)
    return images


def check_augment(augment: Sequence[Augment], dataset: Dataset) -> None:
    """Raises `UserError` for an augmentation that does not suit images of this set, before any is read."""
    if augment and dataset.distribution is not None:
        raise UserError(f"data.augment: it would change the known distribution of {dataset.name!r}; leave it out")
    shape = dataset.shape
    if augment and (dataset.real or len(shape) != 3):
        kind = "real numbers" if dataset.real else "arrays"
        raise UserError(f"data.augment: changes images, and {dataset.name!r} has {kind} of shape {shape}; leave it out")
    for size in dataset.sizes if augment else ():
        _check_shape(augment, (*size, shape[2]))


def _check_shape(augment: Sequence[Augment], shape: tuple[int, int, int]) -> None:
    example = jax.ShapeDtypeStruct((1, *shape), jnp.uint8)
    try:
        result = jax.eval_shape(partial(apply_augmentations, augment), keys(0, 1), example)
    except UserError as mistake:
        raise UserError(f"data.augment: {mistake}") from None
    if (result.shape, result.dtype) != (example.shape, example.dtype):
        raise UserError(f"data.augment: makes {result.dtype} {result.shape[1:]} of uint8 {shape}; keep shape and type")
