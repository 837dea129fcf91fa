"""Each method follows its paper's formulas, is exact where the paper says so, and elsewhere as biased as is known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import diffjax as dj
from diffjax import edit, lab, oracles, order, predict
from diffjax.edit import gradient_guidance, projection
from diffjax.edit.observation import fresh_noise
from diffjax.edit.time_travel import jump_schedule
from diffjax.errors import UserError
from diffjax.utils.prng import fold

NOISE = dj.Gaussian(dj.schedule.cosine, predict.v)
T, S = 0.6, 0.5
SHAPE = (4,)
VALUES = jnp.array([0.5, -1.0, 0.3, 0.0])
STD = jnp.array([0.0, 0.2, 3.0, jnp.inf])
SEEN = edit.Observation(VALUES, STD)
X = jax.random.normal(jax.random.key(0), (3, *SHAPE))
KEYS = dj.keys(5, 3)


def level(t):
    return jnp.full((3, 1), t)


def half_of(x_t, t, cond):
    return 0.5 * x_t + 0.1 * jnp.roll(x_t, 1, axis=1)


def test_ddnm_of_exact_values_is_the_posterior_of_the_corrected_prediction() -> None:
    """Wang et al. 2023, algorithm 1."""
    exact = edit.Observation(VALUES, jnp.where(STD == 0, 0, jnp.inf))
    rule = projection.null_space_step()
    x, _ = rule.update(
        KEYS, NOISE, lambda x, t: projection.ObservedPrediction(half_of(x, t, None), exact), X, level(T), level(S), None
    )
    pred = half_of(X, None, None).at[:, 0].set(0.5)
    np.testing.assert_allclose(x, jax.vmap(NOISE.posterior)(fold(KEYS, 0), X, pred, level(T), level(S)), atol=1e-6)


def test_ddnm_adds_less_noise_where_the_measurement_has_noise() -> None:
    """DDNM+: the standard deviation of x_s, over measurements too, is the posterior's."""
    many = 20_000
    some, eps = dj.keys(0, many), jax.random.normal(jax.random.key(3), (many, 4))
    std = jnp.where(jnp.isfinite(STD), STD, 0)
    seen = edit.Observation(VALUES[None] + std[None] * eps, jnp.broadcast_to(STD, (many, 4)), batched=True)
    x_t = jnp.broadcast_to(X[:1], (many, 4))
    t, s = (jnp.full((many, 1), u) for u in (T, S))
    pred = half_of(x_t, t, None)
    x, _ = projection.null_space_step().update(
        some, NOISE, lambda *_: projection.ObservedPrediction(pred, seen), x_t, t, s, None
    )
    np.testing.assert_allclose(x.std(axis=0), projection.fresh_noise_std(NOISE, t, s)[0, 0], rtol=0.03)


def test_ddrm_has_its_three_cases() -> None:
    """Kawar et al. 2022, eq. 8, with x_t = alpha times their x̄_t and eta = 0, so that only seen noise is random."""
    rule = projection.spectral_step(0.0, 1.0)
    pred = half_of(X, None, None)
    x, _ = rule.update(KEYS, NOISE, lambda x, t: projection.ObservedPrediction(pred, SEEN), X, level(T), level(S), None)
    m, n = NOISE.coefficients(jnp.asarray(S)), fresh_noise(KEYS, X)
    bar = m.sigma / m.alpha
    right = [
        m.alpha * (VALUES[0] + bar * n[:, 0]),
        m.alpha * (VALUES[1] + jnp.sqrt(bar**2 - 0.04) * n[:, 1]),
        m.alpha * (pred[:, 2] + bar * (VALUES[2] - pred[:, 2]) / 3.0),
        m.alpha * (pred[:, 3] + bar * NOISE.eps(X, pred, level(T))[:, 3]),
    ]
    np.testing.assert_allclose(x, jnp.stack(right, axis=1), atol=1e-5)


