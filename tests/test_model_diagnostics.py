"""What is told of a model along its sampler's way and by its training, held to closed forms."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import ndtri

from diffjax import oracles, order, predict, schedule
from diffjax.commands import diagnostic_curves, image_sampler, model_diagnostics
from diffjax.denoising import denoiser
from diffjax.experiment import build
from diffjax.experiment.config import Sample, Train
from diffjax.experiment.data_spec import DataSpec
from diffjax.nets import MLP
from diffjax.noise import Gaussian

NOISE = Gaussian(schedule.cosine, predict.v)
FACTS = DataSpec((4, 4, 1), 0, (), 17, (), "unit")
SETTINGS = Sample(sampler="heun", grid="uniform", steps=40)
NET = MLP(width=8, depth=1)
MODEL = build.ModelParts(NOISE, order.together, NET)
TRAIN, TEST = (np.random.default_rng(seed).integers(0, 17, (256, 4, 4, 1), dtype=np.uint8) for seed in (0, 1))


def judged(denoise, sampler="heun", trained=None):
    painter = image_sampler.build_image_sampler(denoise, MODEL, FACTS, replace(SETTINGS, sampler=sampler))
    held = model_diagnostics.encode_held_out(painter, TRAIN, (TEST, None), 0)
    path, local_errors = model_diagnostics.prediction_path(held)
    return painter, path, local_errors, model_diagnostics.training_weights(held, denoise, trained)


@pytest.fixture(scope="module")
def net():
    example = jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 1, 1, 1)), None
    return denoiser(NOISE, NET, jax.jit(NET.init)(jax.random.key(0), *example))


def test_an_exact_model_believes_what_the_formula_says_at_every_step() -> None:
    """Of N(m, v) the spread of E[x0 | x_t] is alpha v / √(alpha² v + sigma²), and its mean m, at each noise level."""
    m, v = 0.25, 0.4
    flat = oracles.gaussian(NOISE, np.full(16, m), v * np.eye(16))

    def exact(x_t, t, cond):
        return flat(x_t.reshape(-1, 16), t.reshape(-1, 1), cond).reshape(x_t.shape)

    painter, path, _, weights = judged(exact)
    moment = NOISE.coefficients(painter.grid[:-1])
    right = moment.alpha * v / np.sqrt(moment.alpha**2 * v + moment.sigma**2)
    np.testing.assert_allclose(path.spread, right, atol=4 * v**0.5 / (2 * 64 * 16) ** 0.5)
    np.testing.assert_allclose(path.mean, m, atol=4 * v**0.5 / (64 * 16) ** 0.5)
    beyond = path.outside[-1]  # at the last step it believes in x0 itself: outside of -1 … 1
    normal = jax.scipy.stats.norm
    chance = float(1 - normal.cdf((1 - m) / v**0.5) + normal.cdf((-1 - m) / v**0.5))
    assert beyond == pytest.approx(chance, abs=4 * (chance / (64 * 16)) ** 0.5)
    assert path.of_data == pytest.approx((0, (2 / 16) * np.sqrt((17**2 - 1) / 12)), abs=0.05)
    assert weights is None


def test_the_weight_of_training_per_log_snr_is_the_formulas(net) -> None:
    """Of v under cosine: 1/sigma² = 1 + SNR on the error of x0, and levels have the density alpha sigma / π."""
    by_level = build.build_loss_by_level(build.ModelParts(NOISE, order.together, NET), Train())
    *_, weights = judged(net, trained=by_level)
    log_snr, weight, shares = weights
    np.testing.assert_allclose(weight, np.exp(log_snr / 2) / np.pi, rtol=1e-4)
    inside = [share.log_snr[0] < at < share.log_snr[1] for share, at in zip(shares, log_snr, strict=True)]
    assert all(inside)
    assert list(diagnostic_curves.training_weight_curves(weights)) == ["shares", "weight"]


@pytest.mark.long
def test_another_weight_and_other_times_are_those_of_the_training(net) -> None:
    """min-SNR on EDM's levels: min(SNR, 5) times the normal density of log(sigma/alpha), which is half per log-SNR."""
    by_level = build.build_loss_by_level(MODEL, Train(weight="min_snr", times="log_normal(mean=-1.0, std=0.5)"))
    *_, weights = judged(net, trained=by_level)
    log_snr, weight, _ = weights
    z = (-log_snr / 2 + 1.0) / 0.5
    np.testing.assert_allclose(
        z, ndtri((model_diagnostics.BINS - 0.5 - np.arange(model_diagnostics.BINS)) / model_diagnostics.BINS), atol=1e-4
    )
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / 0.5 / 2
    np.testing.assert_allclose(weight, np.minimum(np.exp(log_snr), 5) * density, rtol=1e-3)


def test_losses_without_levels_have_no_such_curves() -> None:
    assert build.build_loss_by_level(MODEL, Train(loss="bound")) is None


def test_the_profile_of_a_model_is_curves(net) -> None:
    painter = image_sampler.build_image_sampler(net, MODEL, FACTS, SETTINGS)
    held = model_diagnostics.encode_held_out(painter, TRAIN, (TEST, None), 0)
    profile = model_diagnostics.profile_by_level(held, net)
    assert list(diagnostic_curves.level_curves(profile)) == ["levels", "agreement"]


def test_a_sampler_that_draws_at_random_has_no_local_error(net) -> None:
    _, path, local_errors, _ = judged(net, sampler="posterior")
    assert local_errors is None
    assert list(diagnostic_curves.step_curves(path, local_errors)) == ["belief"]
