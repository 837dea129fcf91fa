"""A score of samples beside the same score of as many training images, both against the same test images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from diffjax.evaluation.jackknife import Replicates, ScoreFunction, replicates
from diffjax.evaluation.point_pairs import Pairs, Rows, pairs_of

GROUPS = 10  # that are left out in turn for an interval
MIN_IMAGES = 2 * GROUPS  # rows of a side, below which scores have none
PIXELS = "pixels"


@dataclass(frozen=True)
class Score:
    """One measure of samples, beside what real images get in it, both with what they are without parts of the rows."""

    key: str  # for programs
    name: str  # for people
    features: str  # in what they are compared
    samples: Replicates
    real: Replicates
    ideal: str
    form: str  # of the value, as `format` takes it
    share: bool = False  # whether it is from 0 to 1, whatever an interval says

    def format(self, value: float) -> str:
        """A value of this measure, or an end of its interval, as people read it."""
        return format(min(max(value, 0.0), 1.0) if self.share else value, self.form).replace("%", " %")


def subsample_equally(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d"]]:
    """Equally many rows of each, evenly chosen."""
    count = min(len(a), len(b))
    return a[slice(None) if len(a) == count else evenly_spaced(len(a), count)], b[
        slice(None) if len(b) == count else evenly_spaced(len(b), count)
    ]


def evenly_spaced(count: int, wanted: int) -> Integer[np.ndarray, " _"]:
    return np.linspace(0, count - 1, wanted).round().astype(int)


class Sides(NamedTuple):
    """Samples, and as many training images, each beside the same test images."""

    ours: Pairs
    learnt: Pairs


def sides_of(ours: np.ndarray, learnt: np.ndarray, test: np.ndarray) -> Sides:
    first = pairs_of(ours, test)
    return Sides(first, pairs_of(learnt, test, first))


def score_with_baseline(
    key: str, name: str, score: Callable[[Pairs, Rows, Rows], float], ideal: str, form: str, sides: Sides,
    *, features: str = PIXELS, max_images: int | None = None, real: Replicates | None = None,
) -> Score:  # fmt: skip
    """A score of samples, and the same of training images, which may be at hand, against test images.

    Where both sides have more than `max_images`, they are so many, evenly chosen.
    """
    rows = sides.ours.everything
    if max_images is not None and min(map(len, rows)) > max_images:
        rows = tuple(part[evenly_spaced(len(part), max_images)] for part in rows)
    sample_score, real = (
        with_replicates(partial(score, sides.ours), *rows),
        real or with_replicates(partial(score, sides.learnt), *rows),
    )
    return Score(key, name, features, sample_score, real, ideal, form, share=key == "two_sample")


def with_replicates(score: ScoreFunction, samples: np.ndarray, reference: np.ndarray) -> Replicates:
    """With its replicates, where there are rows enough for them."""
    if min(len(samples), len(reference)) < MIN_IMAGES:
        return Replicates(score(samples, reference), np.zeros(0), np.zeros(0))
    return replicates(score, samples, reference, groups=GROUPS)
