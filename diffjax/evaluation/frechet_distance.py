"""The Fréchet distance of two sets of points, and means and covariances computed batch by batch in float64."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy.linalg import get_lapack_funcs

from diffjax.errors import UserError
from diffjax.evaluation.npz import read_npz
from diffjax.evaluation.pairwise import blocks, check_same_dimension, validate_pair, validate_points
from diffjax.evaluation.point_pairs import Pairs, Rows, Square
from diffjax.utils.files import write_atomically

MAX_DIM = 16_384  # values per point: a covariance of 2 GB


class Moments(NamedTuple):
    """Mean and unbiased covariance (n − 1; zeros for one point) of n = `rows` points; 0 if unknown."""

    rows: int
    mean: Float64[np.ndarray, " d"]
    covariance: Float64[np.ndarray, "d d"]


def gather_moments(batches: Iterable[Float[np.ndarray, "_ d"]]) -> Moments:
    """The moments of all points of the batches [n, d], one batch in memory at a time.

    Chan, Golub & LeVeque 1983, eq. 2.1: the scatter of a union is the sum of both scatters and n m/(n + m) δ δᵀ, where
    δ is the difference of the means. Here δ √(n m/(n + m)) is one more row of the centred batch, so that a batch costs
    one matrix product. Raises UserError for no points, NaN, or batches of different width.
    """
    (moments,) = gather_moments_of_each(([batch] for batch in batches), 1)
    return moments


def gather_moments_of_each(batches: Iterable[Sequence[Float[np.ndarray, "_ d"]]], count: int) -> list[Moments]:
    """`gather_moments` of `count` sets at once, bit for bit: a batch is one table, perhaps empty, for each set."""
    sums_of_each = [_Sums(0, np.zeros(0), np.zeros((0, 0)))] * count
    for batch in batches:
        sums_of_each = [_add_batch(sums, part) for sums, part in zip(sums_of_each, batch, strict=True)]
    if any(sums.rows == 0 for sums in sums_of_each):
        raise UserError("no points to take moments of: give at least one batch with a row")
    return [Moments(sums.rows, sums.mean, sums.scatter / max(sums.rows - 1, 1)) for sums in sums_of_each]


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of the union of two sets, up to rounding (Chan, Golub & LeVeque 1983, eq. 2.1)."""
    check_same_dimension(a.mean, b.mean)
    if a.rows < 1 or b.rows < 1:
        raise UserError("moments of an unknown number of points cannot be merged: gather them from the points")
    count = a.rows + b.rows
    gap = b.mean - a.mean
    scatter = (a.rows - 1) * a.covariance + (b.rows - 1) * b.covariance
    scatter = scatter + np.outer(gap, gap) * (a.rows * b.rows / count)
    return Moments(count, a.mean + gap * (b.rows / count), scatter / (count - 1))


