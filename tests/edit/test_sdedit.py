"""SDEdit: what a strength means, how much of the image it keeps, and that an example depends on its key alone."""

import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES

from diffjax import edit, grids, oracles, order, predict, schedule, steps
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
TOKENS = Masking(vocab=2)
MEAN, COV = np.array([0.5, -1.0]), np.array([[1.0, 0.6], [0.6, 0.5]])
DENOISE = oracles.gaussian(NOISE, MEAN, COV)
X0 = jnp.asarray(np.random.default_rng(0).multivariate_normal(MEAN, COV, 64), jnp.float32)
TOKEN_DENOISE = oracles.joint(TOKENS, np.full((2,) * 6, 1 / 64))


def varied(strength: float, x0=X0, keys_=None, step=None) -> np.ndarray:
    some = keys(0, len(x0)) if keys_ is None else keys_
    step = step or steps.ddim()
    return np.asarray(edit.vary(some, NOISE, order.together, DENOISE, x0, strength=strength, steps=20, step=step))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_strength_is_the_same_noise_under_every_schedule(name) -> None:
    """Up to the end of the schedule."""
    noise = Gaussian(SCHEDULES[name], predict.v)
    strengths = np.array([0.05, 0.3, 0.5, 0.75, 1.0])
    clock = jnp.asarray([edit.strength_to_time(noise, w) for w in strengths])
    last = float(noise.log_snr(jnp.ones(())))
    expected = np.maximum(10 - 20 * strengths, last)
    expected[-1] = last
    np.testing.assert_allclose(noise.log_snr(clock), expected, rtol=1e-3, atol=2e-3)
    assert clock[-1] == 1


def test_half_of_all_tokens_are_masked_at_one_half() -> None:
    assert edit.strength_to_time(TOKENS, 0.5) == pytest.approx(0.5, abs=1e-6)


def test_strength_1_is_unconditional_sampling() -> None:
    samples = sample(keys(0, 64), NOISE, order.together, DENOISE, (2,), steps=20, step=steps.ddim())
    np.testing.assert_allclose(varied(1.0), samples, atol=1e-5)
    np.testing.assert_array_equal(varied(1.0, X0 + 5), varied(1.0))


def test_distance_grows_with_the_strength_from_0() -> None:
    distances = [np.sqrt(np.mean((varied(w) - X0) ** 2)) for w in (0.01, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert all(np.diff(distances) > 0), distances
    assert distances[0] < 0.02
    np.testing.assert_allclose(varied(1e-6), X0, atol=0.04)  # six times the noise that is left at log-SNR 10


def test_the_data_distribution_is_invariant() -> None:
    """Data noised and exactly denoised are distributed as before: here to 4.5 standard errors."""
    n = 4_096
    x0 = jnp.asarray(np.random.default_rng(1).multivariate_normal(MEAN, COV, n), jnp.float32)
    x = edit.vary(keys(0, n), NOISE, order.together, DENOISE, x0, strength=0.5, steps=200)
    np.testing.assert_allclose(np.mean(x, axis=0), MEAN, atol=4.5 / n**0.5)
    np.testing.assert_allclose(np.cov(np.asarray(x).T), COV, atol=4.5 * (2 / n) ** 0.5 + 0.01)


def test_an_example_depends_on_its_key_alone() -> None:
    some = keys(0, 64)
    stochastic = steps.posterior()
    whole = varied(0.6, step=stochastic)
    np.testing.assert_allclose(varied(0.6, X0[3:5], some[3:5], stochastic), whole[3:5], atol=1e-5)
    again = varied(0.6, X0[:1].repeat(2, 0), some[:2])
    assert np.abs(again[0] - again[1]).max() > 1e-3


def test_masked_tokens_are_sampled_anew() -> None:
    tokens = jnp.ones((400, 6), jnp.int32)
    masked = edit.noise_to(keys(0, 400), TOKENS, order.together, tokens, edit.strength_to_time(TOKENS, 0.5)) == 2
    assert abs(float(jnp.mean(masked)) - 0.5) < 4.5 * 0.5 / 2400**0.5
    x = edit.vary(keys(0, 400), TOKENS, order.together, TOKEN_DENOISE, tokens, strength=0.5, steps=6)
    np.testing.assert_array_equal(np.asarray(x)[~np.asarray(masked)], 1)
    assert abs(float(jnp.mean(x[masked])) - 0.5) < 4.5 * 0.5 / 1200**0.5


@pytest.mark.parametrize("which", ["raster", "shuffled"])
def test_in_an_order_the_last_positions_are_sampled_anew(which) -> None:
    tokens = jnp.ones((40, 6), jnp.int32)
    position_order = getattr(order, which)
    start = edit.noise_to(keys(0, 40), TOKENS, position_order, tokens, 0.5)
    np.testing.assert_array_equal(jnp.sum(start == 2, axis=1), 3)
    if which == "raster":
        np.testing.assert_array_equal(start[:, :3], 1)
    x = edit.vary(keys(0, 40), TOKENS, position_order, TOKEN_DENOISE, tokens, strength=0.5, steps=6)
    assert set(np.unique(x)) == {0, 1}
    np.testing.assert_array_equal(x[start == 1], 1)


def test_a_grid_is_cut_at_its_start() -> None:
    grid = grids.uniform(NOISE, 4)
    np.testing.assert_allclose(edit.truncate_grid(grid, 0.6), [0.6, 0.5, 0.25, 0])
    np.testing.assert_array_equal(edit.truncate_grid(grid, 0.5), [0.5, 0.25, 0])
    np.testing.assert_array_equal(edit.truncate_grid(grid, 1.0), grid)
    with pytest.raises(UserError, match="strength"):
        edit.truncate_grid(jnp.asarray([1.0, 0.1]), 0.05)


def test_a_hook_keeps_what_it_sets() -> None:
    def hook(keys, x, pred, t, s):
        return jnp.where((s == 0) & jnp.asarray([[False, True]]), X0, x)

    x = edit.vary(keys(0, 64), NOISE, order.together, DENOISE, X0 + 3, strength=0.5, steps=20, hook=hook)
    np.testing.assert_array_equal(x[:, 1], X0[:, 1])


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.01, float("nan")])
def test_a_strength_out_of_range_is_refused(strength) -> None:
    with pytest.raises(UserError, match="strength"):
        edit.strength_to_time(NOISE, strength)
