"""What is reported of samples: measures against a data set, and what real images get in the same ones.

Of pixels as fractions in [0, 1] there are five; of any features, six more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from diffjax.errors import UserError
from diffjax.evaluation.classifiers import confirmed, two_sample_accuracy
from diffjax.evaluation.gaussians import frechet
from diffjax.evaluation.intervals import Replicates, Score, replicates, replicates_each
from diffjax.evaluation.kernels import cubic, discrepancy, mmd2
from diffjax.evaluation.neighbours import Coverage, coverage_of, nearest, nearest_distances
from diffjax.evaluation.pixels import Splits, as_bytes, fractions_like, fractions_of

GROUPS = 10  # that are left out in turn for an interval
LEAST = 2 * GROUPS  # rows of a side, below which scores have none
NEAR = 5  # the neighbour that bounds a neighbourhood
PIXELS = "pixels"


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


DIGITS = Kernels()


@dataclass(frozen=True)
class Measured:
    """One measure of samples, beside what real images get in it, both with what they are without parts of the rows."""

    key: str  # for programs
    name: str  # for people
    features: str  # in what they are compared
    found: Replicates
    real: Replicates
    ideal: str
    form: str  # of the value, as `format` takes it
    share: bool = False  # whether it is from 0 to 1, whatever an interval says

    def told(self, value: float) -> str:
        """A value of this measure, or an end of its interval, as people read it."""
        return format(min(max(value, 0.0), 1.0) if self.share else value, self.form).replace("%", " %")


def kernels_for(pixels: int) -> Kernels:
    """The digits' kernels for images of `pixels` values (h·w·c): σ ∝ √pixels, γ ∝ 1/pixels, the same at 64."""
    if pixels < 1:
        raise UserError(f"pixels is {pixels}: give height times width times channels")
    size = pixels / 64
    return Kernels(
        sigma=DIGITS.sigma * sqrt(size),
        two_sample_gamma=DIGITS.two_sample_gamma / size,
        two_sample_C=DIGITS.two_sample_C,
        accuracy_gamma=DIGITS.accuracy_gamma / size,
    )


def measured(
    samples: UInt8[np.ndarray, "n h w c"],
    labels: Integer[np.ndarray, " n"] | None,
    splits: Splits,
    levels: int,
    *,
    kernels: Kernels = DIGITS,
    draws: int = 3,
    seed: int = 0,
    beside: Sequence[Measured] = (),
) -> list[Measured]:
    """Five measures of samples, uint8 scaled to 0 … 255, with the labels they were asked for; four without labels.

    - `frechet_ratio`: the Fréchet distance to the test images, over that of the training images: 1 is as good as real
    - `mmd2`: unbiased, to the test images: 0 is ideal, negative is chance
    - `two_sample`: accuracy of telling them from test images, of equally many, `draws` times from `seed`: 0.5 is ideal
    - `accuracy`: share whose label a classifier trained on real images confirms
    - `copies`: share as near to a training image as the nearest 1 % of the test images are

    Real images: training images beside test images in the first three, for accuracy and copies those of validation, on
    which nothing was trained. Distances fall as images are added, so samples and training images are compared in equal
    numbers, evenly chosen. Time grows with the square of the number of images; pass a part of each split for sets above
    some 10,000. `beside` is what was measured of as many other samples against the same images with the same options:
    what real images get is taken from there.
    """
    at_hand = {score.key: score.real for score in beside}
    train, _, test = fractions_of(splits, levels)
    ours, learnt = equal_numbers(fractions_like(samples, splits), train)
    known = frechet(learnt, test)
    if known <= 1e-12 * np.square(train).mean():
        raise UserError("the train and test splits hold the same images: give splits without overlap")

    def ratio(a: np.ndarray, b: np.ndarray) -> float:
        return frechet(a, b) / frechet(learnt, b)

    told = ("frechet_ratio", "Fréchet distance, ratio", ratio, "1, lower is better", ".2f")
    rest = resemblance(samples, labels, splits, levels, kernels=kernels, draws=draws, seed=seed, beside=beside)
    return [_beside(*told, ours, learnt, test, real=at_hand.get(told[0])), *rest]


def resemblance(
    samples: UInt8[np.ndarray, "n h w c"],
    labels: Integer[np.ndarray, " n"] | None,
    splits: Splits,
    levels: int,
    *,
    kernels: Kernels = DIGITS,
    draws: int = 3,
    seed: int = 0,
    told_apart: int | None = None,
    beside: Sequence[Measured] = (),
) -> list[Measured]:
    """`measured` without its first: `mmd2`, `two_sample`, `accuracy` where there are labels, `copies`.

    The two-sample test, whose time grows fastest, is of at most `told_apart` images of a side, evenly chosen.
    """
    at_hand = {score.key: score.real for score in beside}
    train, validation, test = fractions_of(splits, levels)
    x = fractions_like(samples, splits)
    ours, learnt = equal_numbers(x, train)
    few = [part[_evenly(len(part), min(len(part), told_apart or len(part)))] for part in (ours, learnt, test)]
    kernel = partial(mmd2, sigma=kernels.sigma)
    machine = {"gamma": kernels.two_sample_gamma, "C": kernels.two_sample_C}
    told = partial(two_sample_accuracy, **machine, draws=draws, seed=seed)
    rows: list[tuple[tuple[str, str, Score, str, str], list[np.ndarray]]] = [
        (("mmd2", "MMD²", kernel, "0, lower is better", "+.4f"), [ours, learnt, test]),
        (("two_sample", "two-sample test", told, "0.5, nearer is better", ".3f"), few),
    ]
    found = [_beside(*row, *sides, real=at_hand.get(row[0])) for row, sides in rows]
    known_labels, other_labels = splits["train"][1], splits["validation"][1]
    if labels is not None and known_labels is not None and other_labels is not None:
        right = partial(confirmed, train, known_labels, gamma=kernels.accuracy_gamma)
        ours_right = _mean(right(x, labels))
        real_right = at_hand.get("accuracy") or _mean(right(validation, other_labels))
        found += [
            Measured(
                "accuracy", "label accuracy", PIXELS, ours_right, real_right, "as real, higher is better", ".1%", True
            )
        ]
    near = [nearest_distances(part, train)[:, None] for part in (x, validation, test)]
    close = _repeated(_share_within, near[0], near[2])
    real_close = at_hand.get("copies") or _repeated(_share_within, near[1], near[2])
    name, ideal = "copies of training images", "as real, lower is better"
    return [*found, Measured("copies", name, PIXELS, close, real_close, ideal, ".1%", True)]


