"""Six measures of images in any features: the Fréchet distance, KID, precision, recall, density and coverage."""

from functools import partial

import numpy as np
from jaxtyping import Float

from diffjax.errors import UserError
from diffjax.evaluation.jackknife import replicates_each
from diffjax.evaluation.paired import GROUPS, MIN_IMAGES, Score, Sides, score_with_baseline, sides_of, subsample_equally
from diffjax.evaluation.point_pairs import coverage_of_pairs, frechet_of_pairs, kid_of_pairs
from diffjax.evaluation.precision_recall import Coverage

NEIGHBOURS = 5  # the neighbour that bounds a neighbourhood


def feature_scores(
    features: str, samples: Float[np.ndarray, "_ d"], train: Float[np.ndarray, "_ d"], test: Float[np.ndarray, "_ d"]
) -> list[Score]:
    """Six measures of any features of images, `features` being what they are called; see `frechet` and so on.

    `frechet`, `kid`, `precision`, `recall`, `density`, `coverage`: of samples against test images, and beside them of
    as many training images. Raises UserError for fewer than `MIN_IMAGES` rows of a kind.
    """
    sides = _enough(features, samples, train, test)
    spec = ("frechet", f"Fréchet distance of {features}", frechet_of_pairs, "as real, lower is better", ".4g")
    return [score_with_baseline(*spec, sides, features=features), *_pairs_in(features, sides)]


def pairwise_feature_scores(
    features: str, samples: Float[np.ndarray, "_ d"], train: Float[np.ndarray, "_ d"], test: Float[np.ndarray, "_ d"]
) -> list[Score]:
    """`feature_scores` without the Fréchet distance: the five measures that need the distances of all pairs of rows."""
    return _pairs_in(features, _enough(features, samples, train, test))


def _enough(features: str, samples: np.ndarray, train: np.ndarray, test: np.ndarray) -> "Sides":
    if min(map(len, (samples, train, test))) < MIN_IMAGES:
        raise UserError(f"{features}: give {MIN_IMAGES} images or more of samples, training and test images")
    return sides_of(*subsample_equally(samples, train), test)


def _pairs_in(features: str, sides: "Sides") -> list[Score]:
    spec = ("kid", f"KID of {features}", kid_of_pairs, "0, lower is better", "+.3g")
    return [score_with_baseline(*spec, sides, features=features), *_coverage_scores(features, sides)]


def _coverage_scores(features: str, sides: Sides) -> list[Score]:
    """Precision, recall, density and coverage, which come of the same distances."""
    ours, real = (
        replicates_each(partial(coverage_of_pairs, pairs, k=NEIGHBOURS), *pairs.everything, groups=GROUPS)
        for pairs in sides
    )
    ideals = ("as real, higher is better",) * 2 + ("1, higher is better", "as real, higher is better")
    rows = zip(Coverage._fields, ours, real, ideals, strict=True)
    return [
        Score(name, f"{name} of {features}", features, sample_score, real_score, ideal, ".3f", share=name != "density")
        for name, sample_score, real_score, ideal in rows
    ]
