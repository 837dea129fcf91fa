"""Intervals of scores whose answer is known."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import ttest_ind

from diffjax.evaluation.frechet_distance import frechet, frechet_from_moments, gather_moments
from diffjax.evaluation.jackknife import difference, interval_from_replicates, replicates, replicates_of_moments
from diffjax.evaluation.mmd import mmd2
from diffjax.evaluation.precision_recall import coverage_scores


def interval(*args, level=0.95, **more):
    return interval_from_replicates(replicates(*args, **more), level)


def gaussians(seed, n, d, gap=0.5, scale=1.3):
    rng = np.random.default_rng(seed)
    return gap + scale * rng.standard_normal((n, d)), rng.standard_normal((n, d))


def test_the_interval_of_a_mean_is_that_of_student():
    """With a row a group the error is s/√n, exactly, and t has n − 1 degrees of freedom."""
    x = np.random.default_rng(0).standard_normal((20, 1))
    found = interval(lambda a, _: float(a.mean() - 3), x, None, groups=20)
    assert found.value == pytest.approx(x.mean() - 3)
    assert found.error == pytest.approx(x.std(ddof=1) / 20**0.5, rel=1e-12)
    assert found.high - found.value == pytest.approx(2.0930 * found.error, rel=1e-4)
    assert found.limit == pytest.approx(found.value)


def test_the_limit_of_a_plug_in_variance_is_the_unbiased_one():
    """Quenouille's example: it turns 1/n into 1/(n − 1), on either side."""
    x = np.random.default_rng(0).standard_normal((24, 1))
    found = interval(lambda a, b: float(a.var() + 2 * b.var()), x, 3 * x[:20], groups=20)
    both = interval(lambda a, b: float(a.var() + 2 * b.var()), x[:20], 3 * x[:20], groups=20)
    assert both.limit == pytest.approx(19 * x[:20].var(ddof=1))
    assert found.value == pytest.approx(x.var() + 18 * x[:20].var())


@pytest.mark.parametrize(("n", "d"), [(200, 3), (60, 16)])
def test_the_limit_of_a_frechet_distance_covers_that_of_the_gaussians(n, d):
    """d (gap² + (scale − 1)²) by formula, in 95 % of 60 samples: fewer than 50 once in 1,000 seeds.

    At 60 points of 16 values the distance itself is twice as large, and its own interval covers it one time in ten.
    """
    truth, found = d * (0.5**2 + 0.3**2), [interval(frechet, *gaussians(s, n, d), groups=10) for s in range(60)]
    assert sum(abs(x.limit - truth) <= x.high - x.value for x in found) >= 50
    assert np.mean([x.limit for x in found]) == pytest.approx(truth, rel=0.05)
    if d == 16:
        assert sum(x.low <= truth for x in found) < 12


@pytest.mark.parametrize(
    "score",
    [
        frechet,
        pytest.param(partial(mmd2, sigma=1.5), marks=pytest.mark.long),
        pytest.param(lambda a, b: coverage_scores(a, b, 3).precision, marks=pytest.mark.long),
    ],
    ids=["frechet", "mmd2", "precision"],
)
def test_the_interval_covers_the_mean_over_fresh_samples(score):
    """Of 60 samples 57 are due; at 10 groups of ten rows 90 % came at the least (of 200): below 47 once in 1,000."""
    mean = np.mean([score(*gaussians(1_000 + seed, 100, 3)) for seed in range(600)])
    found = [interval(score, *gaussians(seed, 100, 3), groups=10, seed=seed) for seed in range(60)]
    assert sum(x.low <= mean <= x.high for x in found) >= 47


def test_a_fixed_reference_has_no_share_in_the_error():
    a, b = gaussians(0, 200, 3)
    both, ours = interval(frechet, a, b), interval(lambda rows, _: frechet(rows, b), a, None)
    assert ours.value == both.value
    assert 0 < ours.error < both.error


def test_the_difference_of_two_scores_is_that_of_student():
    """Of two means with a row a group: s²/n of either adds up, and the reference, which both have, cancels."""
    rng = np.random.default_rng(0)
    x, y, other = rng.standard_normal((20, 1)), 1 + rng.standard_normal((20, 1)), 9 * rng.standard_normal((20, 1))
    ours, theirs = (replicates(lambda a, b: float(a.mean() - b.mean()), part, other) for part in (x, y))
    found, expected = difference(ours, theirs), ttest_ind(x[:, 0], y[:, 0], equal_var=False)
    assert found.value == pytest.approx(x.mean() - y.mean())
    assert found.error == pytest.approx(np.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 20))
    assert found.p == pytest.approx(expected.pvalue, rel=0.05)  # whose degrees of freedom count no reference
    assert found.low < found.value < found.high
    assert difference(ours, ours).p == 1


def test_differences_of_equal_models_are_beyond_noise_as_often_as_they_should():
    """p below 0.05 in 5 % of 60 pairs by chance: more than 9 once in 1,000 seeds."""
    found = []
    for seed in range(60):
        (a, b), (c, _) = gaussians(seed, 60, 3), gaussians(1_000 + seed, 60, 3)
        found.append(difference(*(replicates(frechet, part, b, groups=10) for part in (a, c))).p)
    assert sum(p < 0.05 for p in found) <= 9


def test_moments_of_groups_give_the_interval_of_their_rows():
    a, b = gaussians(0, 200, 3)
    dealt = [np.random.default_rng((0, side)).permutation(200) for side in (0, 1)]
    parts = [[x[rows] for rows in np.array_split(order, 10)] for x, order in zip((a, b), dealt, strict=True)]
    groups = [[gather_moments([rows]) for rows in side] for side in parts]
    ours = replicates_of_moments(frechet_from_moments, *groups)
    for found, expected in zip(ours, replicates(frechet, a, b, groups=10, seed=0), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8)
    alone = replicates_of_moments(frechet_from_moments, groups[0], gather_moments([b]))
    np.testing.assert_allclose(alone.samples, ours.samples, rtol=1e-8)
    assert len(alone.reference) == 0
