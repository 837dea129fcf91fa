"""The usual observations: a mask, block means, grey values, a blur."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from diffjax.arguments.expected import as_array
from diffjax.edit.observation import Image, Observation, validate_observation
from diffjax.edit.orthonormal import block_basis, channel_basis, hartley
from diffjax.errors import UserError
from diffjax.utils.kinds import matches_type, python_scalar


def inpaint(image: Image, known: Any, noise_std: float = 0.0, *, batched: bool | None = None) -> Observation:
    """The pixels, or tokens, where `known` is true were seen, up to noise of this deviation; the rest is to be drawn.

    `image` is one example, or a batch with an image for each key: numbers [h, w, c] or [b, h, w, c], tokens [n] or
    [b, n]; other shapes are one example unless `batched=True`. What it holds where nothing is known does not matter.
    `known` is boolean, in the shape of the image or without its channels, and without the batch where all share it.
    Outpainting is a picture in a larger frame, of which the frame is not known. As `hook=` of `dj.sample` known tokens
    are clamped, and known numbers replaced (biased: `edit.solve` has better methods). Raises UserError.
    """
    image, batched = as_image(image, batched, "inpaint")
    known = as_array("inpaint: known", known)
    known = known if isinstance(known, Tracer) else jnp.asarray(known)
    if known.dtype != bool:
        raise UserError(f"inpaint: known must be boolean, true where the image is known, got {known.dtype}")
    tokens = jnp.issubdtype(image.dtype, jnp.integer)
    if tokens and noise_std:
        raise UserError("inpaint: tokens are known or not; noise_std is of numbers")
    if not matches_type(python_scalar(noise_std), float) and not isinstance(noise_std, Tracer):
        raise UserError(f"inpaint: noise_std must be a finite number, got {noise_std!r}")
    if not noise_std >= 0:
        raise UserError(f"inpaint: noise_std must be at least 0, got {noise_std}")
    mask = _as_mask(known, image.shape[1:] if batched else image.shape, len(image) if batched else 0, tokens)
    std = jnp.where(mask, noise_std, jnp.inf)
    return validate_observation(Observation(image, std, batched=batched), "inpaint")


def as_image(image: Image, batched: bool | None, name: str) -> tuple[Any, bool]:
    """The image as numbers or tokens, and whether it is a batch of them: by its axes, if that is not said."""
    image = jnp.asarray(as_array(f"{name}: image", image))
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


def downsampled(low: Image, factor: int, noise_std: float = 0.0, *, batched: bool | None = None) -> Observation:
    """The mean of every block of `factor` by `factor` pixels was seen, up to noise of this deviation: super-resolution.

    `low` are the means, [h, w, c] or [b, h, w, c]; what is drawn has sides `factor` times as long. Raises UserError.
    """
    low, batched = _as_numbers(low, batched, "downsampled", noise_std)
    if factor < 2:
        raise UserError(f"downsampled: factor must be a whole number, 2 or more, got {factor}")
    axes = range(int(batched), low.ndim - 1)
    shape = tuple(factor * n if i in axes else n for i, n in enumerate(low.shape))
    root = factor ** (len(axes) / 2)
    corner = tuple(slice(None, None, factor if i in axes else None) for i in range(low.ndim))
    values = jnp.zeros(shape, low.dtype).at[corner].set(root * low)
    one = (1,) * batched + shape[int(batched) : -1] + (1,)
    std = jnp.full(one, jnp.inf, low.dtype).at[corner].set(root * noise_std)
    turn = block_basis(int(factor))
    return validate_observation(Observation(values, std, turn, turn, batched), "downsampled")


def grey(
    image: Image,
    weights: Sequence[float] = (1 / 3, 1 / 3, 1 / 3),
    noise_std: float = 0.0,
    *,
    batched: bool | None = None,
) -> Observation:
    """Σ_c weights_c x_c of every pixel was seen, up to noise of this deviation; its colours are to be drawn.

    `image` is [h, w, 1] or [b, h, w, 1]; what is drawn has as many channels as there are weights. Raises UserError.
    """
    image, batched = _as_numbers(image, batched, "grey", noise_std)
    if image.shape[-1] != 1:
        raise UserError(f"grey: expected an image of one channel, [h, w, 1] or [b, h, w, 1], got {image.shape}")
    size = float(np.linalg.norm(weights))
    if len(weights) < 2 or not (np.isfinite(size) and size):
        raise UserError(f"grey: expected a finite weight for each of two channels or more, got {tuple(weights)}")
    first = jnp.arange(len(weights)).reshape((1,) * (image.ndim - 1) + (-1,)) == 0
    std = jnp.broadcast_to(
        jnp.where(first, noise_std / size, jnp.inf), (*(1,) * batched, *image.shape[int(batched) : -1], len(weights))
    )
    turn = channel_basis(tuple(float(w) for w in weights))
    return validate_observation(Observation(jnp.where(first, image / size, 0), std, turn, turn, batched), "grey")


def blurred(
    image: Image, kernel: Any, noise_std: float = 0.0, *, min_response: float = 1e-3, batched: bool | None = None
) -> Observation:
    """The image was seen through a blur, a convolution that goes round at its edges, up to noise of this deviation.

    `kernel` is [kh, kw], of odd sides and the same upside down and turned round, as most are; `image` is [h, w, c] or
    [b, h, w, c]. Waves of which the blur leaves less than `min_response` count as not seen. Raises UserError.
    """
    image, batched = _as_numbers(image, batched, "blurred", noise_std)
    kernel, sides = np.asarray(kernel, np.float64), image.shape[int(batched) : -1]
    if kernel.ndim != len(sides) or any(k % 2 == 0 or k > n for k, n in zip(kernel.shape, sides, strict=True)):
        raise UserError(
            f"blurred: expected a kernel of odd sides, no larger than the image {sides}, got {kernel.shape}"
        )
    if not np.allclose(kernel, np.flip(kernel), rtol=0, atol=1e-6 * np.abs(kernel).max()):
        raise UserError(
            "blurred: expected a kernel that stays the same when turned round; give another basis by observed"
        )
    whole = np.zeros(sides)
    whole[tuple(slice(k) for k in kernel.shape)] = kernel
    whole = np.roll(whole, [-(k // 2) for k in kernel.shape], tuple(range(len(sides))))
    strength = np.fft.fftn(whole).real[(*(None,) * batched, ..., None)]
    passes = np.abs(strength) >= min_response
    s = jnp.asarray(np.where(passes, strength, 1), image.dtype)
    z = (jax.vmap(hartley) if batched else hartley)(image)
    std = jnp.where(passes, noise_std / jnp.abs(s), jnp.inf)
    return validate_observation(Observation(z / s, std, Partial(hartley), Partial(hartley), batched), "blurred")


def _as_numbers(image: Image, batched: bool | None, name: str, noise_std: float) -> tuple[Any, bool]:
    image, batched = as_image(image, batched, name)
    if jnp.issubdtype(image.dtype, jnp.integer) or image.ndim < 2 + batched:
        raise UserError(
            f"{name}: expected numbers with positions and channels, [h, w, c], got {image.shape} {image.dtype}"
        )
    if not noise_std >= 0:
        raise UserError(f"{name}: noise_std must be at least 0, got {noise_std}")
    return image, batched
