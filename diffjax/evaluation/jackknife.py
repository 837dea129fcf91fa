"""How certain a score is, and what real images get in it: for any score of two sets of rows.

No bootstrap: rows drawn twice lie at distance 0 of each other, which pair statistics take for a discovery, and they
lift a Fréchet distance by as much again as its own bias. Leaving rows out has neither fault.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped
from scipy.stats import t as student

from diffjax.errors import UserError
from diffjax.evaluation.frechet_distance import Moments, merge_moments

ScoreFunction = Callable[
    [Any, Any], float
]  # of samples and reference; one that draws at random is given its seed beforehand
Rows = Shaped[np.ndarray, "_ ..."]


class Interval(NamedTuple):
    """A score with how certain it is; see `interval`. Of a score that was not repeated all but its value is NaN."""

    value: float  # of all rows
    error: float  # its standard error
    low: float
    high: float
    limit: float  # what is left of the value when its bias of order 1/n is taken off: for endlessly many rows


class Replicates(NamedTuple):
    """A score, and what it is without each group of rows in turn; empty where rows are few, or a side is fixed."""

    value: float
    samples: Float64[np.ndarray, " _"]
    reference: Float64[np.ndarray, " _"]


class Difference(NamedTuple):
    """By how much one score exceeds another, with its interval, and the probability of so much by chance."""

    value: float
    error: float
    low: float
    high: float
    p: float


def interval(
    score: ScoreFunction,
    samples: Rows,
    reference: Any,
    *,
    groups: int = 20,
    level: float = 0.95,
    seed: int = 0,
    fixed: bool = False,
) -> Interval:
    """The score of samples against a reference, with the interval that the delete-a-group jackknife gives.

    Quenouille 1956; Tukey 1958; Shao & Wu 1989 for scores that are not smooth, of which a growing number of rows
    must be left out at once, as here n/groups. Rows of either side are dealt into random groups, the score is computed
    without each in turn, and the interval is value ± t · error, with Student's t of the groups' degrees of freedom
    (Welch & Satterthwaite where both sides vary).

    What it covers: the mean of this score over fresh samples, and fresh reference images unless `fixed`, at these
    counts. That is not the score of endlessly many: Fréchet distances are biased upwards at any count, precision,
    recall, density and coverage depend on it. Of smooth scores `limit` takes that bias off, and limit ± (high − value)
    covers the score of the distributions themselves; of unbiased ones (MMD², KID) it is the value but for rounding.
    Where the distributions are equal, errors of MMD² and Fréchet distances are too large rather than too small.
    The score is computed 2 · groups + 1 times, groups + 1 times if `fixed`, and `reference` may then be anything.
    Raises UserError for fewer rows than groups.
    """
    return interval_from_replicates(replicates(score, samples, reference, groups=groups, seed=seed, fixed=fixed), level)


def replicates(
    score: ScoreFunction, samples: Rows, reference: Any, *, groups: int = 20, seed: int = 0, fixed: bool = False
) -> Replicates:
    """What `interval` is made of. How rows are dealt depends on their number and `seed` alone, for each side."""
    (result,) = replicates_each(score, samples, reference, groups=groups, seed=seed, fixed=fixed)
    return result


def replicates_each(
    score: Callable[[Any, Any], Any],
    samples: Rows,
    reference: Any,
    *,
    groups: int = 20,
    seed: int = 0,
    fixed: bool = False,
) -> list[Replicates]:
    """As `replicates`, of a score that gives several numbers, each of which has its own."""
    parts = _deal_groups("samples", samples, groups, np.random.default_rng((seed, 0)))
    reference_groups = None if fixed else _deal_groups("reference", reference, groups, np.random.default_rng((seed, 1)))
    return _jackknife(score, np.concatenate, parts, reference_groups, (samples, reference))


def interval_of_moments(
    score: ScoreFunction, samples: Sequence[Moments], reference: Sequence[Moments] | Moments, level: float = 0.95
) -> Interval:
    """As `interval`, of a score of moments such as `frechet_of`: each group of rows is given by its own moments.

    So rows are read once, a batch at a time: deal them into groups at random, of equal counts. A reference of single
    `Moments` is fixed. Raises UserError for fewer than two groups of a side.
    """
    return interval_from_replicates(replicates_of_moments(score, samples, reference), level)


def replicates_of_moments(
    score: ScoreFunction, samples: Sequence[Moments], reference: Sequence[Moments] | Moments
) -> Replicates:
    """What `interval_of_moments` is made of."""

    def join(parts: Sequence[Moments]) -> Moments:
        return reduce(merge_moments, parts)

    if len(samples) < 2 or (not isinstance(reference, Moments) and len(reference) < 2):
        raise UserError("one group of moments tells nothing of their spread: give two groups at least")
    all_moments = join(samples), reference if isinstance(reference, Moments) else join(reference)
    (result,) = _jackknife(score, join, samples, None if isinstance(reference, Moments) else reference, all_moments)
    return result


def interval_from_replicates(score: Replicates, level: float = 0.95) -> Interval:
    """The interval of a score that was computed without each group of rows; see `interval`."""
    sides = [side for side in score[1:] if len(side)]
    if not sides:
        _check_level(level)
        return Interval(score.value, *(float("nan"),) * 4)
    error, width, _ = _spread(sides, level)
    bias = sum((len(side) - 1) * (side.mean() - score.value) for side in sides)
    return Interval(score.value, error, score.value - width, score.value + width, float(score.value - bias))


def difference(a: Replicates, b: Replicates, level: float = 0.95) -> Difference:
    """a − b of two scores by the same measure, of independent samples, against one reference.

    Rows of the reference are left out of both at once, so that what they have in common cancels. The p is two-sided,
    by Student's t. Raises UserError where the reference was dealt otherwise, or nothing was repeated.
    """
    if len(a.reference) != len(b.reference):
        raise UserError("the scores were not computed against one reference in the same groups; evaluate both anew")
    sides = [side for side in (a.samples, b.samples, a.reference - b.reference) if len(side)]
    if not sides:
        raise UserError("neither score was repeated without parts of its rows; evaluate more samples")
    value = a.value - b.value
    error, width, freedom = _spread(sides, level)
    p = 2 * float(student.sf(abs(value) / error, freedom)) if error > 0 else float(value == 0)
    return Difference(value, error, value - width, value + width, p)


def format_p_value(p: float) -> str:
    """A probability in words as short as it is certain."""
    return f"{p:.2g}" if p >= 1e-9 else "< 1e-9"


def real_data_baseline(
    score: ScoreFunction, real: Rows, samples: int, reference: int, repeats: int = 10, seed: int = 0
) -> Float64[np.ndarray, " repeats"]:
    """What real images get: the score of `samples` of them against `reference` others, at random, `repeats` times.

    Nobody should hope for much better. Their mean is the floor; their deviation, from overlapping parts of one set,
    is somewhat smaller than that of fresh images. Raises UserError where there are not so many images.
    """
    if min(samples, reference, repeats) < 1:
        raise UserError(f"{samples} against {reference}, {repeats} times: give at least one of each")
    if samples + reference > len(real):
        problem = f"{len(real)} real images cannot be split into {samples} and {reference}"
        raise UserError(f"the floor: {problem}; give more of them, or compare fewer")
    scores = []
    for draw in range(repeats):
        rows = np.random.default_rng((seed, draw)).permutation(len(real))
        scores.append(score(real[rows[:samples]], real[rows[samples : samples + reference]]))
    return np.array(scores, np.float64)


def _deal_groups(name: str, rows: Rows, groups: int, rng: np.random.Generator) -> list[np.ndarray]:
    if not 2 <= groups <= len(rows):
        raise UserError(f"{name} has {len(rows)} rows for {groups} groups: give two groups, and a row for each")
    return [rows[np.sort(part)] for part in np.array_split(rng.permutation(len(rows)), groups)]


def _jackknife(
    score: Callable[[Any, Any], Any],
    join: Callable[[Sequence[Any]], Any],
    parts: Sequence[Any],
    reference_groups: Sequence[Any] | None,
    all_rows: tuple[Any, Any],
) -> list[Replicates]:
    a, b = all_rows
    values = np.atleast_1d(np.asarray(score(a, b), np.float64))
    sample_replicates = np.array([np.atleast_1d(score(join(rest), b)) for rest in _leave_one_out(parts)], np.float64)
    reference_replicates = np.array(
        [np.atleast_1d(score(a, join(rest))) for rest in _leave_one_out(reference_groups or ())], np.float64
    )
    reference_replicates = reference_replicates.reshape(-1, len(values))
    return [
        Replicates(float(value), sample_replicates[:, i], reference_replicates[:, i]) for i, value in enumerate(values)
    ]


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


def _leave_one_out(parts: Sequence[Any]) -> list[Sequence[Any]]:
    return [[*parts[:place], *parts[place + 1 :]] for place in range(len(parts))]