def frechet(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """|μa − μb|² + tr(Σa + Σb − 2 (Σa Σb)^½), the squared Fréchet distance of the Gaussians fitted to a and b.

    Dowson & Landau 1982; Heusel et al. 2017, eq. 6. The covariances are unbiased (n − 1) and may be singular. In
    squared units of the points. The estimate is biased upwards and falls as n and m grow: compare values at equal n and
    m only. Needs two rows each. For points in batches see `frechet_from_moments`.
    """
    a, b = validate_pair(a, b, 2)
    return _frechet(*_fit_gaussian(a), *_fit_gaussian(b))


def frechet_from_moments(a: Moments, b: Moments) -> float:
    """`frechet` from moments.

    With Σ = F Fᵀ, tr (Σa Σb)^½ is the sum of the singular values of Faᵀ Fb: no square root of a matrix that is not
    symmetric, no imaginary part, and nothing added to the diagonal. F is a Cholesky factor with pivoting, truncated
    at the rank of Σ (pivots below d · 2⁻⁵³ of the largest variance are rounding). Time grows as d³. Raises UserError
    for moments of one point.
    """
    check_same_dimension(a.mean, b.mean)
    if 1 in (a.rows, b.rows):
        raise UserError("moments of a single point have no covariance: give at least two points")
    return _frechet(a.mean, _factor(a.covariance), b.mean, _factor(b.covariance))


def frechet_of_pairs(pairs: Pairs, i: Rows, j: Rows) -> float:
    """`frechet` of these rows of a and of b, up to rounding; time grows with min(n, m, d)³.

    With X the points less their mean, Σa = XᵀX/(n − 1), and tr (Σa Σb)^½ is the sum of the singular values of
    X Yᵀ/√((n − 1)(m − 1)), n × m instead of d × d.
    """
    if pairs.a.shape[1] < min(len(i), len(j)):
        return frechet(pairs.a[i], pairs.b[j])
    mean_a, trace_a = _mean_and_trace(pairs.within_a, i)
    mean_b, trace_b = _mean_and_trace(pairs.within_b, j)
    across = pairs.across[np.ix_(i, j)]
    gap = mean_a + mean_b - 2 * across.mean()
    across = across - across.mean(0) - across.mean(1)[:, None] + across.mean()
    overlap = np.linalg.svd(across, compute_uv=False).sum() / np.sqrt((len(i) - 1) * (len(j) - 1))
    return max(0.0, float(gap + (trace_a + trace_b) - 2 * overlap))


def write_moments(path: str | Path, moments: Moments, of: str) -> None:
    """Writes npz: count, mu, sigma (the names of public reference files), `of`, which describes the points, a hash."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        count=np.array(moments.rows),
        mu=moments.mean,
        sigma=moments.covariance,
        of=np.array(of),
        sha256=np.array(_hash(moments, of)),
    )
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def read_moments(path: str | Path, of: str | None = None) -> Moments:
    """Moments from an npz with `mu` [d] and `sigma` [d, d]: from `write_moments`, or a public file of unknown count.

    Raises UserError, naming the file, if it is not such a file, has changed since it was written, or its description is
    not `of`, where that is given.
    """
    arrays = read_npz(path, ("mu", "sigma", "count", "of", "sha256"), MAX_DIM**2 * 8 + 2**20)
    if not {"mu", "sigma"} <= arrays.keys():
        raise UserError(f"{path}: has no mu and sigma; give a file of statistics, or images as arr_0")
    mean, covariance = _validate_moments(path, arrays["mu"], arrays["sigma"])
    origin = str(arrays.get("of", ""))
    count = arrays.get("count", np.array(0))
    if count.shape != () or count.dtype.kind not in "iu" or count < 0:
        raise UserError(f"{path}: its count is not one number from 0; make it again")
    moments = Moments(int(count), mean, covariance)
    if "sha256" in arrays and str(arrays["sha256"]) != _hash(moments, origin):
        raise UserError(f"{path}: has changed since it was written; make it again")
    if of is not None and origin != of:
        raise UserError(f"{path}: statistics of {origin[:80] or 'unknown images'!r}, not of {of!r}; make them again")
    return moments


def _validate_moments(path: str | Path, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance in float64; raises UserError, naming the file, where they cannot be those of points."""
    consistent = mean.ndim == 1 and covariance.shape == (len(mean), len(mean)) and len(mean) > 0
    if not consistent or mean.dtype.kind != "f" or covariance.dtype.kind != "f":
        raise UserError(f"{path}: mu is {mean.shape}, sigma {covariance.shape}; expected floats [d] and [d, d]")
    mean = mean.astype(np.float64)
    covariance = covariance.astype(np.float64)
    sound = np.isfinite(mean).all() and np.isfinite(covariance).all() and (np.diag(covariance) >= 0).all()
    if not sound or not np.allclose(covariance, covariance.T, rtol=0, atol=1e-6 * np.abs(covariance).max()):
        raise UserError(f"{path}: sigma is no covariance (NaN, a variance below 0, or not symmetric); make it again")
    return mean, covariance


class _Sums(NamedTuple):
    rows: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]  # added to in place


def _add_batch(sums: _Sums, batch: Float[np.ndarray, "_ d"]) -> _Sums:
    count, mean, scatter = sums
    if len(batch) == 0:
        return sums
    batch = validate_points("the batch", batch, 1)
    dim = batch.shape[1]
    if count == 0:
        mean = np.zeros(dim)
        scatter = np.zeros((dim, dim))
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


def _mean_and_trace(products: Square, rows: Rows) -> tuple[float, float]:
    """|mean − centre|², and the trace of the covariance."""
    mean = float(products[np.ix_(rows, rows)].mean())
    return mean, float(products[rows, rows].sum() - len(rows) * mean) / (len(rows) - 1)


def _fit_gaussian(x: Float[np.ndarray, "n d"]) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, "d r"]]:
    """The mean, and F with F Fᵀ the covariance: the centred rows themselves if n ≤ d, which lose no digits."""
    if len(x) <= x.shape[1]:
        mean = x.mean(0, dtype=np.float64)
        return mean, (x - mean).T / np.sqrt(len(x) - 1)
    moments = gather_moments(x[rows] for rows in blocks(len(x)))
    return moments.mean, _factor(moments.covariance)


def _factor(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d r"]:
    """F [d, rank] with F Fᵀ = Σ: the Cholesky factor with pivoting (Higham 1990)."""
    (pstrf,) = get_lapack_funcs(("pstrf",), (covariance,))
    lower, pivots, rank, _ = pstrf(covariance, lower=1)
    factor = np.empty((len(covariance), rank))
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    return factor
