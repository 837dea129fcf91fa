"""The inner products of the points of two sets, computed once for all scores of the sets and of their subsets.

Fréchet distance, MMD², KID, precision and recall of n points of d values are functions of their n² inner products. A
jackknife computes each score some forty times, and so reads the d values once.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Integer

from diffjax.evaluation.pairwise import validate_pair
from diffjax.utils import covariances

Rows = Integer[np.ndarray, " _"]  # indices of points of one set
Square = Float64[np.ndarray, "_ _"]


class Pairs(NamedTuple):
    """Two sets of points, and the inner products of (point − centre) within and across them.

    `a_to_centre` and `b_to_centre` are (point − centre)·centre, and `centre` is centre·centre.
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


def pairs_of(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], known: Pairs | None = None, min_rows: int = 2
) -> Pairs:
    """The inner products of two sets; those within b are taken from `known`, a pair with the same b.

    Raises `UserError` for arrays that are not tables of finite numbers with `min_rows` rows, or of different width.
    """
    a, b = validate_pair(a, b, min_rows)
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


def block_function(pairs: Pairs, s: int, t: int) -> Callable[[Rows, Rows], tuple[Square, Square]]:
    """A function of rows of set s and rows of set t (0: a, 1: b) to their inner products and squared distances."""
    whole = ((pairs.within_a, pairs.across), (pairs.across.T, pairs.within_b))[s][t]
    lengths = (np.diagonal(pairs.within_a), np.diagonal(pairs.within_b))
    to_centre = (pairs.a_to_centre, pairs.b_to_centre)

    def block(u: Rows, v: Rows) -> tuple[Square, Square]:
        product = whole[np.ix_(u, v)]
        squared = np.maximum(lengths[s][u][:, None] + lengths[t][v] - 2 * product, 0)
        return product + to_centre[s][u][:, None] + to_centre[t][v] + pairs.centre, squared

    return block
