"""Means and covariances of points, gathered a batch at a time in float64, and the Fréchet distance between two."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy.linalg import get_lapack_funcs

from diffjax.errors import UserError
from diffjax.evaluation.npz import read_npz
from diffjax.evaluation.pairwise import blocks, check_same_dimension, validate_pair, validate_points
from diffjax.utils.files import write_atomically

MAX_DIM = 16_384  # values of a point: a covariance of 2 GB


class Moments(NamedTuple):
    """The mean and the unbiased covariance (n − 1; zeros for one point) of n = `rows` points; 0: of unknown number."""

    rows: int
    mean: Float64[np.ndarray, " d"]
    covariance: Float64[np.ndarray, "d d"]


def gather_moments(batches: Iterable[Float[np.ndarray, "_ d"]]) -> Moments:
    """The moments of all points of some batches [n, d], of which one is held at a time.

    Chan, Golub & LeVeque 1983, eq. 2.1: two scatters add up, with n m/(n + m) δ δᵀ for the gap δ of their means. Here
    δ √(n m/(n + m)) is one more row of the centred batch, so that a batch costs one matrix product. Raises UserError
    for no points, NaN, or batches of different widths.
    """
    (moments,) = gather_moments_of_each(([batch] for batch in batches), 1)
    return moments


def gather_moments_of_each(batches: Iterable[Sequence[Float[np.ndarray, "_ d"]]], count: int) -> list[Moments]:
    """As `gather`, the moments of `count` sets of points at once: a batch is a table of each set, perhaps an empty one.

    So images are read once however their points are shared out. Each result is `gather`'s to the bit.
    """
    sums_of_each = [_Sums(0, np.zeros(0), np.zeros((0, 0)))] * count
    for batch in batches:
        sums_of_each = [_add_batch(sums, part) for sums, part in zip(sums_of_each, batch, strict=True)]
    if any(sums.rows == 0 for sums in sums_of_each):
        raise UserError("no points to take moments of: give at least one batch with a row")
    return [Moments(sums.rows, sums.mean, sums.scatter / max(sums.rows - 1, 1)) for sums in sums_of_each]


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of the points of a and of b together, up to rounding (Chan, Golub & LeVeque 1983, eq. 2.1)."""
    check_same_dimension(a.mean, b.mean)
    if a.rows < 1 or b.rows < 1:
        raise UserError("moments of an unknown number of points cannot be merged: gather them from the points")
    count, gap = a.rows + b.rows, b.mean - a.mean
    scatter = (a.rows - 1) * a.covariance + (b.rows - 1) * b.covariance
    scatter = scatter + np.outer(gap, gap) * (a.rows * b.rows / count)
    return Moments(count, a.mean + gap * (b.rows / count), scatter / (count - 1))