def measured_in(
    features: str, samples: Float[np.ndarray, "_ d"], train: Float[np.ndarray, "_ d"], test: Float[np.ndarray, "_ d"]
) -> list[Measured]:
    """Six measures of any features of images, `features` being what they are called; see `frechet` and so on.

    `frechet`, `kid`, `precision`, `recall`, `density`, `coverage`: of samples against test images, and beside them of
    as many training images. Raises UserError for fewer than `LEAST` rows of a kind.
    """
    rest = pairs_in(features, samples, train, test)
    told = ("frechet", f"Fréchet distance of {features}", frechet, "as real, lower is better", ".4g")
    ours, learnt = equal_numbers(samples, train)
    return [_beside(*told, ours, learnt, test, features=features), *rest]


def pairs_in(
    features: str, samples: Float[np.ndarray, "_ d"], train: Float[np.ndarray, "_ d"], test: Float[np.ndarray, "_ d"]
) -> list[Measured]:
    """`measured_in` without its first, the Fréchet distance: what remains needs the distances of all pairs of rows."""
    if min(map(len, (samples, train, test))) < LEAST:
        raise UserError(f"{features}: give {LEAST} images or more of samples, training and test images")
    ours, learnt = equal_numbers(samples, train)
    told = ("kid", f"KID of {features}", _kid, "0, lower is better", "+.3g")
    return [_beside(*told, ours, learnt, test, features=features), *_covered(features, ours, learnt, test)]


def nearest_images(
    samples: UInt8[np.ndarray, "n h w c"], splits: Splits, levels: int
) -> tuple[UInt8[np.ndarray, "n h w c"], Float[np.ndarray, " n"]]:
    """The training image nearest to each sample, scaled to 0 … 255, and its distance (of pixels in [0, 1])."""
    train, _, _ = fractions_of(splits, levels)
    distances, indices = nearest(fractions_like(samples, splits), train)
    return as_bytes(splits["train"][0][indices], levels), distances


def equal_numbers(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d"]]:
    """Equally many rows of each, evenly chosen."""
    count = min(len(a), len(b))
    return a[_evenly(len(a), count)], b[_evenly(len(b), count)]


def _evenly(count: int, wanted: int) -> Integer[np.ndarray, " _"]:
    return np.linspace(0, count - 1, wanted).round().astype(int)


def _beside(
    key: str, name: str, score: Score, ideal: str, form: str,
    samples: np.ndarray, train: np.ndarray, test: np.ndarray,
    *, features: str = PIXELS, real: Replicates | None = None,
) -> Measured:  # fmt: skip
    """A score of samples, and the same of training images, which may be at hand, against test images."""
    found, real = _repeated(score, samples, test), real or _repeated(score, train, test)
    return Measured(key, name, features, found, real, ideal, form, share=key == "two_sample")


def _repeated(score: Score, samples: np.ndarray, reference: np.ndarray) -> Replicates:
    """With its replicates, where there are rows enough for them."""
    if min(len(samples), len(reference)) < LEAST:
        return Replicates(score(samples, reference), np.zeros(0), np.zeros(0))
    return replicates(score, samples, reference, groups=GROUPS)


def _mean(each: Bool[np.ndarray, " n"]) -> Replicates:
    """The share of rows that are so."""
    if len(each) < LEAST:
        return Replicates(float(each.mean()), np.zeros(0), np.zeros(0))
    return replicates(lambda part, _: float(part.mean()), each, None, groups=GROUPS, fixed=True)


def _covered(features: str, samples: np.ndarray, train: np.ndarray, test: np.ndarray) -> list[Measured]:
    """Precision, recall, density and coverage, which come of the same distances."""
    score = partial(coverage_of, k=NEAR)
    ours, real = (replicates_each(score, x, test, groups=GROUPS) for x in (samples, train))
    ideals = ("as real, higher is better",) * 2 + ("1, higher is better", "as real, higher is better")
    rows = zip(Coverage._fields, ours, real, ideals, strict=True)
    return [
        Measured(name, f"{name} of {features}", features, found, beside, ideal, ".3f", share=name != "density")
        for name, found, beside, ideal in rows
    ]


def _kid(a: np.ndarray, b: np.ndarray) -> float:
    return discrepancy(a, b, cubic).value


def _share_within(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of distances within the first hundredth of the others."""
    return float((ours <= np.quantile(theirs, 0.01)).mean())
