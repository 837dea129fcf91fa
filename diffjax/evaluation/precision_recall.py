"""Who is nearest to whom: copies of training images, and what samples cover of the real ones.

Every function raises `UserError` when an array is not a table, holds NaN or infinities, or has too few rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer
from scipy.stats import mannwhitneyu

from diffjax.errors import UserError
from diffjax.evaluation.pairwise import (
    blocks,
    check_same_dimension,
    squared_distance_rows,
    squared_distances_to,
    validate_pair,
    validate_points,
)

_EXTRA_CANDIDATES = 4  # candidates beyond those asked for, whose distances are computed exactly as well

Block = Callable[[slice], Float64[np.ndarray, "_ _"]]


class Coverage(NamedTuple):
    """How far samples and real images fill each other's ground; see `coverage_scores`."""

    precision: float  # share of samples among real images, in [0, 1]
    recall: float  # share of real images among samples, in [0, 1]
    density: float  # how many real neighbourhoods a sample lies in, over k: about 1 for real images
    coverage: float  # share of real images in whose neighbourhood a sample lies, in [0, 1]


class Memorization(NamedTuple):
    """How near samples lie to training images, against how near unseen real images lie; see `memorization`."""

    share: float  # of samples within the limit: about the quantile for samples like the held-out images
    limit: float  # that quantile of the held-out images' distances, in the units of the points
    probability_nearer: (
        float  # chance that a sample lies nearer than a held-out image: 0.5 is like real, 1 is all copies
    )
    p: float  # of at least so large a `probability_nearer` among samples like the held-out images
    isolated_share: float  # share of samples whose nearest training image is three times as near as the second
    held_out_isolated_share: float  # the same of the held-out images
    distances: Float64[np.ndarray, "n k"]  # of each sample to its k nearest training images, ascending
    neighbours: Integer[np.ndarray, "n k"]  # which they are
    closest: Integer[np.ndarray, " n"]  # the samples, the nearest to its training image first


def nearest_neighbours(
    x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"], count: int
) -> tuple[Float64[np.ndarray, "n k"], Integer[np.ndarray, "n k"]]:
    """The distances of every xᵢ to its k = `count` nearest training points, ascending, and which they are.

    Candidates come from one matrix product a block; theirs are then computed as |xᵢ − trainⱼ|, so that a copy lies at
    exactly 0.
    """
    x, train = validate_points("x", x, 1), validate_points("train", train, max(count, 1))
    check_same_dimension(x, train)
    if count < 1:
        raise UserError(f"count is {count}: ask for one neighbour at least")
    candidate_count = min(count + _EXTRA_CANDIDATES, len(train))
    distances, indices = np.empty((len(x), count)), np.empty((len(x), count), np.int64)
    for rows, squared in squared_distance_rows(x, train):
        candidates = np.sort(np.argpartition(squared, candidate_count - 1, axis=1)[:, :candidate_count], axis=1)
        exact = np.stack(
            [np.linalg.norm(train[column] - x[rows].astype(np.float64), axis=1) for column in candidates.T], 1
        )
        order = np.argsort(exact, axis=1, kind="stable")[:, :count]
        distances[rows], indices[rows] = (np.take_along_axis(part, order, 1) for part in (exact, candidates))
    return distances, indices


