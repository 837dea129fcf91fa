"""Moments and Fréchet distances against closed forms and other orders of adding up."""

from math import sqrt
from tracemalloc import get_traced_memory, start, stop

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy.stats import ortho_group

from diffjax.errors import UserError
from diffjax.evaluation.frechet_distance import (
    Moments,
    frechet,
    frechet_from_moments,
    gather_moments,
    merge_moments,
    read_moments,
    write_moments,
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


def test_moments_are_those_of_all_points_in_any_batches():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 7)) @ rng.standard_normal((7, 7)) + 1e4  # a mean that a plain sum of squares loses
    for cuts in ([300], [1, 2, 250], [299]):
        found = gather_moments(np.split(x, cuts))
        assert found.rows == 300
        np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-14)
        np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-11)


def test_batches_merge_in_any_order():
    """Merging is commutative and associative, and the same as gathering at once."""
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((n, 5)) + n for n in (1, 2, 40)]
    a, b, c = (gather_moments([part]) for part in parts)
    whole = gather_moments(parts)
    for found in (
        merge_moments(merge_moments(a, b), c),
        merge_moments(a, merge_moments(c, b)),
        merge_moments(c, merge_moments(b, a)),
    ):
        assert found.rows == whole.rows == 43
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-13)
        np.testing.assert_allclose(found.covariance, whole.covariance, rtol=1e-12)


def test_moments_of_single_precision_are_gathered_in_double():
    """2²⁴ + 1 is no float32: summed in float32, the mean of these would be lost."""
    x = np.full((1_000, 2), 2.0**24, np.float32)
    x[::2] += 2
    found = gather_moments(x[start : start + 10] for start in range(0, 1_000, 10))
    np.testing.assert_array_equal(found.mean, 2.0**24 + 1)
    np.testing.assert_allclose(found.covariance, 1_000 / 999, rtol=1e-12)


def test_the_distance_of_moments_is_that_of_the_points():
    rng = np.random.default_rng(0)
    for n, d in ((60, 8), (9, 40)):  # also of singular covariances
        a, b = rng.standard_normal((n, d)), 2 * rng.standard_normal((n + 5, d)) + 1
        assert frechet_from_moments(gather_moments([a]), gather_moments([b])) == pytest.approx(frechet(a, b), rel=1e-7)
    zero = Moments(0, np.ones(3), np.zeros((3, 3)))
    assert frechet_from_moments(zero, gather_moments([a[:, :3]])) == pytest.approx(
        np.square(1 - a[:, :3].mean(0)).sum() + a[:, :3].var(0, ddof=1).sum(), rel=1e-12
    )


def test_gathering_holds_one_batch_at_a_time():
    batches = (np.random.default_rng(seed).standard_normal((100, 20)) for seed in range(200))
    start()
    gather_moments(batches)
    peak = get_traced_memory()[1]
    stop()
    assert peak < 10 * 100 * 20 * 8


def test_moments_come_back_from_their_file_and_say_of_what_they_are(tmp_path):
    found = gather_moments([np.random.default_rng(0).standard_normal((10, 4))])
    write_moments(tmp_path / "x.npz", found, "pixels, 10 images")
    for of in (None, "pixels, 10 images"):
        back = read_moments(tmp_path / "x.npz", of)
        assert back.rows == 10
        np.testing.assert_array_equal(back.mean, found.mean)
        np.testing.assert_array_equal(back.covariance, found.covariance)
    with pytest.raises(UserError, match=r"x\.npz: .*'pixels, 10 images'.*'other'"):
        read_moments(tmp_path / "x.npz", "other")


def test_public_statistics_are_read_and_what_changed_is_found(tmp_path):
    found = gather_moments([np.random.default_rng(0).standard_normal((10, 4))])
    np.savez(tmp_path / "public.npz", mu=found.mean.astype(np.float32), sigma=found.covariance)
    assert read_moments(tmp_path / "public.npz").rows == 0
    write_moments(tmp_path / "x.npz", found, "x")
    with np.load(tmp_path / "x.npz") as file:
        arrays = {**file}
    for change in ({"mu": arrays["mu"] + 1}, {"count": np.array(11)}, {"of": np.array("y")}):
        np.savez(tmp_path / "x.npz", **(arrays | change))
        with pytest.raises(UserError, match=r"x\.npz: "):
            read_moments(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3)}, "mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, "mu .*sigma"),
        ({"mu": np.zeros(3), "sigma": -np.eye(3)}, "sigma|covariance"),
        ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "sigma|covariance"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "sigma|covariance"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": np.zeros(2)}, "count"),
    ],
)
def test_statistics_that_are_none_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message) as error:
        read_moments(tmp_path / "x.npz")
    assert "x.npz" in str(error.value)


def test_points_of_different_dimensions_are_refused():
    with pytest.raises((UserError, TypeCheckError)):
        frechet(np.eye(3), np.eye(4))