@pytest.mark.parametrize("t", [1.0, 0.7, 0.2, 0.0])
def test_pigdm_is_exact_for_white_data(t) -> None:
    """x0 ~ N(0, 2²): E[x0 | x_t, values] is in every coordinate a mean weighted by precisions."""
    noise = dj.Gaussian(dj.schedule.cosine, predict.v, data_std=2.0)
    white = oracles.gaussian(noise, np.zeros(4), 4.0 * np.eye(4))
    found = gradient_guidance.reconstruct(noise, SEEN, white, X, level(t), None)
    alpha, sigma = (float(a) for a in noise.schedule(jnp.asarray(t)))
    prior = 0.25 + (alpha / sigma) ** 2 if sigma else np.inf
    for i, std in enumerate(np.asarray(STD)):
        mean = 4 * alpha / (4 * alpha**2 + sigma**2) * X[:, i]
        more = 1 / std**2 if std else np.inf
        weight = 1.0 if std == 0 else more / (prior + more)
        np.testing.assert_allclose(found.guided[:, i], (1 - weight) * mean + weight * float(VALUES[i]), atol=1e-5)


def test_dps_moves_down_the_norm_of_the_measurement_error() -> None:
    exact = edit.Observation(VALUES, jnp.where(STD == 0, 0, jnp.inf))
    _, move = gradient_guidance.predict_with_gradient(exact, 0.3, Partial(half_of), X, level(T), None)
    gap = VALUES[0] - half_of(X, None, None)[:, 0]
    slope = np.array([0.5, 0, 0, 0.1])  # of the prediction's first number
    np.testing.assert_allclose(move, 0.3 * np.sign(gap)[:, None] * slope[None], atol=1e-6)


def test_the_jump_schedule_of_repaint_is_the_papers() -> None:
    """Lugmayr et al. 2022, appendix B: after each jump of steps down it goes up as many, r - 1 times."""
    np.testing.assert_array_equal(jump_schedule(5, 2, 2), [0, 1, 2, 0, 1, 2, 3, 4, 2, 3, 4, 5])
    np.testing.assert_array_equal(jump_schedule(3, 1, 2), [0, 1, 2, 3])
    path = jump_schedule(50, 10, 10)
    np.testing.assert_array_equal(np.unique(np.diff(path)), [-10, 1])
    assert np.sum(np.diff(path) == -10) == 9 * 4  # from 1, 11, 21 and 31 steps before the end
    assert path[-1] == 50
    assert path.min() == 0


PAIR = np.array([[1.0, 0.8], [0.8, 1.0]])
FIRST = np.array([True, False])


def first_known(x):
    return edit.inpaint(x, FIRST, batched=True)


@pytest.mark.parametrize("noise_std", [0.0, 0.5])
def test_particles_have_the_posterior_mean_and_evidence(noise_std) -> None:
    """Of 16 filters of 256 particles: means to their scatter, and log N(1; 0, 1 + noise²) as evidence."""
    seen = edit.inpaint(jnp.array([1.0, 0.0]), FIRST, noise_std=noise_std)
    denoise = oracles.gaussian(NOISE, np.zeros(2), PAIR)
    it = edit.particles(dj.keys(0, 16), NOISE, order.together, denoise, seen, steps=60, count=256)
    weights = np.exp(it.log_weights)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-4)
    assert bool(jnp.all((it.effective_sample_size >= 1) & (it.effective_sample_size <= 256.1)))
    means = np.einsum("bp,bpd->bd", weights, it.x)
    var = 1 + noise_std**2
    tight = means.std(axis=0) / 4 * 4.5 + 0.01  # 4.5 standard errors, and the steps
    assert np.all(np.abs(means.mean(axis=0) - np.array([1.0, 0.8]) / var) <= tight)
    evidence = -0.5 / var - 0.5 * np.log(2 * np.pi * var)
    np.testing.assert_allclose(it.log_evidence.mean(), evidence, atol=4.5 * float(it.log_evidence.std()) / 4 + 0.02)
    if not noise_std:
        np.testing.assert_array_equal(it.x[:, :, 0], 1)


def test_clamp_is_exact_and_replacement_biased() -> None:
    """For two modes that the measurement cannot tell apart, to the limits of 99.9 % of sets of exact draws."""
    task = lab.PosteriorTask(lab.three_modes(2), first_known, (2,), observations=2, draws=400)
    report = lab.posteriors({"clamp": edit.clamp(), "replacement": edit.replacement()}, task, steps=150)
    assert report.exact == ("clamp",), report
    assert "replacement" in str(report)
    assert report.rows["replacement"].mean > 3 * report.allowed.mean


def test_a_wrong_argument_of_posteriors_is_named() -> None:
    task = lab.PosteriorTask(lab.three_modes(2), first_known, (2,))
    with pytest.raises(UserError, match="noise"):
        lab.posteriors({}, task, noise=dj.Masking(3))
    with pytest.raises(UserError, match="shape"):
        replace(task, shape=(3,))
