"""The maximum mean discrepancy of two sets of points, unbiased, by any kernel: MMD² with an RBF, and KID.

A kernel maps two blocks of points, [n, d] and [m, d] in float64, to [n, m]; no more than a block of it is ever held.
Every function raises `UserError` when an array is not a table, holds NaN or infinities, or has too few rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from diffjax.errors import UserError
from diffjax.evaluation.pairwise import blocks, squared_distances_to, validate_pair

Kernel = Callable[[Float64[np.ndarray, "_ _"], Float64[np.ndarray, "_ _"]], Float64[np.ndarray, "_ _"]]


class KidEstimate(NamedTuple):
    """A value, and its standard error."""

    value: float
    error: float


class _Sums(NamedTuple):
    """For every point, the kernel's sums over the other points of its own set, and over those of the other set."""

    within_a: Float64[np.ndarray, " n"]
    within_b: Float64[np.ndarray, " m"]
    a_to_b: Float64[np.ndarray, " n"]
    b_to_a: Float64[np.ndarray, " m"]


def rbf_kernel(sigma: float) -> Kernel:
    """k(x, y) = exp(−|x − y|² / 2σ²), σ in the units of the points."""
    if not sigma > 0:
        raise UserError(f"sigma is {sigma}: the width of the kernel must be positive")
    return lambda a, b: np.exp(squared_distances_to(b)(a) / (-2 * sigma**2))


def cubic_kernel(a: Float64[np.ndarray, "n d"], b: Float64[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    """k(x, y) = (x·y / d + 1)³, the kernel of KID (Bińkowski et al. 2018, section 4)."""
    base = a @ b.T / a.shape[1] + 1
    return base * base * base  # NumPy's power of 3 takes ten times as long


def median_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], limit: int = 1_000) -> float:
    """The median distance between different points of a and b together: the usual σ of an RBF.

    Gretton et al. 2012, section 8. Of large sets, `limit` points at equal strides. A kernel whose width depends on the
    samples makes scores of different samples incomparable: take it from real images only, or print it beside them.
    """
    a, b = validate_pair(a, b, 1)
    points = np.concatenate([a[_strided(len(a), limit // 2)], b[_strided(len(b), limit // 2)]]).astype(np.float64)
    if len(points) < 2:
        raise UserError("a single point has no distance: give two points at least")
    squared = squared_distances_to(points)(points)[np.triu_indices(len(points), 1)]
    distance = float(np.sqrt(np.median(squared)))
    if distance == 0:
        raise UserError("most points are equal: their median distance, the width of a kernel, is 0")
    return distance


def mmd2(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], sigma: float) -> float:
    """The value of `discrepancy` with an RBF kernel of width `sigma`, in the units of the points; needs two rows."""
    a, b = validate_pair(a, b, 2)
    return _value(_sums(a, b, rbf_kernel(sigma)))


def kid(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> KidEstimate:
    """The kernel inception distance of two sets of features by all their pairs: `discrepancy` with the cubic kernel.

    Bińkowski et al. 2018, section 4. Its standard error is smaller than that of the usual mean over subsets
    (`kid_of_subsets`), and its time grows with (n + m)² d: 20,000 features of 2,048 values take minutes.
    """
    return mmd2_unbiased(a, b, cubic_kernel)


def unbiased(within_a: float, within_b: float, across: float, n: int, m: int) -> float:
    """MMD² of a kernel's sums over pairs of different points of n and of m, and over the n m pairs across."""
    return within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * across / (n * m)


def mmd2_unbiased(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], kernel: Kernel) -> KidEstimate:
    """Unbiased MMD²: mean k(a, a') + mean k(b, b') − 2 mean k(a, b) over pairs of different points.

    Gretton et al. 2012, eq. 3. Its expectation is zero for equal distributions, so it can be negative. The standard
    error is the two-sample jackknife's, which needs no more kernel values than the estimate. By the inequality of
    Efron & Stein (1981) it is too large rather than too small in the mean; between equal distributions, where the
    estimate is degenerate, by √2. Needs three rows each.
    """
    a, b = validate_pair(a, b, 3)
    sums = _sums(a, b, kernel)
    return KidEstimate(_value(sums), _error(sums))


def kid_of_subsets(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], subsets: int = 100, size: int = 1_000, seed: int = 0
) -> KidEstimate:
    """KID as usually published: the mean of `subsets` unbiased estimates, each from `size` random rows of a and b.

    Bińkowski et al. 2018, section 4. A subset is drawn without replacement; as long as rows last, subsets have no row
    in common. Rows used twice tell nothing new, so the standard error is the values' deviation over the root of the
    number of subsets without common rows. (Elsewhere the deviation itself is printed after "±".) Raises UserError
    unless there are at least two such subsets.
    """
    a, b = validate_pair(a, b, 2)
    separate = min(subsets, min(len(a), len(b)) // max(size, 1))
    if size < 2 or separate < 2:
        problem = f"{subsets} subsets of {size} of {len(a)} and {len(b)} rows"
        raise UserError(f"{problem}: take size from 2 to half the rows, and two subsets at least")
    rng, values, unused = np.random.default_rng(seed), [], (np.zeros(0, int), np.zeros(0, int))
    for _ in range(subsets):
        if min(map(len, unused)) < size:
            unused = rng.permutation(len(a)), rng.permutation(len(b))
        values.append(_value(_sums(a[unused[0][:size]], b[unused[1][:size]], cubic_kernel)))
        unused = unused[0][size:], unused[1][size:]
    return KidEstimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(separate)))


def _sums(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> _Sums:
    return _Sums(_sums_within(a, kernel), _sums_within(b, kernel), *_sums_across(a, b, kernel))


def _sums_within(x: Float[np.ndarray, "n d"], kernel: Kernel) -> Float64[np.ndarray, " n"]:
    """Σ k(xᵢ, xⱼ) over j ≠ i; the kernel is symmetric, so each pair of blocks is computed once."""
    total, parts = np.zeros(len(x)), blocks(len(x))
    for place, rows in enumerate(parts):
        for columns in parts[place:]:
            values = kernel(x[rows].astype(np.float64), x[columns].astype(np.float64))
            if rows == columns:
                np.fill_diagonal(values, 0)
            else:
                total[columns] += values.sum(0)
            total[rows] += values.sum(1)
    return total


def _sums_across(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    to_b, to_a = np.zeros(len(a)), np.zeros(len(b))
    for rows in blocks(len(a)):
        for columns in blocks(len(b)):
            values = kernel(a[rows].astype(np.float64), b[columns].astype(np.float64))
            to_b[rows] += values.sum(1)
            to_a[columns] += values.sum(0)
    return to_b, to_a


def _value(sums: _Sums) -> float:
    within_a, within_b, across = (float(part.sum()) for part in sums[:3])
    return unbiased(within_a, within_b, across, len(sums.within_a), len(sums.within_b))


def _error(sums: _Sums) -> float:
    """√ of the two-sample jackknife variance (Arvesen 1969): (n − 1)/n Σ (θ₋ᵢ − mean)² of either side, added."""
    n, m = len(sums.within_a), len(sums.within_b)
    total = 0.0
    for within, across, own_count, other_count in (
        (sums.within_a, sums.a_to_b, n, m),
        (sums.within_b, sums.b_to_a, m, n),
    ):
        without = -2 * within / ((own_count - 1) * (own_count - 2)) + 2 * across / (
            (own_count - 1) * other_count
        )  # up to a constant
        total += (own_count - 1) * without.var()
    return float(np.sqrt(total))


def _strided(count: int, max_count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, max(max_count, 1))).round().astype(int))
