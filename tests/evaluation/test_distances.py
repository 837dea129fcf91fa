"""Distances against closed forms, exhaustive averages and independent algorithms."""

from itertools import combinations
from math import exp, sqrt

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy.spatial import KDTree
from scipy.stats import norm, ortho_group

from diffjax.errors import UserError
from diffjax.evaluation import distances
from diffjax.evaluation.distances import (
    copies,
    frechet,
    label_accuracy,
    mmd2,
    nearest,
    nearest_distances,
    two_sample_accuracy,
)


def gaussian(seed, mean, cov, n=50):
    """n points whose mean and unbiased covariance are exactly the given ones."""
    mean, cov = np.asarray(mean, float), np.asarray(cov, float)
    z = np.random.default_rng(seed).standard_normal((n, len(mean)))
    z -= z.mean(0)
    white = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z, rowvar=False).reshape(cov.shape))).T
    return white @ np.linalg.cholesky(cov).T + mean


def test_frechet_in_one_dimension_is_the_gap_of_means_and_of_deviations():
    a, b = gaussian(0, [1.0], [[4.0]]), gaussian(1, [-2.0], [[0.25]], n=31)
    assert frechet(a, b) == pytest.approx(3.0**2 + 1.5**2, rel=1e-12)


def test_frechet_with_commuting_covariances_is_a_sum_over_their_common_axes():
    axes = ortho_group.rvs(4, random_state=0)
    p, q, gap = np.array([1.0, 4.0, 9.0, 0.5]), np.array([2.0, 0.1, 9.0, 3.0]), np.array([1.0, 0.0, -1.0, 2.0])
    a, b = gaussian(0, np.zeros(4), axes @ np.diag(p) @ axes.T), gaussian(1, gap, axes @ np.diag(q) @ axes.T)
    assert frechet(a, b) == pytest.approx(gap @ gap + np.square(np.sqrt(p) - np.sqrt(q)).sum(), rel=1e-12)


def test_frechet_in_the_plane_follows_from_trace_and_determinant():
    """For 2 × 2 matrices tr M^½ = √(tr M + 2 √det M) (Cayley-Hamilton), here of M = Σa Σb, which do not commute."""
    p, q = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[0.5, -0.3], [-0.3, 3.0]])
    product = p @ q
    root = sqrt(np.trace(product) + 2 * sqrt(np.linalg.det(product)))
    expected = 5.0 + np.trace(p) + np.trace(q) - 2 * root
    assert frechet(gaussian(0, [0.0, 0.0], p), gaussian(1, [1.0, 2.0], q)) == pytest.approx(expected, rel=1e-12)


def test_frechet_of_two_lines_in_space_depends_on_their_angle():
    """Rank-one covariances s² uuᵀ: tr (Σa Σb)^½ = s_a s_b |u·v|."""
    u, v = np.array([1.0, 0.0, 0.0]), np.array([0.6, 0.8, 0.0])
    a, b = gaussian(0, [0.0], [[4.0]]) * u, gaussian(1, [0.0], [[9.0]]) * v
    assert frechet(a, b) == pytest.approx(4 + 9 - 2 * 2 * 3 * 0.6, rel=1e-12)


def test_frechet_is_a_squared_distance_that_ignores_rotation_and_shift():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 5)), 2 * rng.standard_normal((30, 5)) + 1
    turn = ortho_group.rvs(5, random_state=1)
    assert frechet(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-12)
    assert frechet(a @ turn + 3, b @ turn + 3) == pytest.approx(frechet(a, b), rel=1e-12)
    assert frechet(3 * a, 3 * b) == pytest.approx(9 * frechet(a, b), rel=1e-12)


def test_frechet_bears_fewer_points_than_dimensions_and_pixels_that_never_change():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((7, 40)), rng.standard_normal((9, 40))
    a[:, :10] = b[:, :10] = 0.5
    assert np.isfinite(frechet(a, b))
    assert frechet(a, b) > 0
    assert frechet(a, a) == pytest.approx(0, abs=1e-12)


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
    monkeypatch.setattr(distances, "BLOCK", 64)
    x = norm.ppf((np.arange(500) + 0.5) / 500)[:, None]
    sigma, m = 0.7, 1.5
    expected = 2 * sigma / sqrt(sigma**2 + 2) * (1 - exp(-(m**2) / (2 * (sigma**2 + 2))))
    assert mmd2(x, x + m, sigma) == pytest.approx(expected, abs=5e-3)


