"""Measures by nearest neighbours: memorization of training images; precision, recall, density and coverage.

Every function raises `UserError` for an array that is not a table of finite numbers, or has too few rows.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.stats import mannwhitneyu

from diffjax.errors import UserError
from diffjax.evaluation.pairwise import blocks, check_same_dimension, squared_distance_rows, validate_points
from diffjax.evaluation.point_pairs import Pairs, Rows, block_function, pairs_of

_EXTRA_CANDIDATES = 4  # neighbours beyond `count` whose distances are computed exactly


class Coverage(NamedTuple):
    """How much of each other's support samples and real images cover; see `coverage_scores`."""

    precision: float  # share of samples in a neighbourhood of a real image, in [0, 1]
    recall: float  # share of real images in a neighbourhood of a sample, in [0, 1]
    density: float  # mean number of real neighbourhoods that hold a sample, over k: about 1 for real images
    coverage: float  # share of real neighbourhoods that hold a sample, in [0, 1]


class Memorization(NamedTuple):
    """Distances from samples to training images, compared with those from held-out images; see `memorization`."""

    share: float  # of samples within the limit: about the quantile for samples like the held-out images
    limit: float  # that quantile of the held-out images' distances, in the units of the points
    probability_nearer: float  # that a sample lies nearer than a held-out image: 0.5 for real images, 1 for copies
    p: float  # p-value of `probability_nearer` if samples are distributed like the held-out images
    isolated_share: float  # share of samples whose nearest training image is three times as near as the second
    held_out_isolated_share: float  # the same of the held-out images
    distances: Float64[np.ndarray, "n k"]  # of each sample to its k nearest training images, ascending
    neighbours: Integer[np.ndarray, "n k"]  # indices of these training images
    closest: Integer[np.ndarray, " n"]  # indices of the samples, by ascending distance to their training image


def nearest_neighbours(
    x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"], count: int
) -> tuple[Float64[np.ndarray, "n k"], Integer[np.ndarray, "n k"]]:
    """Distances [n, k] from every xᵢ to its k = `count` nearest training points, ascending, and the points' indices.

    Candidates come from one matrix product per block; their distances are then computed as |xᵢ − trainⱼ|, so that a
    copy lies at exactly 0.
    """
    x = validate_points("x", x, 1)
    train = validate_points("train", train, max(count, 1))
    check_same_dimension(x, train)
    if count < 1:
        raise UserError(f"count is {count}: ask for one neighbour at least")
    candidate_count = min(count + _EXTRA_CANDIDATES, len(train))
    distances = np.empty((len(x), count))
    indices = np.empty((len(x), count), np.int64)
    for rows, squared in squared_distance_rows(x, train):
        candidates = np.sort(np.argpartition(squared, candidate_count - 1, axis=1)[:, :candidate_count], axis=1)
        exact = np.stack(
            [np.linalg.norm(train[column] - x[rows].astype(np.float64), axis=1) for column in candidates.T], 1
        )
        order = np.argsort(exact, axis=1, kind="stable")[:, :count]
        distances[rows] = np.take_along_axis(exact, order, 1)
        indices[rows] = np.take_along_axis(candidates, order, 1)
    return distances, indices


def nearest(
    x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
    """minⱼ |xᵢ − trainⱼ| and the j that attains it, for every i: exact, so that a copy lies at distance 0."""
    distances, indices = nearest_neighbours(x, train, 1)
    return distances[:, 0], indices[:, 0]


def memorization(
    x: Float[np.ndarray, "n d"],
    train: Float[np.ndarray, "m d"],
    held_out: Float[np.ndarray, "r d"],
    count: int = 2,
    quantile: float = 0.01,
) -> Memorization:
    """Distances from samples to their nearest training images, calibrated by held-out real images.

    `share` counts samples at the limit too: where held-out images repeat training images the limit is 0, and copies are
    still found. `probability_nearer` and `p` are the rank test of Meehan, Chaudhuri & Dasgupta (2020, section 3, there
    per cell of the space, here of all of it). `isolated_share` is the ratio test of Yoon et al. (2023, section 3: the
    nearest within a third of the distance of the second nearest), 0 for a single training image. The k = `count`
    nearest training images of each sample are returned.
    """
    if not 0 < quantile < 1:
        raise UserError(f"quantile is {quantile}: give a share between 0 and 1")
    neighbour_count = max(count, min(max(count, 2), len(train)))
    sample_distances, neighbours = nearest_neighbours(x, train, neighbour_count)
    held_out_distances, _ = nearest_neighbours(held_out, train, neighbour_count)
    limit = float(np.quantile(held_out_distances[:, 0], quantile))
    test = mannwhitneyu(sample_distances[:, 0], held_out_distances[:, 0], alternative="less")
    return Memorization(
        share=float(np.mean(sample_distances[:, 0] <= limit)),
        limit=limit,
        probability_nearer=1 - float(test.statistic) / (len(sample_distances) * len(held_out_distances)),
        p=float(test.pvalue),
        isolated_share=_isolated_share(sample_distances),
        held_out_isolated_share=_isolated_share(held_out_distances),
        distances=sample_distances[:, :count],
        neighbours=neighbours[:, :count],
        closest=np.argsort(sample_distances[:, 0], kind="stable"),
    )


def coverage_scores(x: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"], k: int = 5) -> Coverage:
    """Precision, recall, density and coverage of samples x against real images.

    A point's neighbourhood is the open ball that reaches to the k-th nearest other point of its own set. Precision and
    recall: Kynkäänniemi et al. 2019, eq. 1 and 2 (there with closed balls: the same but for ties); density and
    coverage: Naeem et al. 2020, eq. 2 and 3. All depend on n, m and k: compare at equal ones. Both sets need more than
    k rows.
    """
    pairs = pairs_of(x, real, min_rows=k + 1)
    return coverage_of_pairs(pairs, *pairs.everything, k)


def coverage_of_pairs(pairs: Pairs, i: Rows, j: Rows, k: int) -> Coverage:
    """`coverage_scores` of these rows: i of the samples, j of the real images."""
    if k < 1:
        raise UserError(f"k is {k}: give the rank of a neighbour, from 1")
    radii = _squared_radii(pairs, 0, i, k)
    real_radii = _squared_radii(pairs, 1, j, k)
    inside = np.zeros(len(i), np.int64)
    covered = np.zeros(len(j), bool)
    recalled = np.zeros(len(j), bool)
    from_real = block_function(pairs, 1, 0)
    for rows in blocks(len(j)):
        _, squared = from_real(j[rows], i)
        near = squared < real_radii[rows, None]
        inside += near.sum(0)
        covered[rows] = near.any(1)
        recalled[rows] = (squared < radii).any(1)
    return Coverage(
        precision=float((inside > 0).mean()),
        recall=float(recalled.mean()),
        density=float(inside.mean() / k),
        coverage=float(covered.mean()),
    )


def _squared_radii(pairs: Pairs, side: int, points: Rows, k: int) -> Float64[np.ndarray, " n"]:
    """The squared distance of every point of one set to the k-th nearest of the others."""
    radii = np.empty(len(points))
    block = block_function(pairs, side, side)
    for rows in blocks(len(points)):
        _, squared = block(points[rows], points)
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = 0  # itself, first whatever the rounding
        radii[rows] = np.partition(squared, k, axis=1)[:, k]
    return radii


def _isolated_share(distances: Float64[np.ndarray, "n k"]) -> float:
    if distances.shape[1] < 2:
        return 0.0
    return float((3 * distances[:, 0] < distances[:, 1]).mean())
