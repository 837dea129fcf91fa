"""A band that was not learnt is named by its levels; an exact model raises nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import oracles, predict, schedule
from diffjax.diagnostics import level_profile
from diffjax.diagnostics.by_noise_level import Examples
from diffjax.noise import Gaussian
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
COV = 0.3 * np.eye(4) + 0.7
EXACT = oracles.gaussian(NOISE, np.zeros(4), COV)
ROOT = np.linalg.cholesky(COV)
TRAIN, TEST = (jax.random.normal(jax.random.key(seed), (2048, 4)) @ ROOT.T for seed in (0, 1))


def profile(denoise):
    return level_profile.noise_level_profile(Examples(keys(0, len(TEST)), TEST, None), NOISE, denoise, TRAIN)


def test_an_exact_model_raises_nothing_and_is_the_linear_one_on_normal_data() -> None:
    found = profile(EXACT)
    assert level_profile.describe_alarms(found) == []
    np.testing.assert_allclose(found.error, found.linear, rtol=0.08)
    np.testing.assert_allclose(found.log_snr, np.linspace(-8, 8, 17), atol=1e-3)
    assert (found.error_se < 0.05 * found.error).all()
    assert (found.change[0], found.excess[0]) == (0, 0)


@pytest.mark.parametrize(("low", "high"), [(-2.5, -0.5), (1.5, 2.5), (4.5, 9.0)])
def test_an_untrained_band_is_named(low, high) -> None:
    """In it the model says nothing, which is a fresh net's answer."""

    def broken(x_t, t, cond):
        level = NOISE.log_snr(t)
        return jnp.where((level > low) & (level < high), 0, EXACT(x_t, t, cond))

    told = level_profile.describe_alarms(profile(broken))
    inside = [level for level in range(-8, 9) if low < level < high]
    where = f"at log-SNR {inside[0]:.1f}" if len(inside) == 1 else f"from log-SNR {inside[0]:.1f} to {inside[-1]:.1f}"
    assert where in told[0]
    assert sum("worse than" in line for line in told) == 1
    assert sum("predictions change by more" in line for line in told) == 1


def test_a_model_that_beats_the_linear_one_is_not_blamed() -> None:
    """Two points: the exact denoiser misses far less than any linear one."""
    two = np.stack([np.ones(4), -np.ones(4)])
    rows = jax.random.bernoulli(jax.random.key(2), shape=(2048,)).astype(int)
    x = jnp.asarray(two, jnp.float32)[rows] + 0.1 * jax.random.normal(jax.random.key(3), (2048, 4))
    exact = oracles.mixture(NOISE, np.ones(2), two, np.stack([1e-2 * np.eye(4)] * 2))
    found = level_profile.noise_level_profile(Examples(keys(0, 2048), x, None), NOISE, exact, x)
    assert level_profile.describe_alarms(found) == []
    assert found.error[8] < 0.5 * found.linear[8]
