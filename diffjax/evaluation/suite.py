"""What is reported of samples: measures against a data set, and what real images get in the same ones.

Of pixels as fractions in [0, 1] there are five; of any features, six more (`feature_measures`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from diffjax.errors import UserError
from diffjax.evaluation.classifiers import label_classifier
from diffjax.evaluation.jackknife import Replicates, replicates
from diffjax.evaluation.paired import (
    GROUPS,
    MIN_IMAGES,
    PIXELS,
    Score,
    Sides,
    score_with_baseline,
    sides_of,
    subsample_equally,
    with_replicates,
)
from diffjax.evaluation.pixels import Splits, as_bytes, fractions_like, fractions_of
from diffjax.evaluation.point_pairs import Pairs, Rows, frechet_of_pairs, mmd2_of_pairs, two_sample_of_pairs
from diffjax.evaluation.precision_recall import nearest, nearest_distances

TWO_SAMPLE_IMAGES = 1_000  # images of a side in the two-sample test, whose time grows fastest


@dataclass(frozen=True)
class Kernels:
    """Widths of the three RBF kernels, for pixels in [0, 1].

    The defaults suit the 64 pixels of scikit-learn's digits. Squared distances grow with the number of pixels:
    for other images use `kernels_for(pixels)`, or choose the widths yourself and print them beside the scores.
    """

    sigma: float = 25 / 16  # of MMD²: exp(−d² / 2σ²)
    two_sample_gamma: float = 0.384  # of the two-sample test: exp(−γ d²)
    two_sample_C: float = 3.0  # its penalty
    accuracy_gamma: float = 0.256  # of the classifier that checks labels


DIGIT_KERNELS = Kernels()


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
    labels: Integer[np.ndarray, " n"] | None,
    splits: Splits,
    levels: int,
    *,
    kernels: Kernels = DIGIT_KERNELS,
    draws: int = 3,
    seed: int = 0,
    previous: Sequence[Score] = (),
) -> list[Score]:
    """Five measures of samples, uint8 scaled to 0 … 255, with the labels they were asked for; four without labels.

    - `frechet_ratio`: the Fréchet distance to the test images, over that of the training images: 1 is as good as real
    - `mmd2`: unbiased, to the test images: 0 is ideal, negative is chance
    - `two_sample`: accuracy of telling them from test images, of equally many, `draws` times from `seed`: 0.5 is ideal
    - `accuracy`: share whose label a classifier trained on real images confirms
    - `copies`: share as near to a training image as the nearest 1 % of the test images are

    Real images: training images beside test images in the first three, for accuracy and copies those of validation, on
    which nothing was trained. Distances fall as images are added, so samples and training images are compared in equal
    numbers, evenly chosen. Time grows with the square of the number of images; pass a part of each split for sets above
    some 10,000. `previous` is what was measured of as many other samples against the same images with the same options:
    what real images get is taken from there.
    """
    at_hand = {score.key: score.real for score in previous}
    frechet_spec = ("frechet_ratio", "Fréchet distance, ratio", "1, lower is better", ".2f")
    sides, tables = _sides_and_tables(samples, splits, levels)
    frechet_to_train = frechet_of_pairs(sides.learnt, *sides.learnt.everything)
    if frechet_to_train <= 1e-12 * np.square(tables[1]).mean():
        raise UserError("the train and test splits hold the same images: give splits without overlap")
    scores = [_ratio(frechet_spec, sides, at_hand.get(frechet_spec[0]))]
    return scores + _resemblance(sides, tables, labels, splits, kernels, draws, seed, at_hand)


def _sides_and_tables(
    samples: UInt8[np.ndarray, "n h w c"], splits: Splits, levels: int
) -> tuple[Sides, tuple[np.ndarray, ...]]:
    """Samples and as many training images beside test images; and samples, train, validation and test as points."""
    train, validation, test = fractions_of(splits, levels)
    x = fractions_like(samples, splits)
    return sides_of(*subsample_equally(x, train), test), (x, train, validation, test)


def _ratio(spec: tuple[str, str, str, str], sides: Sides, real: Replicates | None) -> Score:
    key, name, ideal, form = spec
    whole = sides.learnt.everything[0]
    known: dict[bytes, float] = {}

    def floor(j: Rows) -> float:
        """Of all training images, to the same test images; each is computed once."""
        if j.tobytes() not in known:
            known[j.tobytes()] = frechet_of_pairs(sides.learnt, whole, j)
        return known[j.tobytes()]

    def ratio(pairs: Pairs, i: Rows, j: Rows) -> float:
        if pairs is sides.learnt and len(i) == len(whole):
            return 1.0
        return frechet_of_pairs(pairs, i, j) / floor(j)

    sample_score = with_replicates(partial(ratio, sides.ours), *sides.ours.everything)
    real = real or with_replicates(partial(ratio, sides.learnt), *sides.learnt.everything)
    return Score(key, name, PIXELS, sample_score, real, ideal, form)


def pairwise_scores(
    samples: UInt8[np.ndarray, "n h w c"],
    labels: Integer[np.ndarray, " n"] | None,
    splits: Splits,
    levels: int,
    *,
    kernels: Kernels = DIGIT_KERNELS,
    draws: int = 3,
    seed: int = 0,
    previous: Sequence[Score] = (),
) -> list[Score]:
    """`all_scores` without its first: `mmd2`, `two_sample`, `accuracy` where there are labels, `copies`."""
    sides, tables = _sides_and_tables(samples, splits, levels)
    known_baselines = {score.key: score.real for score in previous}
    return _resemblance(sides, tables, labels, splits, kernels, draws, seed, known_baselines)


def _resemblance(
    sides: Sides, tables: tuple[np.ndarray, ...], labels: np.ndarray | None, splits: Splits, kernels: Kernels,
    draws: int, seed: int, at_hand: Mapping[str, Replicates],
) -> list[Score]:  # fmt: skip
    mmd2 = partial(mmd2_of_pairs, sigma=kernels.sigma)
    machine = {"gamma": kernels.two_sample_gamma, "C": kernels.two_sample_C}
    two_sample = partial(two_sample_of_pairs, **machine, draws=draws, seed=seed)
    scores = [
        score_with_baseline("mmd2", "MMD²", mmd2, "0, lower is better", "+.4f", sides, real=at_hand.get("mmd2")),
        score_with_baseline(
            "two_sample", "two-sample test", two_sample, "0.5, nearer is better", ".3f", sides,
            max_images=TWO_SAMPLE_IMAGES, real=at_hand.get("two_sample"),
        ),
    ]  # fmt: skip
    x, train, validation, test = tables
    known_labels, other_labels = splits["train"][1], splits["validation"][1]
    if labels is not None and known_labels is not None and other_labels is not None:
        right = label_classifier(train, known_labels, kernels.accuracy_gamma)
        ours_right = _mean_share(right.predict(x) == labels)
        real_right = at_hand.get("accuracy") or _mean_share(right.predict(validation) == other_labels)
        ideal = "as real, higher is better"
        scores += [Score("accuracy", "label accuracy", PIXELS, ours_right, real_right, ideal, ".1%", True)]
    near = [nearest_distances(part, train)[:, None] for part in (x, validation, test)]
    close = with_replicates(_fraction_within, near[0], near[2])
    real_close = at_hand.get("copies") or with_replicates(_fraction_within, near[1], near[2])
    name, ideal = "copies of training images", "as real, lower is better"
    return [*scores, Score("copies", name, PIXELS, close, real_close, ideal, ".1%", True)]


def nearest_images(
    samples: UInt8[np.ndarray, "n h w c"], splits: Splits, levels: int
) -> tuple[UInt8[np.ndarray, "n h w c"], Float[np.ndarray, " n"]]:
    """The training image nearest to each sample, scaled to 0 … 255, and its distance (of pixels in [0, 1])."""
    train, _, _ = fractions_of(splits, levels)
    distances, indices = nearest(fractions_like(samples, splits), train)
    return as_bytes(splits["train"][0][indices], levels), distances


def _mean_share(flags: Bool[np.ndarray, " n"]) -> Replicates:
    """The share of rows that are so."""
    if len(flags) < MIN_IMAGES:
        return Replicates(float(flags.mean()), np.zeros(0), np.zeros(0))
    return replicates(lambda part, _: float(part.mean()), flags, None, groups=GROUPS, fixed=True)


def _fraction_within(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of distances within the first hundredth of the others."""
    return float((ours <= np.quantile(theirs, 0.01)).mean())
