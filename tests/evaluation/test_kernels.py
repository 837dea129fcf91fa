"""MMD² and KID against sums over pairs, exhaustive averages, and equal distributions."""

from functools import partial
from itertools import combinations
from math import exp, sqrt

import numpy as np
import pytest
from scipy.stats import norm

from diffjax.evaluation import pairwise
from diffjax.evaluation.mmd import kid, mmd2


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def test_mmd2_of_five_points_is_the_sum_over_pairs():
    """a = {0, 1}, b = {0, 2, 3}, 2σ² = 1: one pair within a, three within b, six across."""
    a, b = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0], [3.0]])
    within_a, within_b = exp(-1), (exp(-4) + exp(-9) + exp(-1)) / 3
    across = (1 + exp(-4) + exp(-9) + exp(-1) + exp(-1) + exp(-4)) / 6
    assert mmd2(a, b, sqrt(0.5)) == pytest.approx(within_a + within_b - 2 * across, rel=1e-12)


def test_mmd2_averages_to_zero_over_every_split_of_a_set():
    """Unbiased means: over all 56 ways to take 3 of 8 points, within and across have the same average pair."""
    pool = np.random.default_rng(0).standard_normal((8, 2))
    values = [mmd2(pool[list(rows)], np.delete(pool, list(rows), axis=0), 0.8) for rows in combinations(range(8), 3)]
    assert min(values) < 0 < max(values)
    assert np.mean(values) == pytest.approx(0, abs=1e-15)


def test_mmd2_of_two_gaussians_approaches_its_integral(monkeypatch):
    """E k(x, y) = σ/√(σ²+2) · exp(−m²/2(σ²+2)) for N(0,1) and N(m,1); points at 500 quantiles stand for each."""
    monkeypatch.setattr(pairwise, "BLOCK", 64)
    x = norm.ppf((np.arange(500) + 0.5) / 500)[:, None]
    sigma, m = 0.7, 1.5
    expected = 2 * sigma / sqrt(sigma**2 + 2) * (1 - exp(-(m**2) / (2 * (sigma**2 + 2))))
    assert mmd2(x, x + m, sigma) == pytest.approx(expected, abs=5e-3)


def test_kid_of_few_points_is_the_sum_over_pairs():
    """d = 2: k(x, y) = (x·y/2 + 1)³."""
    a, b = np.array([[1.0, 1.0], [0.0, 2.0], [-2.0, 0.0]]), np.array([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0]])
    within_a, within_b = (2**3 + 0**3 + 1**3) / 3, (1 + 1 + 1) / 3
    across = (1 + 2**3 + 0**3 + 1 + 1 + (-1) ** 3 + 1 + (-1) ** 3 + 1) / 9
    assert kid(a, b) == pytest.approx(within_a + within_b - 2 * across, rel=1e-12)


@pytest.mark.parametrize("score", [kid, partial(mmd2, sigma=1.5)], ids=["kid", "mmd2"])
def test_blocks_give_what_one_array_of_all_pairs_gives(score, monkeypatch):
    a, b = normal(0, 50, 6), normal(1, 37, 6) + 0.3
    whole = score(a, b)
    monkeypatch.setattr(pairwise, "BLOCK", 16)
    assert score(a, b) == pytest.approx(whole, rel=1e-11)
    assert score(b, a) == pytest.approx(whole, rel=1e-11)


def test_kid_of_one_distribution_is_zero_over_resplits(digits):
    """The mean over 20 resplits of real digits lies beyond four of its standard errors once in 1,000 seeds."""
    real = np.concatenate([digits[name][0] for name in digits]).reshape(-1, 64) / 16
    orders = [np.random.default_rng(seed).permutation(len(real)) for seed in range(20)]
    values = np.array([kid(real[rows[:200]], real[rows[200:400]]) for rows in orders])
    assert abs(values.mean()) < 4 * values.std(ddof=1) / sqrt(20)
