"""The Gaussian noise: its moments, its posterior by conditioning a joint normal, its bound as a divergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import predict, schedule
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.utils.prng import keys

ROWS = [predict.x0, predict.eps, predict.v, predict.velocity, predict.score, predict.edm]
LINEAR = [Gaussian(schedule.linear_beta, row, data_std=0.7) for row in ROWS]


def given(alpha: float, sigma: float) -> Gaussian:
    """A noise that is (alpha, sigma) at every t > 0: any pair of numbers can be tried."""
    return Gaussian(lambda t: (jnp.where(t > 0, alpha, 1.0), jnp.where(t > 0, sigma, 0.0)), predict.x0)


def conditioned(noise: Gaussian, t: float, s: float, x_t: float, x0: float) -> tuple[float, float]:
    """Mean and variance of x_s given x_t and x0, for the chain x_0 → x_s → x_t, from its 2×2 joint normal."""
    (a_t, v_t), (a_s, v_s) = (
        [float(value) for value in noise.schedule(jnp.asarray(time, jnp.float64))] for time in (t, s)
    )
    joint = np.array([[v_s**2, a_t / a_s * v_s**2], [a_t / a_s * v_s**2, v_t**2]])
    gain = joint[0, 1] / joint[1, 1]
    return a_s * x0 + gain * (x_t - a_t * x0), joint[0, 0] - gain * joint[1, 0]


@pytest.mark.parametrize("noise", LINEAR, ids=lambda noise: noise.parameterization.name)
def test_corrupt_then_read_gives_the_data_back(noise) -> None:
    x0 = jnp.linspace(-1.0, 1.0, 24).reshape(4, 6)
    for t in (0.05, 0.5, 0.95):
        x_t, target = noise.corrupt(jax.random.key(0), x0, jnp.full((1, 1), t))
        np.testing.assert_allclose(noise.read(target, x_t, jnp.full((1, 1), t)), x0, atol=2e-4)


def test_feed_has_unit_variance_at_every_level() -> None:
    noise = Gaussian(schedule.edm, predict.edm, data_std=0.5)
    x0 = 0.5 * jax.random.normal(jax.random.key(0), (200_000, 1))
    for t in (0.0, 0.3, 0.6, 1.0):
        x_t, target = noise.corrupt(jax.random.key(1), x0, jnp.full((1, 1), t))
        assert abs(float(jnp.std(noise.feed(x_t, jnp.full((1, 1), t)))) - 1) < 0.01
        assert abs(float(jnp.std(target)) - 1) < 0.01  # and so has EDM's target


def test_level_is_the_noise_whatever_the_clock() -> None:
    flow, shifted = (Gaussian(s, predict.v) for s in (schedule.flow, schedule.shift(schedule.flow, 3.0)))
    t = jnp.linspace(0.0, 1.0, 11)
    assert flow.level(t)[0] == 0
    np.testing.assert_allclose(flow.level(t)[-1], 1, rtol=1e-6)
    np.testing.assert_allclose(flow.level(3 * t / (1 + 2 * t)), shifted.level(t), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("t", "s"), [(0.9, 0.6), (0.5, 0.1), (0.2, 0.19)])
def test_posterior_is_the_conditional_of_the_joint(t, s) -> None:
    with jax.enable_x64(True):
        noise = Gaussian(schedule.cosine, predict.v)
        mean, variance = conditioned(noise, t, s, x_t=0.4, x0=-0.3)
        n = 100_000
        draws = noise.posterior(
            jax.random.key(0), jnp.full((n,), 0.4), jnp.full((n,), -0.3), jnp.array([t]), jnp.array([s])
        )
        spread = variance**0.5
        assert abs(float(jnp.mean(draws)) - mean) < 4.5 * spread / n**0.5  # false alarm: 7e-6
        assert abs(float(jnp.std(draws)) / spread - 1) < 4.5 / (2 * n) ** 0.5


def test_posterior_keeps_what_does_not_move_and_ends_in_the_prediction() -> None:
    noise, x, pred = Gaussian(schedule.flow, predict.v), jnp.array([0.3, -2.0]), jnp.array([0.1, 0.2])
    at = [jnp.array([value]) for value in (0.0, 0.5, 1.0)]
    for t in at:
        np.testing.assert_array_equal(noise.posterior(jax.random.key(0), x, pred, t, t), x)
    np.testing.assert_array_equal(noise.posterior(jax.random.key(0), x, pred, at[1], at[0]), pred)


def test_bound_is_the_divergence_between_posteriors() -> None:
    """KL of q(x_s|x_t,x0) from q(x_s|x_t,pred): equal variances, so (difference of means)² / (2 variance)."""
    with jax.enable_x64(True):
        noise = Gaussian(schedule.cosine, predict.v)
        t, s, x_t, x0, pred = 0.7, 0.4, 0.2, 0.9, 0.35
        mean, variance = conditioned(noise, t, s, x_t, x0)
        other, _ = conditioned(noise, t, s, x_t, pred)
        args = [jnp.array([value]) for value in (x0, pred, x_t, t, s)]
        np.testing.assert_allclose(noise.bound(*args), (mean - other) ** 2 / (2 * variance), rtol=1e-9)


def test_log_snr_and_weights_are_finite_at_both_ends() -> None:
    ends = jnp.array([0.0, 1.0])
    for noise in LINEAR:
        assert bool(jnp.all(jnp.isfinite(noise.log_snr(ends)) & jnp.isfinite(noise.log_weight(ends))))


@pytest.mark.parametrize("row", [predict.eps, predict.score], ids=["eps", "score"])
@pytest.mark.parametrize("make", [schedule.cosine, schedule.flow])
def test_rows_that_need_signal_are_refused_without(row, make) -> None:
    with pytest.raises(UserError, match=r"alpha\(1\)"):
        Gaussian(make, row)


def test_a_denoiser_is_a_pytree_of_its_weights() -> None:
    class Scale:
        def init(self, key, x, level, cond):
            return {"params": jnp.ones(())}

        def apply(self, variables, x, level, cond):
            return variables["params"] * x

    noise, net = Gaussian(schedule.flow, predict.x0), Scale()
    traced = 0

    @jax.jit
    def run(denoise, x, t):
        nonlocal traced
        traced += 1
        return denoise(x, t, None)

    x, t = jnp.ones((2, 3)), jnp.zeros((2, 1))
    for weight in (1.0, 2.0):
        np.testing.assert_allclose(run(denoiser(noise, net, {"params": jnp.asarray(weight)}), x, t), weight)
    assert traced == 1


def test_prior_has_the_spread_of_the_last_level() -> None:
    noise = Gaussian(schedule.edm, predict.edm)
    draws = jax.vmap(lambda key: noise.prior(key, (3,)))(keys(0, 20_000))
    assert abs(float(jnp.std(draws)) / 80 - 1) < 0.02
