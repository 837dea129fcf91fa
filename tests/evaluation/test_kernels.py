"""Discrepancies against sums over pairs, exhaustive averages, and what equal distributions must get."""

from itertools import combinations
from math import exp, sqrt

import numpy as np
import pytest
from scipy.stats import norm

from diffjax.errors import UserError
from diffjax.evaluation import pairwise
from diffjax.evaluation.mmd import cubic_kernel, kid, kid_of_subsets, median_distance, mmd2, mmd2_unbiased, rbf_kernel


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
    assert kid(a, b).value == pytest.approx(within_a + within_b - 2 * across, rel=1e-12)


@pytest.mark.parametrize("kernel", [cubic_kernel, rbf_kernel(1.5)])
def test_blocks_give_what_one_array_of_all_pairs_gives(kernel, monkeypatch):
    a, b = normal(0, 50, 6), normal(1, 37, 6) + 0.3
    whole = mmd2_unbiased(a, b, kernel)
    monkeypatch.setattr(pairwise, "BLOCK", 16)
    assert mmd2_unbiased(a, b, kernel) == pytest.approx(whole, rel=1e-11)
    assert mmd2_unbiased(b, a, kernel) == pytest.approx(whole, rel=1e-11)


def test_the_error_is_that_of_leaving_out_each_row_in_turn():
    """The jackknife by its definition: every leave-one-out estimate computed anew."""
    a, b = normal(0, 7, 3), normal(1, 9, 3) + 1
    without_a = [kid(np.delete(a, i, 0), b).value for i in range(7)]
    without_b = [kid(a, np.delete(b, i, 0)).value for i in range(9)]
    variance = 6 * np.var(without_a) + 8 * np.var(without_b)
    assert kid(a, b).error == pytest.approx(sqrt(variance), rel=1e-9)


def test_kid_of_one_distribution_is_zero_within_two_errors_over_resplits(digits):
    """Resplits of real digits: beyond two errors 1 in 20 is due, and by all pairs (√2 too large at zero) 1 in 100.

    Of 30 resplits more than 5 would be beyond once in 300 seeds; the mean lies beyond four of its errors never.
    """
    real = np.concatenate([digits[name][0] for name in digits]).reshape(-1, 64) / 16
    for estimate in (kid, lambda a, b: kid_of_subsets(a, b, 20, 15)):
        found = []
        for seed in range(30):
            rows = np.random.default_rng(seed).permutation(len(real))
            found.append(estimate(real[rows[:300]], real[rows[300:600]]))
        values, errors = np.array(found).T
        assert (abs(values) > 2 * errors).sum() <= 5
        assert abs(values.mean()) < 4 * values.std() / sqrt(30)


def test_the_error_of_kid_is_its_deviation_over_fresh_samples():
    """Where the distributions differ, the mean of 60 squared errors is the variance, known to 1/√30 = 18 %."""
    found = [kid(normal(seed, 80, 5), normal(seed + 1_000, 120, 5) * 1.3 + 0.5) for seed in range(60)]
    values, errors = np.array(found).T
    assert np.mean(errors**2) == pytest.approx(values.var(ddof=1), rel=0.6)


def test_the_error_of_subsets_is_not_lessened_by_drawing_rows_again():
    """Twenty subsets of 50 of 500 rows use each row twice: the error is that of ten, and covers fresh samples."""
    found = [kid_of_subsets(normal(s, 500, 4), normal(s + 1_000, 500, 4) * 1.5, 20, 50, s) for s in range(60)]
    values, errors = np.array(found).T
    assert np.mean(errors**2) > 0.6 * values.var(ddof=1)


def test_subsets_without_common_rows_average_their_estimates():
    a, b = normal(0, 60, 3), normal(1, 60, 3)
    found = kid_of_subsets(a, b, 3, 20, seed=5)
    rng = np.random.default_rng(5)
    of_a, of_b = (rng.permutation(60).reshape(3, 20) for _ in range(2))
    values = [kid(a[i], b[j]).value for i, j in zip(of_a, of_b, strict=True)]
    assert found == pytest.approx((np.mean(values), np.std(values, ddof=1) / sqrt(3)), rel=1e-10)


def test_the_median_distance_of_normals_is_known():
    """|x − y|² / 2 of standard normals in 3 dimensions is χ²(3), of median 2.366; and it scales with the points."""
    x = normal(0, 3_000, 3)
    found = median_distance(x[:1_500], x[1_500:])
    assert found == pytest.approx(sqrt(2 * 2.366), rel=0.02)
    assert median_distance(3 * x[:1_500] + 7, 3 * x[1_500:] + 7) == pytest.approx(3 * found, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mmd2(x, x, 0.0), "sigma is 0"),
        (lambda x: kid(x[:2], x), "a has 2 rows"),
        (lambda x: kid_of_subsets(x, x, 10, 5), "half the rows"),
        (lambda x: kid_of_subsets(x, x, 10, 1), "size from 2"),
        (lambda x: median_distance(x[:1], x[:1]), "is 0"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call(normal(0, 9, 3))
    assert "\n" not in str(error.value)
