"""The scores of an evaluation report: samples against a data set, with the scores of real images.

Five measures are of pixels as fractions in [0, 1]; six more, of any features, are in `feature_measures`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer, UInt8

from diffjax.errors import UserError
from diffjax.evaluation.classifiers import label_classifier, two_sample_of_pairs
from diffjax.evaluation.frechet_distance import frechet_of_pairs
from diffjax.evaluation.jackknife import Replicates, replicates
from diffjax.evaluation.mmd import mmd2_of_pairs
from diffjax.evaluation.paired import (
    GROUPS,
    MIN_IMAGES,
    Measure,
    Score,
    Sides,
    score_with_baseline,
    sides_of,
    with_replicates,
)
from diffjax.evaluation.pixels import Splits, as_bytes, fractions_like, fractions_of
from diffjax.evaluation.point_pairs import Pairs, Rows
from diffjax.evaluation.precision_recall import nearest

TWO_SAMPLE_IMAGES = 1_000  # images per side in the two-sample test, whose time grows fastest

FRECHET_RATIO = Measure("frechet_ratio", "Fréchet distance, ratio", "1, lower is better", ".2f")
MMD2 = Measure("mmd2", "MMD²", "0, lower is better", "+.4f")
TWO_SAMPLE = Measure("two_sample", "two-sample test", "0.5, nearer is better", ".3f", share=True)
ACCURACY = Measure("accuracy", "label accuracy", "as real, higher is better", ".1%", share=True)
COPIES = Measure("copies", "copies of training images", "as real, lower is better", ".1%", share=True)

Table = Float[np.ndarray, "_ d"]
Labels = Integer[np.ndarray, " n"]


@dataclass(frozen=True)
class Kernels:
    """Widths of the three RBF kernels, for pixels in [0, 1].

    The defaults suit the 64 pixels of scikit-learn's digits. Squared distances grow with the number of pixels: for
    other images use `kernels_for(pixels)`, or choose the widths and print them beside the scores.
    """

    sigma: float = 25 / 16  # of MMD²: exp(−d² / 2σ²)
    two_sample_gamma: float = 0.384  # of the two-sample test: exp(−γ d²)
    two_sample_C: float = 3.0  # its penalty
    accuracy_gamma: float = 0.256  # of the classifier that checks labels


DIGIT_KERNELS = Kernels()


class _Tables(NamedTuple):
    """Images as points, one row each."""

    samples: Table
    train: Table
    validation: Table
    test: Table


def kernels_for(pixels: int) -> Kernels:
    """The digits' kernels for images of `pixels` values (h·w·c): σ ∝ √pixels, γ ∝ 1/pixels, the same at 64."""
    if pixels < 1:
        raise UserError(f"pixels is {pixels}: give height times width times channels")
    size = pixels / 64
    return Kernels(
        sigma=DIGIT_KERNELS.sigma * sqrt(size),
        two_sample_gamma=DIGIT_KERNELS.two_sample_gamma / size,
        two_sample_C=DIGIT_KERNELS.two_sample_C,
        accuracy_gamma=DIGIT_KERNELS.accuracy_gamma / size,
    )


def all_scores(
    samples: UInt8[np.ndarray, "n h w c"],
    labels: Labels | None,
    splits: Splits,
    levels: int,
    *,
    kernels: Kernels = DIGIT_KERNELS,
    draws: int = 3,
    previous: Sequence[Score] = (),
) -> list[Score]:
    """Five measures of samples, uint8 scaled to 0 … 255, with the labels they were conditioned on.

    - `frechet_ratio`: Fréchet distance to the test images, over that of the training images: 1 for real images
    - `mmd2`: unbiased, to the test images: 0 for real images, negative by chance
    - `two_sample`: accuracy of separating them from as many test images, averaged over `draws`: 0.5 for real images
    - `accuracy`: share whose label a classifier trained on real images confirms; left out without labels
    - `copies`: share as near to a training image as the nearest 1 % of the test images are

    The first three of real images compare training with test images; accuracy and copies are of validation images, on
    which nothing was trained. Distances fall as images are added, so equal numbers of samples and training images are
    compared. Time grows with the square of the number of images; pass a part of each split for sets above some 10,000.
    `previous` are scores of as many other samples against the same images with the same options, from which the scores
    of real images are taken.
    """
    tables = _points(samples, splits, levels)
    sides = sides_of(tables.samples, tables.train, tables.test)
    if frechet_of_pairs(sides.train, *sides.train.everything) <= 1e-12 * np.square(tables.train).mean():
        raise UserError("the train and test splits hold the same images: give splits without overlap")
    baselines = {score.key: score.real for score in previous}
    frechet_ratio = _frechet_ratio(sides, baselines.get(FRECHET_RATIO.key))
    return [
        frechet_ratio,
        *_pair_scores(sides, kernels, draws, baselines),
        *_label_scores(tables, labels, splits, kernels, baselines.get(ACCURACY.key)),
        _copies(tables, baselines.get(COPIES.key)),
    ]


