"""Confidence intervals of scores of two sets of rows, by the delete-a-group jackknife.

The bootstrap is unsuitable: rows drawn twice lie at distance 0 from each other, which biases statistics of pairs and
doubles the bias of a Fréchet distance. Deleting rows has neither effect.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float64, Shaped
from numpy.typing import ArrayLike
from scipy.stats import t as student

from diffjax.errors import UserError
from diffjax.evaluation.frechet_distance import Moments, merge_moments

Rows = Shaped[np.ndarray, "_ ..."]
Side = TypeVar("Side")
ScoreFunction = Callable[[Side, Side], float]  # of samples and reference, without randomness
EMPTY = np.zeros(0)


class Interval(NamedTuple):
    """A score and its confidence interval; all but `value` are NaN for a score without replicates."""

    value: float  # of all rows
    error: float  # standard error
    low: float
    high: float
    limit: float  # value less its bias of order 1/n: the estimate for infinitely many rows


class Replicates(NamedTuple):
    """A score, and its values without each group of rows in turn; empty for too few rows or a fixed side."""

    value: float
    samples: Float64[np.ndarray, " _"] = EMPTY
    reference: Float64[np.ndarray, " _"] = EMPTY


class Difference(NamedTuple):
    """A difference of two scores, its confidence interval, and its p-value."""

    value: float
    error: float
    low: float
    high: float
    p: float


def replicates(
    score: ScoreFunction[Rows], samples: Rows, reference: Rows | None, *, groups: int = 20, seed: int = 0
) -> Replicates:
    """The jackknife replicates of a score: without each of the random groups of rows of either side in turn.

    The groups of a side depend on its number of rows and `seed` alone. Without a reference only samples are left out.
    The score is computed 2 · groups + 1 times. Raises UserError for fewer rows than groups.
    """
    (result,) = replicates_each(score, samples, reference, groups=groups, seed=seed)
    return result


def replicates_each(
    score: Callable[[Rows, Rows], ArrayLike],
    samples: Rows,
    reference: Rows | None,
    *,
    groups: int = 20,
    seed: int = 0,
) -> list[Replicates]:
    """`replicates` of each number of a score that returns several."""
    parts = _random_groups("samples", samples, groups, np.random.default_rng((seed, 0)))
    if reference is None:
        return _jackknife(score, np.concatenate, parts, None, (samples, EMPTY))
    reference_parts = _random_groups("reference", reference, groups, np.random.default_rng((seed, 1)))
    return _jackknife(score, np.concatenate, parts, reference_parts, (samples, reference))


def replicates_of_moments(
    score: ScoreFunction[Moments], samples: Sequence[Moments], reference: Sequence[Moments] | Moments
) -> Replicates:
    """`replicates` of a score of moments, such as `frechet_from_moments`, from the moments of random groups of rows.

    Rows are then read once, a batch at a time. Groups have equal counts; a reference of single `Moments` is fixed.
    Raises UserError for fewer than two groups on a side.
    """

    def join(parts: Sequence[Moments]) -> Moments:
        return reduce(merge_moments, parts)

    fixed = isinstance(reference, Moments)
    if len(samples) < 2 or (not fixed and len(reference) < 2):
        raise UserError("one group of moments has no spread: give two groups at least")
    all_moments = (join(samples), reference if fixed else join(reference))
    (result,) = _jackknife(score, join, samples, None if fixed else reference, all_moments)
    return result


def interval_from_replicates(score: Replicates, level: float = 0.95) -> Interval:
    """value ± t · error, with Student's t for the groups' degrees of freedom (Welch & Satterthwaite for two sides).

    Quenouille 1956; Tukey 1958; Shao & Wu 1989 for scores that are not smooth, which need a growing number of rows left
    out at once, here n/groups. The interval covers the mean of this score over new samples, and new reference images
    unless these are fixed, at these numbers of rows. That is not the score of infinitely many rows: Fréchet distances
    are biased upwards at any number, and precision, recall, density and coverage depend on it. For smooth scores
    `limit` subtracts that bias, and limit ± (high − value) covers the score of the distributions themselves. Between
    equal distributions, errors of MMD² and Fréchet distances are too large rather than too small.
    """
    sides = [side for side in score[1:] if len(side)]
    if not sides:
        _check_level(level)
        return Interval(score.value, *(float("nan"),) * 4)
    error, width, _ = _spread(sides, level)
    bias = sum((len(side) - 1) * (side.mean() - score.value) for side in sides)
    return Interval(score.value, error, score.value - width, score.value + width, float(score.value - bias))


def difference(a: Replicates, b: Replicates, level: float = 0.95) -> Difference:
    """a − b of two scores by the same measure, of independent samples, against one reference.

    Rows of the reference are left out of both at once, so that their common variation cancels. The p-value is
    two-sided, by Student's t. Raises UserError for references in different groups, and where neither has replicates.
    """
    if len(a.reference) != len(b.reference):
        raise UserError("the scores were not computed against one reference in the same groups; evaluate both anew")
    sides = [side for side in (a.samples, b.samples, a.reference - b.reference) if len(side)]
    if not sides:
        raise UserError("neither score has jackknife replicates; evaluate more samples")
    value = a.value - b.value
    error, width, freedom = _spread(sides, level)
    p = 2 * float(student.sf(abs(value) / error, freedom)) if error > 0 else float(value == 0)
    return Difference(value, error, value - width, value + width, p)


def format_p_value(p: float) -> str:
    """A p-value in two digits; those below 1e-9 as "< 1e-9"."""
    return f"{p:.2g}" if p >= 1e-9 else "< 1e-9"


def _random_groups(name: str, rows: Rows, groups: int, rng: np.random.Generator) -> list[Rows]:
    if not 2 <= groups <= len(rows):
        raise UserError(f"{name} has {len(rows)} rows for {groups} groups: give two groups, and a row for each")
    return [rows[np.sort(part)] for part in np.array_split(rng.permutation(len(rows)), groups)]


def _jackknife(
    score: Callable[[Side, Side], ArrayLike],
    join: Callable[[Sequence[Side]], Side],
    parts: Sequence[Side],
    reference_parts: Sequence[Side] | None,
    all_rows: tuple[Side, Side],
) -> list[Replicates]:
    a, b = all_rows
    values = np.atleast_1d(np.asarray(score(a, b), np.float64))
    without = np.array([np.atleast_1d(score(join(rest), b)) for rest in _leave_one_out(parts)], np.float64)
    reference_scores = [np.atleast_1d(score(a, join(rest))) for rest in _leave_one_out(reference_parts or ())]
    reference_without = np.array(reference_scores, np.float64).reshape(-1, len(values))
    return [Replicates(float(value), without[:, i], reference_without[:, i]) for i, value in enumerate(values)]


def _spread(sides: Sequence[Float64[np.ndarray, " _"]], level: float) -> tuple[float, float, float]:
    """Standard error, half the width of the interval, and degrees of freedom, of independent sides."""
    _check_level(level)
    variances = np.array([(len(side) - 1) * side.var() for side in sides])
    shares = sum(variance**2 / (len(side) - 1) for variance, side in zip(variances, sides, strict=True))
    freedom = float(variances.sum() ** 2 / shares) if shares > 0 else 1.0
    error = float(np.sqrt(variances.sum()))
    return error, float(student.ppf((1 + level) / 2, freedom)) * error, freedom


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"level is {level}: give a probability, such as 0.95")


def _leave_one_out(parts: Sequence[Side]) -> list[Sequence[Side]]:
    return [[*parts[:place], *parts[place + 1 :]] for place in range(len(parts))]
