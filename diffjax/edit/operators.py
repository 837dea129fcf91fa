"""Measurement operators: a mask, block means, grey values, a blur, and any other by its orthonormal basis."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_context
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from diffjax.arguments.expected import as_array
from diffjax.edit.observation import Basis, Observation
from diffjax.edit.orthonormal import block_basis, channel_basis, hartley
from diffjax.errors import UserError
from diffjax.utils.closures import as_pytree
from diffjax.utils.kinds import matches_type
from diffjax.utils.values import python_scalar

MAX_BASIS_ERROR = 1e-3  # of the maps of `observed` at random vectors, over a vector's length


def inpaint(
    image: ArrayLike, known: ArrayLike, noise_std: float | Array = 0.0, *, batched: bool | None = None
) -> Observation:
    """The pixels or tokens where `known` is true, with noise of standard deviation `noise_std`: inpainting.

    `image` is one example or one for each key: numbers [h, w, c] or [b, h, w, c], tokens [n] or [b, n]; other shapes
    are one example unless `batched=True`. Its values at unknown positions are ignored. `known` is boolean, of the shape
    of the image, without its channels or not, and without the batch where all examples share it. For outpainting put
    the image into a larger one. As `hook=` of `dj.sample` known tokens are clamped and known numbers replaced, which is
    biased: `edit.solve` has better methods. Raises UserError.
    """
    image, batched = _as_image(image, batched, "inpaint")
    known = as_array("inpaint: known", known)
    known = known if isinstance(known, Tracer) else jnp.asarray(known)
    if known.dtype != bool:
        raise UserError(f"inpaint: known must be boolean, true where the image is known, got {known.dtype}")
    tokens = jnp.issubdtype(image.dtype, jnp.integer)
    if tokens and noise_std:
        raise UserError("inpaint: tokens have no noise; leave noise_std out")
    if not matches_type(python_scalar(noise_std), float) and not isinstance(noise_std, Tracer):
        raise UserError(f"inpaint: noise_std must be a finite number, got {noise_std!r}")
    _check_noise_std(noise_std, "inpaint")
    mask = _as_mask(known, image.shape[1:] if batched else image.shape, len(image) if batched else 0, tokens)
    return _validate(Observation(image, jnp.where(mask, noise_std, jnp.inf), batched=batched), "inpaint")


def downsampled(
    low: ArrayLike,
    factor: int,
    noise_std: float | Array = 0.0,
    *,
    sides: Sequence[int] | None = None,
    batched: bool | None = None,
) -> Observation:
    """The mean of every block of `factor` by `factor` pixels, with noise of deviation `noise_std`: super-resolution.

    `low` are the means, [h, w, c] or [b, h, w, c]. `sides` are those of the samples, by default `factor` times as long;
    where they are shorter, by less than `factor`, the blocks at their ends are smaller. Raises UserError.
    """
    low, batched = _as_numbers(low, batched, "downsampled", noise_std)
    if factor < 2:
        raise UserError(f"downsampled: factor must be a whole number, 2 or more, got {factor}")
    counts = low.shape[int(batched) : -1]
    sides = tuple(factor * n for n in counts) if sides is None else tuple(sides)
    if tuple(-(-side // factor) for side in sides) != counts:
        raise UserError(f"downsampled: {counts} means of {factor} pixels a side do not cover sides of {sides}")
    lead = low.shape[: int(batched)]
    corner = (*(slice(None) for _ in lead), *(slice(None, None, factor) for _ in sides))
    root = jnp.asarray(_root_sizes(sides, factor), low.dtype)[..., None]
    root = root[None] if batched else root
    values = jnp.zeros((*lead, *sides, low.shape[-1]), low.dtype).at[corner].set(root * low)
    std = jnp.full((*(1 for _ in lead), *sides, 1), jnp.inf, low.dtype).at[corner].set(root * noise_std)
    basis = block_basis(int(factor))
    return _validate(Observation(values, std, basis, basis, batched), "downsampled")


def _root_sizes(sides: tuple[int, ...], factor: int) -> Float[np.ndarray, "..."]:
    """The root of the number of pixels of every block."""
    lengths = [np.minimum(factor, side - np.arange(0, side, factor)) for side in sides]
    return np.sqrt(np.prod(np.meshgrid(*lengths, indexing="ij"), axis=0))


def grey(
    image: ArrayLike,
    weights: Sequence[float] = (1 / 3, 1 / 3, 1 / 3),
    noise_std: float | Array = 0.0,
    *,
    batched: bool | None = None,
) -> Observation:
    """Σ_c weights_c x_c at every pixel, with noise of standard deviation `noise_std`: colorization.

    `image` is [h, w, 1] or [b, h, w, 1]; samples have one channel for each weight. Raises UserError.
    """
    image, batched = _as_numbers(image, batched, "grey", noise_std)
    if image.shape[-1] != 1:
        raise UserError(f"grey: expected an image of one channel, [h, w, 1] or [b, h, w, 1], got {image.shape}")
    norm = float(np.linalg.norm(weights))
    if len(weights) < 2 or not (np.isfinite(norm) and norm):
        raise UserError(f"grey: expected a finite weight for each of two channels or more, got {tuple(weights)}")
    first = jnp.arange(len(weights)).reshape((1,) * (image.ndim - 1) + (-1,)) == 0
    std_shape = (*(1,) * batched, *image.shape[int(batched) : -1], len(weights))
    std = jnp.broadcast_to(jnp.where(first, noise_std / norm, jnp.inf), std_shape)
    basis = channel_basis(tuple(float(w) for w in weights))
    return _validate(Observation(jnp.where(first, image / norm, 0), std, basis, basis, batched), "grey")


def blurred(
    image: ArrayLike,
    kernel: ArrayLike,
    noise_std: float | Array = 0.0,
    *,
    min_response: float = 1e-3,
    batched: bool | None = None,
) -> Observation:
    """The image after circular convolution with a symmetric kernel, with noise of deviation `noise_std`: deblurring.

    `kernel` is [kh, kw], of odd sides and equal to itself rotated by 180°; `image` is [h, w, c] or [b, h, w, c].
    Frequencies with a response below `min_response` count as not measured. Raises UserError.
    """
    image, batched = _as_numbers(image, batched, "blurred", noise_std)
    response = _frequency_response(np.asarray(kernel, np.float64), image.shape[int(batched) : -1])
    response = response[(*(None,) * batched, ..., None)]
    passes = np.abs(response) >= min_response
    s = jnp.asarray(np.where(passes, response, 1), image.dtype)
    z = (jax.vmap(hartley) if batched else hartley)(image)
    std = jnp.where(passes, noise_std / jnp.abs(s), jnp.inf)
    return _validate(Observation(z / s, std, Partial(hartley), Partial(hartley), batched), "blurred")


def _frequency_response(kernel: Float[np.ndarray, "..."], sides: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """The eigenvalues of the convolution on images of these sides. Raises UserError for a kernel that does not fit."""
    if kernel.ndim != len(sides) or any(k % 2 == 0 or k > n for k, n in zip(kernel.shape, sides, strict=True)):
        raise UserError(
            f"blurred: expected a kernel of odd sides, no larger than the image {sides}, got {kernel.shape}"
        )
    if not np.allclose(kernel, np.flip(kernel), rtol=0, atol=1e-6 * np.abs(kernel).max()):
        raise UserError("blurred: expected a kernel equal to itself rotated by 180°; give others by edit.observed")
    padded = np.zeros(sides)
    padded[tuple(slice(k) for k in kernel.shape)] = kernel
    padded = np.roll(padded, [-(k // 2) for k in kernel.shape], tuple(range(len(sides))))
    return np.fft.fftn(padded).real


def observed(
    forward: Basis, inverse: Basis, values: ArrayLike, std: ArrayLike, *, batched: bool = False
) -> Observation:
    """Measurements of the coordinates `forward(x)` of an example in any orthonormal basis.

    `forward` and `inverse` map one example to one of the same shape. `std` is 0 where `values` are exact and infinite
    where nothing was measured. Raises UserError where the maps are not linear, orthonormal and inverse to each other.
    """
    values = jnp.asarray(values, jnp.result_type(float))
    std = jnp.broadcast_to(jnp.asarray(std, values.dtype), values.shape)
    observation = Observation(values, std, as_pytree(forward), as_pytree(inverse), batched)
    _check_basis(observation.shape, forward, inverse)
    return _validate(observation, "observed")


def _check_basis(shape: tuple[int, ...], forward: Basis, inverse: Basis) -> None:
    """Raise UserError where, at two random vectors, the maps are not inverse, linear and orthonormal."""
    with eval_context():
        u, v = jax.random.normal(jax.random.key(0), (2, *shape))
        try:
            z_u, z_v, z_sum = (forward(x) for x in (u, v, 2 * u - v))
            pairs = (
                (inverse(z_u), u),
                (z_sum, 2 * z_u - z_v),
                (jnp.sum(z_u * z_v), jnp.sum(u * v)),
                (jnp.sum(z_u**2), jnp.sum(u**2)),
            )
            same_shape = all(one.shape == other.shape for one, other in pairs)
        except (TypeError, ValueError) as error:
            raise UserError(f"observed: forward and inverse must map one example {shape}: {error}") from error
        limit = MAX_BASIS_ERROR * float(jnp.sqrt(jnp.sum(u**2)))
        if not same_shape or any(float(jnp.max(jnp.abs(one - other))) > limit for one, other in pairs):
            raise UserError(
                "observed: forward must be an orthonormal change of basis, of one example to its shape, and inverse "
                "its inverse; divide by the singular values of H, and take its singular vectors"
            )


def _validate(observation: Observation, name: str) -> Observation:
    """The observation with 0 for values that were not measured.

    Raises UserError where an example has no measured coordinate or no unknown one, or where a number is not valid.
    """
    finite = jnp.isfinite(observation.std)
    values = jnp.where(finite, observation.values, 0)
    if not any(isinstance(part, Tracer) for part in (finite, values)):
        std = np.asarray(observation.std).reshape(len(finite) if observation.batched else 1, -1)
        if not np.all(np.isfinite(np.asarray(values, float))):
            raise UserError(f"{name}: expected finite values where something is known")
        if not np.all(std >= 0):
            raise UserError(f"{name}: std must be at least 0; 0 is known exactly, infinity not measured")
        if not np.isfinite(std).any(axis=1).all():
            raise UserError(f"{name}: nothing is known; sample by dj.sample, without an observation")
        if (std == 0).all(axis=1).any():
            raise UserError(f"{name}: everything is known exactly, and nothing is left to sample")
    return replace(observation, values=values)


def _as_image(image: ArrayLike, batched: bool | None, name: str) -> tuple[Shaped[Array, "..."], bool]:
    """The image as numbers or tokens, and whether it is a batch: by default if it has 4 axes, or 2 of tokens."""
    array = jnp.asarray(as_array(f"{name}: image", image))
    if not jnp.issubdtype(array.dtype, jnp.integer):
        array = array.astype(jnp.result_type(float))
    if not array.ndim:
        raise UserError(f"{name}: expected an image, got a single number")
    axes = 1 if jnp.issubdtype(array.dtype, jnp.integer) else 3
    return array, array.ndim > axes if batched is None else batched


def _as_numbers(
    image: ArrayLike, batched: bool | None, name: str, noise_std: float | Array
) -> tuple[Float[Array, "..."], bool]:
    array, batched = _as_image(image, batched, name)
    if jnp.issubdtype(array.dtype, jnp.integer) or array.ndim < 2 + batched:
        raise UserError(
            f"{name}: expected numbers with positions and channels, [h, w, c], got {array.shape} {array.dtype}"
        )
    _check_noise_std(noise_std, name)
    return array, batched


def _check_noise_std(noise_std: float | Array, name: str) -> None:
    if not noise_std >= 0:
        raise UserError(f"{name}: noise_std must be at least 0, got {noise_std}")


def _as_mask(known: Bool[Array, "..."], shape: tuple[int, ...], count: int, tokens: bool) -> Bool[Array, "..."]:
    """The mask with the axes of the image; equal channels become one, as nets take one level for all channels."""
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
        mask = np.asarray(known)
        known = known[..., :1] if np.all(mask == mask[..., :1]) else known
    return known[None] if count and known.ndim == len(shape) else known
