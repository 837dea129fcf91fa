"""Stationary Gaussian fields of any rank and size, whose denoiser and posteriors are known exactly.

The covariance of two positions is Π_axes r_a^|i_a − j_a|, an AR(1) process along each axis: what a field of one size is
on a part of its positions is the field of that size. Channels are independent, each number is N(0, 1) by itself. All
covariances are Kronecker products of one matrix for each axis, so nothing is larger than a side.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Float64

from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import Keys
from diffjax.utils.memo import bind

Matrix = Float64[np.ndarray, "_ _"]


class FieldPosterior(NamedTuple):
    """The posterior of a field given its block means: its mean, and the variance of each number."""

    mean: Float64[np.ndarray, "*n c"]
    variance: Float64[np.ndarray, "*n"]


class _Spectrum(NamedTuple):
    """The covariance as the eigenvectors (columns) of each axis, and the variance of each coordinate, [*n, 1]."""

    axes: tuple[Float[Array, "_ _"], ...]
    variances: Float[Array, "*n 1"]


def covariances(sizes: Sequence[int], correlations: Sequence[float]) -> list[Matrix]:
    """r^|i − j| of each axis, [n, n]. Raises UserError for another number of axes, or r outside of [0, 1)."""
    if len(sizes) != len(correlations) or not all(0 <= r < 1 for r in correlations):
        raise UserError(
            f"gaussian_field: expected a correlation in [0, 1) of neighbours for each of {len(sizes)} axes, got "
            f"{tuple(correlations)}"
        )
    lags = [np.abs(np.subtract.outer(np.arange(n), np.arange(n))) for n in sizes]
    return [float(r) ** lag for r, lag in zip(correlations, lags, strict=True)]


def gaussian_field(noise: Gaussian, sizes: Sequence[int], correlations: Sequence[float]) -> Partial:
    """E[x0|x_t] = C alpha (alpha² C + sigma²)⁻¹ x_t of a field, for x of shape [b, *sizes, c] at one level an example.

    `correlations` are those of neighbours along each axis. Raises UserError for numbers that do not fit.
    """
    spectra = [np.linalg.eigh(matrix) for matrix in covariances(sizes, correlations)]
    variances = reduce(np.multiply.outer, [values for values, _ in spectra])[..., None]
    axes = tuple(jnp.asarray(vectors) for _, vectors in spectra)
    return Partial(bind(_denoiser, noise), _Spectrum(axes, jnp.asarray(variances)))


def field_draws(keys: Keys, sizes: Sequence[int], correlations: Sequence[float], channels: int = 1) -> Array:
    """One exact draw of the field for each key, [b, *sizes, channels]."""
    roots = [jnp.asarray(np.linalg.cholesky(matrix)) for matrix in covariances(sizes, correlations)]
    white = jax.vmap(lambda key: jax.random.normal(key, (*sizes, channels), roots[0].dtype))(keys)
    return _along_axes(roots, white)


def field_posterior(
    means: Float[np.ndarray, "*m c"], factor: int, sizes: Sequence[int], correlations: Sequence[float]
) -> FieldPosterior:
    """The field of these sizes given the exact means of its blocks of `factor` positions along each axis, in float64.

    With H the block means of one axis, mean = ⊗ C Hᵀ (H C Hᵀ)⁻¹ y and covariance = ⊗ C − ⊗ C Hᵀ (H C Hᵀ)⁻¹ H C.
    """
    matrices = covariances(sizes, correlations)
    blocks = [np.kron(np.eye(n // factor), np.full((1, factor), 1 / factor)) for n in sizes]
    gains = [c @ h.T @ np.linalg.inv(h @ c @ h.T) for c, h in zip(matrices, blocks, strict=True)]
    shares = [np.diag(g @ h @ c) for g, h, c in zip(gains, blocks, matrices, strict=True)]
    mean = np.asarray(means, np.float64)
    for axis, gain in enumerate(gains):
        mean = np.moveaxis(np.tensordot(gain, mean, (1, axis)), 0, axis)
    return FieldPosterior(mean, 1 - reduce(np.multiply.outer, shares))


def _denoiser(noise: Gaussian, law: _Spectrum, x_t: Array, t: Array, cond: None) -> Array:
    if t.size != len(x_t):
        raise UserError(f"gaussian_field: expected one level for each example, got levels of shape {t.shape}")
    m = noise.coefficients(t.reshape(len(x_t), *(1,) * (x_t.ndim - 1)))
    shrinkage = m.alpha * law.variances[None] / (m.alpha**2 * law.variances[None] + m.sigma**2)
    coordinates = _along_axes([axes.T for axes in law.axes], x_t)
    return _along_axes(law.axes, shrinkage * coordinates)


def _along_axes(matrices: Sequence[Array], x: Array) -> Array:
    """x [b, *n, c] with each axis multiplied by its matrix."""
    for axis, matrix in enumerate(matrices, start=1):
        x = jnp.moveaxis(jnp.tensordot(matrix.astype(x.dtype), x, (1, axis), precision="highest"), 0, axis)
    return x
