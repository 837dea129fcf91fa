"""The usual observations: a mask, block means, grey values, a blur."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from diffjax.edit.seen import Image, Observation, checked
from diffjax.errors import UserError


def inpaint(image: Image, known: Any, noise_std: float = 0.0, *, batched: bool | None = None) -> Observation:
    """The pixels, or tokens, where `known` is true were seen, up to noise of this deviation; the rest is to be drawn.

    `image` is one example, or a batch with an image for each key: numbers [h, w, c] or [b, h, w, c], tokens [n] or
    [b, n]; other shapes are one example unless `batched=True`. What it holds where nothing is known does not matter.
    `known` is boolean, in the shape of the image or without its channels, and without the batch where all share it.
    Outpainting is a picture in a larger frame, of which the frame is not known. As `hook=` of `dj.sample` known tokens
    are clamped, and known numbers replaced (biased: `edit.solve` has better methods). Raises UserError.
    """
    image, batched = as_image(image, batched, "inpaint")
    known = known if isinstance(known, Tracer) else jnp.asarray(known)
    if known.dtype != bool:
        raise UserError(f"inpaint: known must be boolean, true where the image is known, got {known.dtype}")
    tokens = jnp.issubdtype(image.dtype, jnp.integer)
    if tokens and noise_std:
        raise UserError("inpaint: tokens are known or not; noise_std is of numbers")
    if not noise_std >= 0:
        raise UserError(f"inpaint: noise_std must be at least 0, got {noise_std}")
    mask = _as_mask(known, image.shape[1:] if batched else image.shape, len(image) if batched else 0, tokens)
    std = jnp.where(mask, noise_std, jnp.inf)
    return checked(Observation(image, std, batched=batched), "inpaint")


def as_image(image: Image, batched: bool | None, name: str) -> tuple[Any, bool]:
    """The image as numbers or tokens, and whether it is a batch of them: by its axes, if that is not said."""
    image = jnp.asarray(image)
    if not jnp.issubdtype(image.dtype, jnp.integer):
        image = image.astype(jnp.result_type(float))
    if not image.ndim:
        raise UserError(f"{name}: expected an image, got a single number")
    axes = 1 if jnp.issubdtype(image.dtype, jnp.integer) else 3
    return image, image.ndim > axes if batched is None else batched


def _as_mask(known: Any, shape: tuple[int, ...], count: int, tokens: bool) -> Any:
    """The mask with as many axes as the image; channels that agree are one, as nets take one level for all of them."""
    fits = [shape] if tokens else [shape, shape[:-1]]
    fits += [(count, *fit) for fit in fits] if count else []
    if known.shape not in fits:
        images = f"{count} images are {shape} each" if count else f"the image is {shape}"
        raise UserError(
            f"inpaint: known and image must be of one size: {images} and known {known.shape}; expected one of "
            f"{', '.join(map(str, fits))}"
        )
    if not tokens and fits.index(known.shape) % 2:
        known = known[..., None]
    elif not tokens and shape[:-1] and not isinstance(known, Tracer):
        one = np.asarray(known)
        known = known[..., :1] if np.all(one == one[..., :1]) else known
    return known[None] if count and known.ndim == len(shape) else known
