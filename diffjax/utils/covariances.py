"""Covariances of points by the smaller of two matrices: n × n of inner products, or d × d.

Both have the same eigenvalues but for zeros (X Xᵀ and Xᵀ X), so n images of d values cost min(n, d)³.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped

COLUMNS = 1_024  # values of all points that are held in double precision at once

Table = Shaped[np.ndarray, "_ d"]


class Spectrum(NamedTuple):
    """The eigenvalues of the covariance of n points of d values, with divisor n, and its shrinkage.

    Eigenvalues that are 0 because n ≤ d are left out. `shrinkage` is the s in [0, 1] of Ledoit & Wolf 2004,
    whose estimate is (1 - s) S + s m I with m the `mean_variance`, tr S / d.
    """

    variances: Float64[np.ndarray, " r"]
    shrinkage: float
    mean_variance: float
    dim: int


class Axes(NamedTuple):
    """A spectrum with its eigenvectors: `vectors`, or else the rows of `weights` times the points less their mean."""

    spectrum: Spectrum
    mean: Float64[np.ndarray, " d"]
    weights: Float64[np.ndarray, "r n"] | None
    vectors: Float64[np.ndarray, "r d"] | None


def inner_products(
    a: Shaped[np.ndarray, "n d"], b: Shaped[np.ndarray, "m d"], centre: Shaped[np.ndarray, " d"]
) -> Float64[np.ndarray, "n m"]:
    """(aᵢ - centre)·(bⱼ - centre) in double precision, a part of the d values at a time, of numbers of any type."""
    products = np.zeros((len(a), len(b)))
    for part in _parts(a.shape[1]):
        left = a[:, part] - centre[part].astype(np.float64)
        right = left if b is a else b[:, part] - centre[part].astype(np.float64)
        products += left @ right.T
    return products


def spectrum(x: Table) -> Spectrum:
    """The eigenvalues of the covariance of points, and their shrinkage."""
    product, lengths, _ = _smaller(x)
    return _spectrum(np.linalg.eigvalsh(product), lengths, x.shape)


def axes(x: Table) -> Axes:
    """The spectrum with its eigenvectors; eigenvalues that are only rounding are left out."""
    product, lengths, mean = _smaller(x)
    squares, vectors = np.linalg.eigh(product)
    whole = _spectrum(squares, lengths, x.shape)
    kept = squares > np.finfo(np.float64).eps * max(x.shape) * max(squares.max(initial=0), 0)
    kept_spectrum = whole._replace(variances=whole.variances[kept])
    eigenvectors = vectors[:, kept].T
    if len(x) <= x.shape[1]:
        return Axes(kept_spectrum, mean, eigenvectors / np.sqrt(squares[kept])[:, None], None)
    return Axes(kept_spectrum, mean, None, eigenvectors)


def along(basis: Axes, x: Table, rows: Table) -> Float64[np.ndarray, "r m"]:
    """The coordinates of rows less the mean along each eigenvector, of the axes of x."""
    if basis.vectors is not None:
        return basis.vectors @ (rows - basis.mean).T
    assert basis.weights is not None
    return basis.weights @ inner_products(x, rows, basis.mean)


def _smaller(x: Table) -> tuple[Float64[np.ndarray, "k k"], Float64[np.ndarray, " n"], Float64[np.ndarray, " d"]]:
    """X Xᵀ or Xᵀ X of the points less their mean, whichever is smaller; the squared length of each; the mean."""
    mean = x.mean(0, dtype=np.float64)
    if len(x) <= x.shape[1]:
        product = inner_products(x, x, mean)
        return product, np.diagonal(product).copy(), mean
    product = np.zeros((x.shape[1], x.shape[1]))
    lengths = np.empty(len(x))
    for rows in _parts(len(x)):
        centred = x[rows] - mean
        product += centred.T @ centred
        lengths[rows] = np.square(centred).sum(1)
    return product, lengths, mean


def _spectrum(squares: np.ndarray, lengths: np.ndarray, shape: tuple[int, ...]) -> Spectrum:
    """Ledoit & Wolf 2004, lemma 3.2 to 3.5, by the eigenvalues of X Xᵀ and the lengths of the points."""
    count, dim = shape
    variances = np.maximum(squares, 0) / count
    mean = variances.sum() / dim
    whole = np.square(variances).sum()
    squared_distance = (whole - dim * mean**2) / dim  # d² of the paper: |S - m I|²
    noise = min((np.square(lengths).sum() / count - whole) / (count * dim), squared_distance)  # b²
    shrinkage = noise / squared_distance if noise > 0 else 0.0
    return Spectrum(variances, float(shrinkage), float(mean), dim)


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + COLUMNS) for start in range(0, count, COLUMNS))
