"""Maximum mean discrepancy (MMD), unbiased, from the inner products of the points: MMD² with an RBF kernel, and KID.

Gretton et al. 2012, eq. 3: mean k(a, a') + mean k(b, b') − 2 mean k(a, b) over pairs of different points. Its
expectation is zero for equal distributions, so it can be negative. Raises `UserError` for an array that is not a table
of finite numbers with two rows or more.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from diffjax.errors import UserError
from diffjax.evaluation.pairwise import blocks
from diffjax.evaluation.point_pairs import Pairs, Rows, Square, block_function, pairs_of


def mmd2(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], sigma: float) -> float:
    """MMD² with k(x, y) = exp(−|x − y|² / 2σ²), σ in the units of the points."""
    pairs = pairs_of(a, b)
    return mmd2_of_pairs(pairs, *pairs.everything, sigma)


def kid(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The kernel inception distance: MMD² of features with k(x, y) = (x·y / d + 1)³ (Bińkowski et al. 2018, sec. 4)."""
    pairs = pairs_of(a, b)
    return kid_of_pairs(pairs, *pairs.everything)


def mmd2_of_pairs(pairs: Pairs, i: Rows, j: Rows, sigma: float) -> float:
    """`mmd2` of these rows of a and of b."""
    if not sigma > 0:
        raise UserError(f"sigma is {sigma}: the width of the kernel must be positive")
    return _unbiased_mmd2(pairs, i, j, lambda _, squared: np.exp(squared / (-2 * sigma**2)))


def kid_of_pairs(pairs: Pairs, i: Rows, j: Rows) -> float:
    """`kid` of these rows of a and of b."""
    dim = pairs.a.shape[1]

    def cubic(product: Square, _: Square) -> Square:
        base = product / dim + 1
        return base * base * base  # NumPy's power of 3 takes ten times as long

    return _unbiased_mmd2(pairs, i, j, cubic)


def _unbiased_mmd2(pairs: Pairs, i: Rows, j: Rows, kernel: Callable[[Square, Square], Square]) -> float:
    """By the kernel's sums within i, within j and across, a block of rows at a time."""
    totals = []
    for s, t, u, v in ((0, 0, i, i), (1, 1, j, j), (0, 1, i, j)):
        total = 0.0
        block = block_function(pairs, s, t)
        for rows in blocks(len(u)):
            values = kernel(*block(u[rows], v))
            total += float(values.sum()) - (float(values[:, rows].trace()) if s == t else 0.0)
        totals.append(total)
    within_a, within_b, across = totals
    n = len(i)
    m = len(j)
    return within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * across / (n * m)