def nearest(
    x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
    """minⱼ |xᵢ − trainⱼ| and the j that attains it, for every i: exact, so that a copy lies at distance 0."""
    distances, indices = nearest_neighbours(x, train, 1)
    return distances[:, 0], indices[:, 0]


def nearest_distances(x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"]) -> Float[np.ndarray, " n"]:
    """minⱼ |xᵢ − trainⱼ|, in the units of the points, for every i."""
    return nearest(x, train)[0]


def memorization_ratio(
    x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"], reference: Float[np.ndarray, "r d"]
) -> float:
    """Share of x, in [0, 1], as near to a training image as the nearest 1 % of the reference images are.

    The limit itself counts: where real images repeat training images exactly, the limit is 0, and copies are
    still found. Images like the reference score about 0.01.
    """
    return memorization(x, train, reference, 1).share


def memorization(
    x: Float[np.ndarray, "n d"],
    train: Float[np.ndarray, "m d"],
    held_out: Float[np.ndarray, "r d"],
    count: int = 2,
    quantile: float = 0.01,
) -> Memorization:
    """How near samples lie to their nearest training images, calibrated by real images that were not trained on.

    `probability_nearer` and `p` are the rank test of Meehan, Chaudhuri & Dasgupta (2020, section 3, there of cells of
    the space, here of all of it). `isolated_share` is the ratio test of Yoon et al. (2023, section 3: memorised where
    the nearest lies within a third of the distance of the second nearest), 0 where there is one training image.
    `count` neighbours of each sample are kept, for drawing them beside it.
    """
    if not 0 < quantile < 1:
        raise UserError(f"quantile is {quantile}: give a share between 0 and 1")
    neighbour_count = min(max(count, 2), len(train))
    (sample_distances, neighbours), (held_out_distances, _) = (
        nearest_neighbours(rows, train, max(count, neighbour_count)) for rows in (x, held_out)
    )
    limit = float(np.quantile(held_out_distances[:, 0], quantile))
    test = mannwhitneyu(sample_distances[:, 0], held_out_distances[:, 0], alternative="less")
    return Memorization(
        share=float(np.mean(sample_distances[:, 0] <= limit)),
        limit=limit,
        probability_nearer=1 - float(test.statistic) / (len(sample_distances) * len(held_out_distances)),
        p=float(test.pvalue),
        isolated_share=float(_isolated_share(sample_distances).mean()),
        held_out_isolated_share=float(_isolated_share(held_out_distances).mean()),
        distances=sample_distances[:, :count],
        neighbours=neighbours[:, :count],
        closest=np.argsort(sample_distances[:, 0], kind="stable"),
    )


def coverage_scores(x: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"], k: int = 5) -> Coverage:
    """Precision, recall, density and coverage of samples x against real images.

    A point's neighbourhood is the open ball that reaches to the k-th nearest other point of its own set. Precision and
    recall: Kynkäänniemi et al. 2019, eq. 1 and 2 (there with closed balls: the same but for ties); density and
    coverage: Naeem et al. 2020, eq. 2 and 3. All depend on n, m and k: compare at equal ones. Time grows with
    (n + m)² d. Both sets need more than k rows.
    """
    if k < 1:
        raise UserError(f"k is {k}: give the rank of a neighbour, from 1")
    x, real = validate_pair(x, real, k + 1)
    within, within_real, from_real = squared_distances_to(x), squared_distances_to(real), squared_distances_to(x)
    return coverage_of_blocks(
        lambda rows: within(x[rows]),
        lambda rows: within_real(real[rows]),
        lambda rows: from_real(real[rows]),
        (len(x), len(real)),
        k,
    )


def coverage_of_blocks(
    within: Block, within_real: Block, from_real: Block, counts: tuple[int, int], k: int
) -> Coverage:
    """`coverage_scores` by the squared distances of some rows at a time.

    Of samples to all samples, of real images to all real ones, and of real images to all samples; `counts` are those of
    samples and of real images, each above k.
    """
    radii, real_radii = _radii(within, counts[0], k), _radii(within_real, counts[1], k)
    inside, covered = np.zeros(counts[0], np.int64), np.zeros(counts[1], bool)
    recalled: Bool[np.ndarray, " m"] = np.zeros(counts[1], bool)
    for rows in blocks(counts[1]):
        distances = from_real(rows)
        near = distances < real_radii[rows, None]
        inside += near.sum(0)
        covered[rows] = near.any(1)
        recalled[rows] = (distances < radii).any(1)
    return Coverage(
        precision=float((inside > 0).mean()),
        recall=float(recalled.mean()),
        density=float(inside.mean() / k),
        coverage=float(covered.mean()),
    )


def _radii(within: Block, count: int, k: int) -> Float64[np.ndarray, " n"]:
    """The squared distance of every point to the k-th nearest of the others."""
    radii = np.empty(count)
    for rows in blocks(count):
        squared = within(rows)
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = 0  # itself, first whatever the rounding
        radii[rows] = np.partition(squared, k, axis=1)[:, k]
    return radii


def _isolated_share(distances: Float64[np.ndarray, "n k"]) -> Bool[np.ndarray, " n"]:
    if distances.shape[1] < 2:
        return np.zeros(len(distances), bool)
    return 3 * distances[:, 0] < distances[:, 1]
