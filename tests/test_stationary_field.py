"""Gaussian fields against dense linear algebra: the denoiser, draws, and the posterior of block means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import oracles, predict, schedule
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.oracles.stationary_field import covariances
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
SIDES, CORRELATIONS = (6, 4), (0.9, 0.6)
COVARIANCE = np.kron(*covariances(SIDES, CORRELATIONS))


def test_the_denoiser_is_that_of_the_dense_covariance() -> None:
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (3, *SIDES, 2))
        t = jnp.array([0.1, 0.5, 0.9]).reshape(3, 1, 1, 1)
        field = oracles.gaussian_field(NOISE, SIDES, CORRELATIONS)(x, t, None)
        dense = oracles.gaussian(NOISE, np.zeros(24), COVARIANCE)
        for channel in range(2):
            flat = dense(x[..., channel].reshape(3, 24), t.reshape(3, 1), None)
            np.testing.assert_allclose(field[..., channel].reshape(3, 24), flat, rtol=1e-9, atol=1e-12)


def test_draws_have_the_covariance() -> None:
    """Each of 300 products of two numbers within 5 standard errors: a false alarm in 1,000,000 runs of seeds."""
    x = np.asarray(oracles.field_draws(keys(0, 4_000), SIDES, CORRELATIONS)).reshape(-1, 24)
    products = x[:, :, None] * x[:, None]
    z = (products.mean(0) - COVARIANCE) / (products.std(0) / np.sqrt(len(x)))
    assert np.abs(z).max() < 5.5


def test_the_posterior_of_block_means_is_that_of_the_joint_law() -> None:
    means = np.random.default_rng(0).normal(size=(3, 2, 1))
    blocks = np.kron(np.kron(np.eye(3), np.full((1, 2), 0.5)), np.kron(np.eye(2), np.full((1, 2), 0.5)))
    dense = oracles.posterior(np.ones(1), np.zeros((1, 24)), COVARIANCE[None], blocks, means.ravel(), np.zeros((6, 6)))
    exact = oracles.field_posterior(means, 2, SIDES, CORRELATIONS)
    np.testing.assert_allclose(exact.mean.ravel(), dense.means[0], rtol=1e-9)
    np.testing.assert_allclose(exact.variance.ravel(), np.diag(dense.covs[0]), rtol=1e-9)


def test_what_does_not_fit_is_said() -> None:
    for correlations in [(0.9,), (0.9, 1.0)]:
        with pytest.raises(UserError, match="correlation"):
            oracles.gaussian_field(NOISE, SIDES, correlations)
    field = oracles.gaussian_field(NOISE, SIDES, CORRELATIONS)
    with pytest.raises(UserError, match="level"):
        field(jnp.zeros((1, *SIDES, 1)), jnp.zeros((1, *SIDES, 1)), None)
