"""Six measures in a given feature space: Fréchet distance, KID, precision, recall, density and coverage."""

from functools import partial

import numpy as np
from jaxtyping import Float

from diffjax.errors import UserError
from diffjax.evaluation.frechet_distance import frechet_of_pairs
from diffjax.evaluation.jackknife import replicates_each
from diffjax.evaluation.mmd import kid_of_pairs
from diffjax.evaluation.paired import GROUPS, MIN_IMAGES, Measure, Score, Sides, score_with_baseline, sides_of
from diffjax.evaluation.precision_recall import coverage_of_pairs

NEIGHBOURS = 5  # k of `coverage_scores`
COVERAGE_IDEALS = {
    "precision": "as real, higher is better",
    "recall": "as real, higher is better",
    "density": "1, higher is better",
    "coverage": "as real, higher is better",
}  # in the order of `Coverage`


def feature_scores(
    features: str, samples: Float[np.ndarray, "_ d"], train: Float[np.ndarray, "_ d"], test: Float[np.ndarray, "_ d"]
) -> list[Score]:
    """`frechet`, `kid`, `precision`, `recall`, `density` and `coverage` of images in the features of that name.

    Of samples against test images, and of as many training images against them. Raises UserError for fewer than
    `MIN_IMAGES` rows of a set.
    """
    sides = _validate_sides(features, samples, train, test)
    measure = Measure("frechet", f"Fréchet distance of {features}", "as real, lower is better", ".4g", features)
    return [score_with_baseline(measure, frechet_of_pairs, sides), *_pairwise_scores(features, sides)]


def pairwise_feature_scores(
    features: str, samples: Float[np.ndarray, "_ d"], train: Float[np.ndarray, "_ d"], test: Float[np.ndarray, "_ d"]
) -> list[Score]:
    """`feature_scores` without the Fréchet distance: the five measures that need the distances of all pairs of rows."""
    return _pairwise_scores(features, _validate_sides(features, samples, train, test))


def _validate_sides(features: str, samples: np.ndarray, train: np.ndarray, test: np.ndarray) -> Sides:
    if min(map(len, (samples, train, test))) < MIN_IMAGES:
        raise UserError(f"{features}: give {MIN_IMAGES} images or more of samples, training and test images")
    return sides_of(samples, train, test)


def _pairwise_scores(features: str, sides: Sides) -> list[Score]:
    """KID, and precision, recall, density and coverage, which are computed together."""
    kid = Measure("kid", f"KID of {features}", "0, lower is better", "+.3g", features)
    samples, real = (
        replicates_each(partial(coverage_of_pairs, pairs, k=NEIGHBOURS), *pairs.everything, groups=GROUPS)
        for pairs in sides
    )
    measures = [
        Measure(key, f"{key} of {features}", ideal, ".3f", features, share=key != "density")
        for key, ideal in COVERAGE_IDEALS.items()
    ]
    rows = zip(measures, samples, real, strict=True)
    coverage = [measure.score(sample_score, real_score) for measure, sample_score, real_score in rows]
    return [score_with_baseline(kid, kid_of_pairs, sides), *coverage]