def frechet(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """|μa − μb|² + tr(Σa + Σb − 2 (Σa Σb)^½), the squared distance of the Gaussians fitted to a and b.

    Dowson & Landau 1982; Heusel et al. 2017, eq. 6 (there of features, here of whatever is given). The covariances
    are unbiased (n − 1) and may be singular. In squared units of the points; it falls as n and m grow, so compare
    values of equal n and m only. Needs two rows each. See `frechet_of` for how, and for points that come in batches.
    """
    a, b = validate_pair(a, b, 2)
    return _frechet(*_fit_gaussian(a), *_fit_gaussian(b))


def frechet_from_moments(a: Moments, b: Moments) -> float:
    """The Fréchet distance from moments (see `frechet`).

    With Σ = F Fᵀ, tr (Σa Σb)^½ is the sum of the singular values of Faᵀ Fb: no root of a product that is not
    symmetric, no imaginary part, and nothing added to the diagonal. F is a Cholesky factor with pivots, which ends
    at the rank of Σ (pivots below d · 2⁻⁵³ of the largest variance are rounding). Time grows as d³. Raises UserError
    for moments of one point.
    """
    check_same_dimension(a.mean, b.mean)
    if 1 in (a.rows, b.rows):
        raise UserError("moments of a single point have no covariance: give at least two points")
    return _frechet(a.mean, _factor(a.covariance), b.mean, _factor(b.covariance))


def write_moments(path: str | Path, moments: Moments, of: str) -> None:
    """Writes moments as npz: count, mu, sigma (the names of public reference files), of what they are, and a hash."""
    buffer = io.BytesIO()
    origin = {"of": np.array(of), "sha256": np.array(_hash(moments, of))}
    arrays: dict[str, Any] = {
        "count": np.array(moments.rows),
        "mu": moments.mean,
        "sigma": moments.covariance,
        **origin,
    }
    np.savez(buffer, **arrays)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def read_moments(path: str | Path, of: str | None = None) -> Moments:
    """Moments from an npz with `mu` [d] and `sigma` [d, d]: ours, or a public reference file, of unknown count.

    With `of`, they must say that they are of that. Raises UserError for a file that is no such thing, that has
    changed since it was written, or that is of something else.
    """
    arrays = read_npz(path, ("mu", "sigma", "count", "of", "sha256"), MAX_DIM**2 * 8 + 2**20)
    if not {"mu", "sigma"} <= arrays.keys():
        raise UserError(f"{path}: has no mu and sigma; give a file of statistics, or images as arr_0")
    mean, covariance = arrays["mu"], arrays["sigma"]
    consistent = mean.ndim == 1 and covariance.shape == (len(mean), len(mean)) and len(mean) > 0
    if not consistent or mean.dtype.kind != "f" or covariance.dtype.kind != "f":
        raise UserError(f"{path}: mu is {mean.shape}, sigma {covariance.shape}; expected floats [d] and [d, d]")
    mean, covariance = mean.astype(np.float64), covariance.astype(np.float64)
    sound = np.isfinite(mean).all() and np.isfinite(covariance).all() and (np.diag(covariance) >= 0).all()
    if not sound or not np.allclose(covariance, covariance.T, rtol=0, atol=1e-6 * np.abs(covariance).max()):
        raise UserError(f"{path}: sigma is no covariance (NaN, a variance below 0, or not symmetric); make it again")
    origin, count = str(arrays.get("of", "")), arrays.get("count", np.array(0))
    if count.shape != () or count.dtype.kind not in "iu" or count < 0:
        raise UserError(f"{path}: its count is not one number from 0; make it again")
    moments = Moments(int(count), mean, covariance)
    if "sha256" in arrays and str(arrays["sha256"]) != _hash(moments, origin):
        raise UserError(f"{path}: has changed since it was written; make it again")
    if of is not None and origin != of:
        raise UserError(f"{path}: statistics of {origin[:80] or 'nobody knows what'!r}, not of {of!r}; make them again")
    return moments


class _Sums(NamedTuple):
    rows: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]  # added to in place


def _add_batch(sums: _Sums, batch: Float[np.ndarray, "_ d"]) -> _Sums:
    count, mean, scatter = sums
    if len(batch) == 0:
        return sums
    batch = validate_points("the batch", batch, 1)
    if count == 0:
        mean, scatter = np.zeros(batch.shape[1]), np.zeros((batch.shape[1], batch.shape[1]))
    check_same_dimension(mean, batch)
    for start in range(0, len(batch), 4096):
        part = batch[start : start + 4096]
        part_mean = part.mean(0, dtype=np.float64)
        share = len(part) / (count + len(part))
        row = (part_mean - mean) * np.sqrt(count * share)
        centred = np.concatenate([part - part_mean, row[None]])
        scatter += centred.T @ centred
        mean = mean + share * (part_mean - mean)
        count += len(part)
    return _Sums(count, mean, scatter)


def _hash(moments: Moments, of: str) -> str:
    digest = hashlib.sha256(f"{of}\n{moments.rows}\n{moments.mean.shape}".encode())
    for part in moments[1:]:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _frechet(mean_a: np.ndarray, factor_a: np.ndarray, mean_b: np.ndarray, factor_b: np.ndarray) -> float:
    gap = mean_a - mean_b
    spread = np.square(factor_a).sum() + np.square(factor_b).sum()  # tr Σa + tr Σb
    overlap = np.linalg.svd(factor_a.T @ factor_b, compute_uv=False).sum()
    return max(0.0, float(gap @ gap + spread - 2 * overlap))


def _fit_gaussian(x: Float[np.ndarray, "n d"]) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, "d r"]]:
    """The mean, and F with F Fᵀ the covariance: of few points the centred rows themselves, which lose no digits."""
    if len(x) <= x.shape[1]:
        mean = x.mean(0, dtype=np.float64)
        return mean, (x - mean).T / np.sqrt(len(x) - 1)
    moments = gather_moments(x[rows] for rows in blocks(len(x)))
    return moments.mean, _factor(moments.covariance)


def _factor(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d r"]:
    """F [d, rank] with F Fᵀ = Σ, by Cholesky's algorithm with pivots (Higham 1990)."""
    (pstrf,) = get_lapack_funcs(("pstrf",), (covariance,))
    lower, pivots, rank, _ = pstrf(covariance, lower=1)
    factor = np.empty((len(covariance), rank))
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    return factor
