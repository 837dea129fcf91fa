"""Signals of a known law: their covariance is that of the recursion, and density, entropy and draws follow from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from diffjax.data import open_dataset
from diffjax.data.autoregressive import COEFFICIENTS, LENGTH, process_covariance, process_density
from diffjax.diagnostics import known_density
from diffjax.errors import UserError

FIRST, SECOND = COEFFICIENTS
NOISE = 1 - FIRST**2 * (1 + SECOND) / (1 - SECOND) - SECOND**2  # the variance of the recursion's noise, for variance 1


def test_what_the_recursion_adds_is_white() -> None:
    """Of x_i - a x_{i-1} - b x_{i-2} the covariance is a multiple of the identity, which does not know the past."""
    covariance = process_covariance()
    rows = np.eye(LENGTH) - FIRST * np.eye(LENGTH, k=-1) - SECOND * np.eye(LENGTH, k=-2)
    added = rows[2:] @ covariance @ rows[2:].T
    np.testing.assert_allclose(added, NOISE * np.eye(LENGTH - 2), atol=1e-12)
    np.testing.assert_allclose(rows[2:] @ covariance[:, :2], 0, atol=1e-12)
    np.testing.assert_array_equal(np.diag(covariance), 1)


def test_density_and_entropy_are_those_of_the_covariance() -> None:
    """The entropy by the chain rule: of the first two samples, then of the noise of each."""
    x = np.random.default_rng(0).multivariate_normal(np.zeros(LENGTH), process_covariance(), 5)
    density = process_density()
    exact = multivariate_normal(np.zeros(LENGTH), process_covariance()).logpdf(x)
    np.testing.assert_allclose(density.log_density(jnp.asarray(x, jnp.float32)), exact, rtol=1e-3)
    pair = process_covariance()[:2, :2]
    chain = (np.linalg.slogdet(pair)[1] + (LENGTH - 2) * np.log(NOISE) + LENGTH * np.log(2 * np.pi * np.e)) / 2
    nats, error = known_density.entropy(jax.random.split(jax.random.key(0), 2), density)
    assert abs(nats - chain) < 1e-3
    assert error == 0


def test_what_is_drawn_is_of_the_law_and_depends_on_its_number_alone() -> None:
    dataset = open_dataset("ar_process")
    assert (dataset.shape, dataset.classes, dataset.has_levels) == ((LENGTH, 1), 0, False)
    rows = np.arange(2_000)
    x, labels = dataset.arrays("validation", rows)
    assert labels is None
    np.testing.assert_array_equal(dataset.split("validation")[7]["image"], x[7])
    cov = x[..., 0].T @ x[..., 0] / len(x)
    np.testing.assert_allclose(cov, process_covariance(), atol=5.5 * (2 / len(x)) ** 0.5)
    assert not np.any(dataset.split("test")[7]["image"] == x[7])
    with pytest.raises(UserError, match=r"^data\.image_size: 'ar_process'"):
        open_dataset("ar_process", image_size=32)
