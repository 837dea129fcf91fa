"""The law of few factors against full covariances: its density, its denoiser, its error, and what is drawn from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from diffjax import oracles, predict, schedule
from diffjax.distributions import Mixture
from diffjax.noise import Gaussian
from diffjax.utils.prng import keys

K, D, R = 4, 6, 2
NOISE = Gaussian(schedule.cosine, predict.v)
_rng = np.random.default_rng(0)
WEIGHTS = np.array([0.4, 0.1, 0.3, 0.2])
MEANS, FACTORS = _rng.normal(size=(K, D)), _rng.normal(size=(K, D, R)) / 2
FLOORS = _rng.uniform(0.05, 0.3, (K, D))
COVS = FACTORS @ FACTORS.swapaxes(1, 2) + np.eye(D) * FLOORS[:, None]
CLASSES = np.array([0, 1, 0, 1])
LAW = Mixture(*(jnp.asarray(a, jnp.float32) for a in (np.log(WEIGHTS), MEANS, FACTORS, FLOORS)), jnp.asarray(CLASSES))
X = _rng.normal(size=(8, D))


def given(label: int | None) -> np.ndarray:
    """The weights of the components, one class at a time."""
    mine = WEIGHTS * (1 if label is None else label == CLASSES)
    return mine / mine.sum()


def told(label: int | None) -> jax.Array | None:
    return None if label is None else jnp.full(len(X), label)


@pytest.mark.parametrize("label", [None, 0, 1])
def test_the_density_is_that_of_full_covariances(label) -> None:
    each = [multivariate_normal(mean, cov).logpdf(X) for mean, cov in zip(MEANS, COVS, strict=True)]
    with np.errstate(divide="ignore"):
        expected = logsumexp(np.log(given(label))[:, None] + each, axis=0)
    np.testing.assert_allclose(LAW.log_density(jnp.asarray(X, jnp.float32), told(label)), expected, atol=2e-5)


def test_a_label_that_says_nothing_is_none() -> None:
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_array_equal(LAW.log_density(x, told(2)), LAW.log_density(x))


def brute(x_t: np.ndarray, alpha: np.ndarray, sigma: np.ndarray, label: int | None) -> tuple[np.ndarray, float]:
    """Mean and trace of the covariance of x0 given x_t: conditionals of the joint normal laws of (x0, x_t), mixed."""
    logs, means, traces = [], [], []
    for mean, cov in zip(MEANS, COVS, strict=True):
        cross, own = cov * alpha[None], alpha[:, None] * cov * alpha[None] + np.diag(sigma**2)
        gain = np.linalg.solve(own, cross.T).T
        logs.append(multivariate_normal(alpha * mean, own).logpdf(x_t))
        means.append(mean + gain @ (x_t - alpha * mean))
        traces.append(np.trace(cov - gain @ cross.T))
    share = given(label) * np.exp(np.array(logs) - max(logs))
    share /= share.sum()
    x0 = share @ np.array(means)
    return x0, float(share @ (np.array(traces) + ((np.array(means) - x0) ** 2).sum(1)))


@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize("own", [False, True], ids=("one level", "a level each"))
def test_the_denoiser_is_the_conditional_of_the_joint_law(own, label) -> None:
    t = np.random.default_rng(1).uniform(0.02, 1, (len(X), D if own else 1))
    m = NOISE.coefficients(jnp.broadcast_to(jnp.asarray(t, jnp.float32), X.shape))
    x_t = jnp.asarray(X, jnp.float32)
    found, error = LAW.posterior_mean(x_t, m.alpha, m.sigma, told(label))
    for i in range(len(X)):
        x0, trace = brute(X[i], np.asarray(m.alpha[i], float), np.asarray(m.sigma[i], float), label)
        np.testing.assert_allclose(found[i], x0, atol=2e-5)
        np.testing.assert_allclose(error[i], trace, rtol=1e-4)
    np.testing.assert_array_equal(
        oracles.mixture_denoiser(NOISE, LAW)(x_t, jnp.asarray(t, jnp.float32), told(label)), found
    )


def test_it_is_the_oracle_of_full_covariances() -> None:
    full = oracles.mixture(NOISE, WEIGHTS, MEANS, COVS)
    x_t, t = jnp.asarray(X, jnp.float32).reshape(8, 2, 3, 1), jnp.linspace(0.1, 1, 8).reshape(8, 1, 1, 1)
    np.testing.assert_allclose(oracles.mixture_denoiser(NOISE, LAW)(x_t, t, None), full(x_t, t, None), atol=2e-5)


def test_without_noise_nothing_is_hidden() -> None:
    x = jnp.asarray(X, jnp.float32)
    found, error = LAW.posterior_mean(x, jnp.ones_like(x), jnp.zeros_like(x))
    np.testing.assert_allclose(found, x, atol=1e-6)
    np.testing.assert_allclose(error, 0, atol=1e-9)


def test_what_is_drawn_has_the_moments_of_the_law() -> None:
    """20,000 draws: every mean and covariance within 5 standard errors, which 60 numbers leave by chance 3e-5 times."""
    x, label = jax.jit(jax.vmap(LAW.draw))(keys(0, 20_000))
    x, label = np.asarray(x, float), np.asarray(label)
    assert abs((label == 1).mean() - 0.3) < 5 * (0.21 / 20_000) ** 0.5
    for c in (0, 1):
        some, w = x[label == c], given(c)
        mean = w @ MEANS
        cov = np.einsum("k,kij->ij", w, COVS) + np.einsum("k,ki,kj->ij", w, MEANS - mean, MEANS - mean)
        products = (some - mean)[:, :, None] * (some - mean)[:, None]
        error = np.sqrt(len(some))
        assert np.all(np.abs(some.mean(0) - mean) < 5 * some.std(0) / error)
        assert np.all(np.abs(products.mean(0) - cov) < 5 * products.std(0) / error)


def test_what_is_drawn_is_a_function_of_the_key_alone() -> None:
    many, few = (jax.jit(jax.vmap(LAW.draw))(keys(3, count)) for count in (64, 5))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:5], b), many, few)


def test_the_components_are_told_apart_as_bayes_says() -> None:
    each = np.array([multivariate_normal(mean, cov).logpdf(X) for mean, cov in zip(MEANS, COVS, strict=True)]).T
    expected = np.log(WEIGHTS) + each
    expected -= logsumexp(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(LAW.log_components(jnp.asarray(X, jnp.float32)), expected, atol=2e-5)


def test_a_component_has_the_entropy_of_its_normal_law() -> None:
    expected = [multivariate_normal(mean, cov).entropy() for mean, cov in zip(MEANS, COVS, strict=True)]
    np.testing.assert_allclose(LAW.entropies(), expected, rtol=1e-6)
