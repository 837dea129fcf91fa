"""Scores of two sets by the inner products of their points, which are taken once: parts of the sets cost no more of d.

n points of d values have n² inner products, and Fréchet distances, MMD², KID, precision and the rest are functions of
these. A jackknife computes each score some forty times; here the d values are looked at once for all of them. `Rows`
are places of points in either set.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Integer

from diffjax.evaluation.classifiers import two_sample_of_kernel
from diffjax.evaluation.frechet_distance import frechet
from diffjax.evaluation.mmd import unbiased
from diffjax.evaluation.pairwise import blocks, validate_pair
from diffjax.evaluation.precision_recall import Coverage, coverage_of_blocks
from diffjax.utils import covariances

Rows = Integer[np.ndarray, " _"]
Square = Float64[np.ndarray, "_ _"]


class Pairs(NamedTuple):
    """Two sets of points, and the inner products of (point - centre) with one another.

    `to_centre` are inner products of these with the centre itself, and `centre` that of the centre with itself.
    """

    a: Float[np.ndarray, "n d"]
    b: Float[np.ndarray, "m d"]
    within_a: Float64[np.ndarray, "n n"]
    within_b: Float64[np.ndarray, "m m"]
    across: Float64[np.ndarray, "n m"]
    a_to_centre: Float64[np.ndarray, " n"]
    b_to_centre: Float64[np.ndarray, " m"]
    centre: float

    @property
    def everything(self) -> tuple[Rows, Rows]:
        """The rows of all points of either set."""
        return np.arange(len(self.a)), np.arange(len(self.b))


def pairs_of(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], known: Pairs | None = None) -> Pairs:
    """The inner products of two sets; of b's own, those of a `known` pair with the same b are taken."""
    a, b = validate_pair(a, b, 2)
    centre = b.mean(0, dtype=np.float64) if known is None else known.b.mean(0, dtype=np.float64)
    within_b = covariances.inner_products(b, b, centre) if known is None else known.within_b
    return Pairs(
        a,
        b,
        covariances.inner_products(a, a, centre),
        within_b,
        covariances.inner_products(a, b, centre),
        a @ centre - centre @ centre,
        b @ centre - centre @ centre,
        float(centre @ centre),
    )


def frechet_of_pairs(pairs: Pairs, i: Rows, j: Rows) -> float:
    """`frechet_distance.frechet` of these rows, to rounding; time grows with min(n, m, d)³.

    With X the points less their mean, Σa = XᵀX/(n - 1), and tr (Σa Σb)^½ is the sum of the singular values of
    X Yᵀ/√((n - 1)(m - 1)), n × m in place of d × d.
    """
    if pairs.a.shape[1] < min(len(i), len(j)):
        return frechet(pairs.a[i], pairs.b[j])
    means, traces = zip(
        *(_moments(whole, rows) for whole, rows in ((pairs.within_a, i), (pairs.within_b, j))), strict=True
    )
    across = pairs.across[np.ix_(i, j)]
    gap = sum(means) - 2 * across.mean()
    across = across - across.mean(0) - across.mean(1)[:, None] + across.mean()
    overlap = np.linalg.svd(across, compute_uv=False).sum() / np.sqrt((len(i) - 1) * (len(j) - 1))
    return max(0.0, float(gap + sum(traces) - 2 * overlap))


def mmd2_of_pairs(pairs: Pairs, i: Rows, j: Rows, sigma: float) -> float:
    """`mmd.mmd2` of these rows."""
    return unbiased(*_sums(pairs, i, j, lambda _, squared: np.exp(squared / (-2 * sigma**2))), len(i), len(j))


def kid_of_pairs(pairs: Pairs, i: Rows, j: Rows) -> float:
    """The value of `mmd.kid` of these rows."""
    dim = pairs.a.shape[1]

    def cubic(product: Square, _: Square) -> Square:
        base = product / dim + 1
        return base * base * base

    return unbiased(*_sums(pairs, i, j, cubic), len(i), len(j))


def coverage_of_pairs(pairs: Pairs, i: Rows, j: Rows, k: int) -> Coverage:
    """`precision_recall.coverage_scores` of these rows."""
    within_a, within_b, across = (_block(pairs, *sides) for sides in ((0, 0), (1, 1), (1, 0)))
    return coverage_of_blocks(
        lambda rows: within_a(i[rows], i)[1],
        lambda rows: within_b(j[rows], j)[1],
        lambda rows: across(j[rows], i)[1],
        (len(i), len(j)),
        k,
    )


def two_sample_of_pairs(pairs: Pairs, i: Rows, j: Rows, gamma: float, C: float, draws: int, seed: int) -> float:
    """`classifiers.two_sample_accuracy` of these rows."""

    def kernel(i: Rows, j: Rows) -> Square:
        rows = [
            np.concatenate([_block(pairs, s, t)(u, v)[1] for t, v in ((0, i), (1, j))], 1) for s, u in ((0, i), (1, j))
        ]
        return np.exp(-gamma * np.concatenate(rows))

    return two_sample_of_kernel(kernel, i, j, C, draws, seed)


def _moments(products: Square, rows: Rows) -> tuple[float, float]:
    """|mean - centre|², and the trace of the covariance."""
    mean = float(products[np.ix_(rows, rows)].mean())
    return mean, float(products[rows, rows].sum() - len(rows) * mean) / (len(rows) - 1)


def _block(pairs: Pairs, s: int, t: int) -> Callable[[Rows, Rows], tuple[Square, Square]]:
    """Inner products of the points themselves, and squared distances, of rows of side s and of side t (0: a, 1: b)."""
    whole = ((pairs.within_a, pairs.across), (pairs.across.T, pairs.within_b))[s][t]
    lengths = np.diagonal(pairs.within_a), np.diagonal(pairs.within_b)
    to_centre = pairs.a_to_centre, pairs.b_to_centre

    def block(u: Rows, v: Rows) -> tuple[Square, Square]:
        product = whole[np.ix_(u, v)]
        squared = np.maximum(lengths[s][u][:, None] + lengths[t][v] - 2 * product, 0)
        return product + to_centre[s][u][:, None] + to_centre[t][v] + pairs.centre, squared

    return block


def _sums(pairs: Pairs, i: Rows, j: Rows, kernel: Callable[[Square, Square], Square]) -> tuple[float, float, float]:
    """A kernel's sums over pairs of different points of a and of b, and over those across."""
    totals = []
    for s, t, u, v in ((0, 0, i, i), (1, 1, j, j), (0, 1, i, j)):
        total, block = 0.0, _block(pairs, s, t)
        for rows in blocks(len(u)):
            values = kernel(*block(u[rows], v))
            total += float(values.sum()) - (float(values[:, rows].trace()) if s == t else 0.0)
        totals.append(total)
    return totals[0], totals[1], totals[2]