def test_two_sample_test_is_a_coin_on_one_distribution_and_sure_on_two():
    """400 held-out guesses have standard error 0.025: beyond 0.08 once in 700 seeds."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((200, 3)), rng.standard_normal((200, 3))
    assert two_sample_accuracy(a, b, 0.3, 1.0, draws=2, seed=0) == pytest.approx(0.5, abs=0.08)
    assert two_sample_accuracy(a, b + 20, 0.3, 1.0, draws=1, seed=0) == 1.0


def test_two_sample_test_of_unequal_sets_gains_nothing_from_the_majority():
    """40 against 600: always naming the larger set would score 0.94."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((40, 3)), rng.standard_normal((600, 3))
    assert two_sample_accuracy(a, b, 0.3, 1.0, draws=8, seed=0) == pytest.approx(0.5, abs=0.12)


def test_two_sample_test_is_a_function_of_its_seed():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((40, 3)), rng.standard_normal((90, 3)) + 0.5
    first, again, other = (two_sample_accuracy(a, b, 0.3, 1.0, draws=2, seed=seed) for seed in (0, 0, 7))
    assert first == again != other


def test_more_draws_make_the_two_sample_test_steadier():
    """Means of eight draws scatter less over seeds than single draws do, by √8 were the draws independent."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((30, 3)), rng.standard_normal((300, 3))
    spread = {
        draws: np.std([two_sample_accuracy(a, b, 0.3, 1.0, draws, seed) for seed in range(0, 600, 100)])
        for draws in (1, 8)
    }
    assert spread[8] < 0.7 * spread[1]


def test_label_accuracy_of_real_digits_is_what_is_known(digits):
    """0.981 with gamma 0.001 on pixels 0 … 16, which is 0.256 on fractions: known from outside this package."""
    (x, y), (test_x, test_y) = digits["train"], digits["test"]
    accuracy = label_accuracy(x.reshape(-1, 64) / 16, y, test_x.reshape(-1, 64) / 16, test_y, 0.256)
    assert accuracy == pytest.approx(0.981, abs=0.5 / 360)


def test_nearest_agrees_with_a_tree_search(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 16)
    rng = np.random.default_rng(0)
    x, train = rng.standard_normal((50, 6)), rng.standard_normal((70, 6))
    far, index = KDTree(train).query(x)
    found, where = nearest(x, train)
    np.testing.assert_allclose(found, far, rtol=1e-12)
    np.testing.assert_array_equal(where, index)
    assert (nearest_distances(train, train) == 0).all()


def test_copies_finds_every_training_image_and_one_percent_of_the_reference():
    rng = np.random.default_rng(0)
    train, reference = rng.standard_normal((300, 8)), rng.standard_normal((500, 8))
    assert copies(train, train, reference) == 1.0
    assert copies(reference, train, reference) == pytest.approx(0.01, abs=1 / 500)
    assert copies(reference + 50, train, reference) == 0.0


def test_copies_are_found_where_real_images_repeat_the_training_set():
    rng = np.random.default_rng(0)
    train = rng.standard_normal((100, 4))
    reference = np.concatenate([train[:5], rng.standard_normal((95, 4))])
    assert copies(train, train, reference) == 1.0
    assert copies(reference[5:], train, reference) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: frechet(x[:1], x), "a has 1 rows"),
        (lambda x: frechet(x, np.full_like(x, np.nan)), "b holds NaN"),
        (lambda x: mmd2(x, x, 0.0), "sigma is 0"),
        (lambda x: two_sample_accuracy(x[:2], x, 1.0, 1.0, 1, 0), "a has 2 rows"),
        (lambda x: two_sample_accuracy(x, x, 1.0, 1.0, 0, 0), "draws is 0"),
        (lambda x: two_sample_accuracy(x, x, -1.0, 1.0, 1, 0), "gamma is -1"),
        (lambda x: label_accuracy(x, np.zeros(9, int), x, np.zeros(9, int), 1.0), "single class"),
        (lambda x: nearest(x, x[:0]), "train has 0 rows"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call(np.random.default_rng(0).standard_normal((9, 3)))
    assert "\n" not in str(error.value)


def test_points_of_different_dimensions_are_refused():
    with pytest.raises((UserError, TypeCheckError)):
        frechet(np.eye(3), np.eye(4))