def pairwise_scores(
    samples: UInt8[np.ndarray, "n h w c"],
    labels: Labels | None,
    splits: Splits,
    levels: int,
    *,
    kernels: Kernels = DIGIT_KERNELS,
    draws: int = 3,
) -> list[Score]:
    """`all_scores` without `frechet_ratio`."""
    tables = _points(samples, splits, levels)
    sides = sides_of(tables.samples, tables.train, tables.test)
    return [
        *_pair_scores(sides, kernels, draws, {}),
        *_label_scores(tables, labels, splits, kernels, None),
        _copies(tables, None),
    ]


def _points(samples: UInt8[np.ndarray, "n h w c"], splits: Splits, levels: int) -> _Tables:
    real = fractions_of(splits, levels)
    return _Tables(fractions_like(samples, splits), *real)


def _frechet_ratio(sides: Sides, real: Replicates | None) -> Score:
    """Each distance divided by that of all training images to the same test images, which is computed once."""
    all_train, _ = sides.train.everything
    baselines: dict[bytes, float] = {}

    def baseline(j: Rows) -> float:
        if j.tobytes() not in baselines:
            baselines[j.tobytes()] = frechet_of_pairs(sides.train, all_train, j)
        return baselines[j.tobytes()]

    def ratio(pairs: Pairs, i: Rows, j: Rows) -> float:
        if pairs is sides.train and len(i) == len(all_train):
            return 1.0
        return frechet_of_pairs(pairs, i, j) / baseline(j)

    return score_with_baseline(FRECHET_RATIO, ratio, sides, real=real)


def _pair_scores(sides: Sides, kernels: Kernels, draws: int, baselines: dict[str, Replicates]) -> list[Score]:
    """MMD² and the two-sample test."""
    mmd2 = partial(mmd2_of_pairs, sigma=kernels.sigma)
    two_sample = partial(
        two_sample_of_pairs, gamma=kernels.two_sample_gamma, C=kernels.two_sample_C, draws=draws, seed=0
    )
    return [
        score_with_baseline(MMD2, mmd2, sides, real=baselines.get(MMD2.key)),
        score_with_baseline(
            TWO_SAMPLE, two_sample, sides, max_images=TWO_SAMPLE_IMAGES, real=baselines.get(TWO_SAMPLE.key)
        ),
    ]


def _label_scores(
    tables: _Tables, labels: Labels | None, splits: Splits, kernels: Kernels, real: Replicates | None
) -> list[Score]:
    """Label accuracy, where samples, training and validation images have labels."""
    train_labels = splits["train"][1]
    validation_labels = splits["validation"][1]
    if labels is None or train_labels is None or validation_labels is None:
        return []
    classifier = label_classifier(tables.train, train_labels, kernels.accuracy_gamma)
    correct = _mean_share(classifier.predict(tables.samples) == labels)
    return [ACCURACY.score(correct, real or _mean_share(classifier.predict(tables.validation) == validation_labels))]


def _copies(tables: _Tables, real: Replicates | None) -> Score:
    samples, validation, test = (
        nearest(table, tables.train)[0][:, None] for table in (tables.samples, tables.validation, tables.test)
    )
    return COPIES.score(
        with_replicates(_share_of_copies, samples, test),
        real or with_replicates(_share_of_copies, validation, test),
    )


def _share_of_copies(distances: Float64[np.ndarray, "n 1"], test_distances: Float64[np.ndarray, "m 1"]) -> float:
    """The share of distances within the first percentile of the others."""
    return float((distances <= np.quantile(test_distances, 0.01)).mean())


def _mean_share(flags: Bool[np.ndarray, " n"]) -> Replicates:
    """The share of true rows."""
    if len(flags) < MIN_IMAGES:
        return Replicates(float(flags.mean()))
    return replicates(lambda part, _: float(part.mean()), flags, None, groups=GROUPS)


def nearest_images(
    samples: UInt8[np.ndarray, "n h w c"], splits: Splits, levels: int
) -> tuple[UInt8[np.ndarray, "n h w c"], Float[np.ndarray, " n"]]:
    """The training image nearest to each sample, scaled to 0 … 255, and its distance (of pixels in [0, 1])."""
    train, _, _ = fractions_of(splits, levels)
    distances, indices = nearest(fractions_like(samples, splits), train)
    return as_bytes(splits["train"][0][indices], levels), distances
