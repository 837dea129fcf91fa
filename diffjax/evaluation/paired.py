"""Scores of samples, with the same score of equally many training images, both against the same test images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from diffjax.evaluation.jackknife import Replicates, ScoreFunction, replicates
from diffjax.evaluation.point_pairs import Pairs, Rows, pairs_of

GROUPS = 10  # of the jackknife
MIN_IMAGES = 2 * GROUPS  # per side, for replicates
PIXELS = "pixels"

PairScore = Callable[[Pairs, Rows, Rows], float]


@dataclass(frozen=True)
class Score:
    """One measure of samples and of real images, each with its jackknife replicates."""

    key: str  # for programs
    name: str  # for people
    features: str  # in which images are compared
    samples: Replicates
    real: Replicates
    ideal: str
    form: str  # format specification of the value
    share: bool = False  # whether the measure is in [0, 1], to which interval ends are then clipped

    def format(self, value: float) -> str:
        """A value of this measure, or an end of its interval, as text."""
        return format(min(max(value, 0.0), 1.0) if self.share else value, self.form).replace("%", " %")


class Measure(NamedTuple):
    """The fields of a `Score` but for its values."""

    key: str
    name: str
    ideal: str
    form: str
    features: str = PIXELS
    share: bool = False

    def score(self, samples: Replicates, real: Replicates) -> Score:
        """The score with these values."""
        return Score(samples=samples, real=real, **self._asdict())


class Sides(NamedTuple):
    """Samples, and as many training images, each paired with the same test images."""

    samples: Pairs
    train: Pairs


def subsample_equally(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d"]]:
    """min(n, m) rows of each, at equal strides."""
    count = min(len(a), len(b))
    a, b = (rows if len(rows) == count else rows[evenly_spaced(len(rows), count)] for rows in (a, b))
    return a, b


def evenly_spaced(count: int, wanted: int) -> Integer[np.ndarray, " _"]:
    """`wanted` indices from 0 to count − 1 at equal strides."""
    return np.linspace(0, count - 1, wanted).round().astype(int)


def sides_of(
    samples: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"], test: Float[np.ndarray, "k d"]
) -> Sides:
    """min(n, m) samples and as many training images, each paired with the test images."""
    samples, train = subsample_equally(samples, train)
    sample_pairs = pairs_of(samples, test)
    return Sides(sample_pairs, pairs_of(train, test, sample_pairs))


def score_with_baseline(
    measure: Measure,
    score: PairScore,
    sides: Sides,
    *,
    max_images: int | None = None,
    real: Replicates | None = None,
) -> Score:
    """A score of samples, and of training images unless `real` is known, against the test images.

    If both sides have more than `max_images`, that many are taken of each, at equal strides.
    """
    rows = sides.samples.everything
    if max_images is not None and min(map(len, rows)) > max_images:
        i, j = (part[evenly_spaced(len(part), max_images)] for part in rows)
        rows = (i, j)
    samples = with_replicates(partial(score, sides.samples), *rows)
    return measure.score(samples, real or with_replicates(partial(score, sides.train), *rows))


def with_replicates(score: ScoreFunction[np.ndarray], samples: np.ndarray, reference: np.ndarray) -> Replicates:
    """A score with replicates, if each side has `MIN_IMAGES` rows."""
    if min(len(samples), len(reference)) < MIN_IMAGES:
        return Replicates(score(samples, reference))
    return replicates(score, samples, reference, groups=GROUPS)
