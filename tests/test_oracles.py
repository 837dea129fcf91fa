"""The exact answers against brute force: integrals, derivatives, conditioned joint laws, weighted draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES
from quickly import few
from scipy.integrate import solve_ivp
from scipy.special import log_ndtr, logsumexp
from scipy.stats import multivariate_normal

from diffjax import oracles, predict, schedule
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.utils.prng import keys

K, D = 3, 4
NOISE = Gaussian(schedule.cosine, predict.v)
_rng = np.random.default_rng(0)
WEIGHTS, MEANS = np.array([0.5, 0.2, 0.3]), _rng.normal(size=(K, D))
_roots = _rng.normal(size=(K, D, D)) / 2
COVS = _roots @ _roots.swapaxes(1, 2) + 0.05 * np.eye(D)
LAW = (WEIGHTS, MEANS, COVS)
X = _rng.normal(size=(6, D))
ONE_LEVEL, MANY = np.full((6, 1), 0.4), _rng.uniform(0.1, 1.0, (6, D))
LINE = (np.array([0.5, 0.3, 0.2]), np.array([-1.0, 0.2, 1.3]), np.array([0.08, 0.3, 0.05]))


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True):
        yield


def brute(x: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    """log q_t(x) and E[x0|x] of one example, from the joint normal laws of (x0, x_t)."""
    alpha, sigma = (np.asarray(a) for a in NOISE.schedule(jnp.asarray(np.broadcast_to(t, (D,)))))
    logs, means = [], []
    for weight, mean, cov in zip(*LAW, strict=True):
        own = alpha[:, None] * cov * alpha + np.diag(sigma**2)
        logs.append(np.log(weight) + multivariate_normal(alpha * mean, own).logpdf(x))
        means.append(mean + cov * alpha @ np.linalg.solve(own, x - alpha * mean))
    return logsumexp(logs), np.exp(np.array(logs) - logsumexp(logs)) @ np.array(means)


@pytest.mark.parametrize("t", [ONE_LEVEL, MANY], ids=["one level", "many levels"])
def test_denoiser_and_density_are_those_of_the_joint_law(t) -> None:
    density, x0 = zip(*map(brute, X, t), strict=True)
    x, at = jnp.asarray(X), jnp.asarray(t)
    np.testing.assert_allclose(oracles.mixture(NOISE, *LAW)(x, at, None), x0, rtol=1e-9)
    np.testing.assert_allclose(oracles.log_density(NOISE, *LAW)(x, at), density, rtol=1e-9)


@pytest.mark.parametrize("t", [ONE_LEVEL, MANY], ids=["one level", "many levels"])
def test_the_score_is_the_slope_of_the_density_and_what_the_denoiser_says(t) -> None:
    x, at = jnp.asarray(X), jnp.asarray(t)
    score, log_density = oracles.score(NOISE, *LAW)(x, at), oracles.log_density(NOISE, *LAW)
    np.testing.assert_allclose(score, jax.grad(lambda x: jnp.sum(log_density(x, at)))(x), rtol=1e-9)
    m = NOISE.coefficients(at)
    np.testing.assert_allclose(score, (m.alpha * oracles.mixture(NOISE, *LAW)(x, at, None) - x) / m.sigma**2, rtol=1e-9)


@pytest.mark.parametrize("t", [ONE_LEVEL, MANY], ids=["one level", "many levels"])
def test_any_shape_of_example_will_do(t) -> None:
    shaped = jnp.asarray(X.reshape(6, 2, 2)), jnp.asarray(t.reshape((6, 1, 1) if t is ONE_LEVEL else (6, 2, 2)))
    score, flat = oracles.score(NOISE, *LAW), (jnp.asarray(X), jnp.asarray(t))
    np.testing.assert_allclose(score(*shaped).reshape(6, D), score(*flat), rtol=1e-12)
    x0 = oracles.mixture(NOISE, *LAW)
    np.testing.assert_allclose(x0(*shaped, None).reshape(6, D), x0(*flat, None), rtol=1e-12)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_both_ends_of_time_are_finite(make) -> None:
    noise, x = Gaussian(make, predict.v), jnp.asarray(X)
    for t in (0.0, 1.0):
        for levels in (jnp.full((6, 1), t), jnp.full((6, D), t)):
            x0 = oracles.mixture(noise, *LAW)(x, levels, None)
            assert np.all(np.isfinite(oracles.score(noise, *LAW)(x, levels)))
            np.testing.assert_allclose(x0, x if t == 0 else x0, rtol=1e-9)
            assert np.all(np.isfinite(x0))


def test_the_density_is_a_density_at_every_level() -> None:
    x = jnp.linspace(-9, 9, 40_001)
    law = (LINE[0], LINE[1][:, None], LINE[2][:, None, None] ** 2)
    for t in (0.0, 0.1, 0.6, 1.0):
        p = jnp.exp(oracles.log_density(NOISE, *law)(x[:, None], jnp.full((len(x), 1), t)))
        np.testing.assert_allclose(jnp.sum(p) * (x[1] - x[0]), 1, rtol=1e-10)


MATRIX, Y, S = (
    np.array([[1.0, 0.5, 0, 0], [0, -1.0, 2.0, 0.3]]),
    np.array([0.4, -0.7]),
    np.array([[0.3, 0.1], [0.1, 0.2]]),
)


def test_the_posterior_conditions_each_joint_law() -> None:
    found = oracles.posterior(*LAW, MATRIX, Y, S)
    for k in range(K):
        joint = np.block([[COVS[k], COVS[k] @ MATRIX.T], [MATRIX @ COVS[k], MATRIX @ COVS[k] @ MATRIX.T + S]])
        precision = np.linalg.inv(joint)[:D, :D]
        np.testing.assert_allclose(found.covs[k], np.linalg.inv(precision), rtol=1e-9)
        pull = np.linalg.inv(joint)[:D, D:] @ (Y - MATRIX @ MEANS[k])
        np.testing.assert_allclose(found.means[k], MEANS[k] - np.linalg.solve(precision, pull), rtol=1e-9)
    likely = [multivariate_normal(MATRIX @ MEANS[k], MATRIX @ COVS[k] @ MATRIX.T + S).pdf(Y) for k in range(K)]
    np.testing.assert_allclose(found.weights, WEIGHTS * likely / np.sum(WEIGHTS * likely), rtol=1e-9)


def test_the_posterior_is_the_prior_weighed_by_the_likelihood() -> None:
    n = 200_000
    x = np.asarray(oracles.draws(keys(0, n), *LAW))
    weight = multivariate_normal(np.zeros(2), S).pdf(Y - x @ MATRIX.T)
    weight /= weight.sum()
    found = oracles.posterior(*LAW, MATRIX, Y, S)
    mean = found.weights @ found.means
    spread = np.sqrt(found.weights @ (np.diagonal(found.covs, axis1=1, axis2=2) + found.means**2) - mean**2)
    error = spread * np.sqrt(np.sum(weight**2))  # of as many draws as the weights are worth
    np.testing.assert_array_less(np.abs(weight @ x - mean), 4.5 * error)
    drawn = np.asarray(oracles.draws(keys(1, 20_000), *found))
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - mean), 4.5 * spread / 20_000**0.5)
    np.testing.assert_allclose(drawn.std(axis=0), spread, rtol=0.04)


def test_what_is_seen_without_noise_is_kept() -> None:
    found = oracles.posterior(*LAW, np.eye(D)[:2], Y, np.zeros((2, 2)))
    drawn = oracles.draws(keys(0, 100), *found)
    np.testing.assert_allclose(drawn[:, :2], np.broadcast_to(Y, (100, 2)), atol=1e-7)
    assert np.all(np.std(np.asarray(drawn[:, 2:]), axis=0) > 0.1)


def test_the_law_at_a_level_is_the_posterior_of_seeing_it() -> None:
    alpha, sigma = (float(a) for a in NOISE.schedule(jnp.asarray(0.4)))
    found = oracles.posterior(*LAW, alpha * np.eye(D), X[0], sigma**2 * np.eye(D))
    x0 = oracles.mixture(NOISE, *LAW)(jnp.asarray(X[:1]), jnp.full((1, 1), 0.4), None)
    np.testing.assert_allclose(found.weights @ found.means, x0[0], rtol=1e-9)


@pytest.mark.parametrize("make", few(SCHEDULES, "cosine", "edm"))
def test_the_quantile_map_keeps_quantiles_also_in_the_tails(make) -> None:
    noise = Gaussian(SCHEDULES[make], predict.v)
    move, far = oracles.quantile_map(noise, *LINE), oracles.quantile(noise, *LINE)
    p = jnp.array([[1e-30], [1e-9], [0.02], [0.3], [0.6], [0.97], [1 - 1e-9]])
    one, half, clean = (jnp.full((7, 1), t) for t in (1.0, 0.5, 0.0))
    x = far(p, one)
    np.testing.assert_allclose(move(x, one, half), far(p, half), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(move(x, one, clean), far(p, clean), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(move(move(x, one, half), half, one), x, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(move(x, half, half), x)
    z = (np.asarray(far(p, clean)) - LINE[1]) / LINE[2]
    np.testing.assert_allclose(logsumexp(np.log(LINE[0]) + log_ndtr(z), axis=1), np.log(p[:, 0]), atol=1e-6)


def test_the_quantile_map_solves_the_probability_flow_ode() -> None:
    """Against an adaptive solver of dx/dt = alpha' E[x0|x] + sigma' E[eps|x], to its tolerance."""
    denoise = jax.jit(oracles.mixture(NOISE, LINE[0], LINE[1][:, None], LINE[2][:, None, None] ** 2))

    def velocity(t: float, x: np.ndarray) -> np.ndarray:
        at, m = jnp.full((len(x), 1), t), NOISE.coefficients(jnp.asarray(t))
        x0 = np.asarray(denoise(jnp.asarray(x)[:, None], at, None))[:, 0]
        return m.d_alpha * x0 + m.d_sigma * (x - m.alpha * x0) / m.sigma

    start = np.array([-2.0, -0.6, 0.3, 1.7])
    found = solve_ivp(velocity, (0.9, 0.1), start, rtol=1e-7, atol=1e-8)
    exact = oracles.quantile_map(NOISE, *LINE)(jnp.asarray(start), 0.9, 0.1)
    np.testing.assert_allclose(found.y[:, -1], exact, atol=3e-6)


def test_the_slope_of_the_quantile_map_is_the_ratio_of_densities() -> None:
    x = jnp.array([-1.5, 0.1, 0.8])
    move = oracles.quantile_map(NOISE, *LINE)
    log_q = oracles.log_density(NOISE, LINE[0], LINE[1][:, None], LINE[2][:, None, None] ** 2)
    slope = jax.vmap(jax.grad(lambda x: move(x, jnp.asarray(0.9), jnp.asarray(0.3))))(x)
    ratio = jnp.exp(log_q(x[:, None], jnp.full((3, 1), 0.9)) - log_q(move(x, 0.9, 0.3)[:, None], jnp.full((3, 1), 0.3)))
    np.testing.assert_allclose(slope, ratio, rtol=1e-8)


def test_float32_is_served_too() -> None:
    with jax.enable_x64(False):
        x = oracles.quantile_map(NOISE, *LINE)(jnp.array([-9.0, -0.5, 0.4, 9.0]), 1.0, 0.0)
        again = oracles.quantile_map(NOISE, *LINE)(x, 0.0, 1.0)
    np.testing.assert_allclose(again, [-9.0, -0.5, 0.4, 9.0], atol=2e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: oracles.mixture(NOISE, WEIGHTS, MEANS, -COVS), "covariances"),
        (lambda: oracles.score(NOISE, WEIGHTS[:2], MEANS, COVS), r"weights \[k\]"),
        (lambda: oracles.log_density(NOISE, np.array([1.0, 0.0, 1.0]), MEANS, COVS), "weights"),
        (lambda: oracles.posterior(*LAW, MATRIX, Y, np.zeros((3, 3))), r"y \[m\]"),
        (lambda: oracles.posterior(*LAW, 0 * MATRIX, Y, 0 * S), "cov's diagonal"),
        (lambda: oracles.quantile_map(NOISE, LINE[0], LINE[1], LINE[2][:2]), r"shape \[k\]"),
        (lambda: oracles.quantile(NOISE, LINE[0], LINE[1], -LINE[2]), "^oracles"),
    ],
)
def test_what_is_no_law_is_refused(call, message) -> None:
    with pytest.raises(UserError, match=message):
        call()
