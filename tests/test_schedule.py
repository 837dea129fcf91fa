"""Schedules: their ends, their derived quantities and the laws of their transforms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import BETAS
from every_schedule import SCHEDULES as ALL
from quickly import few

from diffjax import schedule
from diffjax.errors import UserError

VARIANCE_PRESERVING = ["cosine", "linear_beta", "discrete", "shifted_cosine", "shifted_linear_beta", "zero_terminal"]


@pytest.mark.parametrize("name", ALL)
def test_data_is_untouched_at_zero_and_snr_falls(name: str) -> None:
    t = jnp.linspace(0.0, 1.0, 401)
    alpha, sigma = ALL[name](t)
    assert alpha[0] == 1
    assert sigma[0] == 0
    assert bool(jnp.all(jnp.isfinite(alpha) & jnp.isfinite(sigma) & (alpha >= 0)))
    assert bool(jnp.all(jnp.diff(schedule.log_snr(ALL[name], t)) < 0))


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_variance_is_preserved(name: str) -> None:
    alpha, sigma = ALL[name](jnp.linspace(0.0, 1.0, 101))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=1e-6)


@pytest.mark.parametrize("name", ["cosine", "flow", "zero_terminal"])
def test_nothing_is_left_at_one(name: str) -> None:
    assert ALL[name](jnp.ones(()))[0] == 0


@pytest.mark.parametrize("name", ALL)
def test_slope_is_the_difference_quotient(name: str) -> None:
    with jax.enable_x64(True):
        t = jnp.linspace(0.05, 0.95, 37) + 1e-4  # between the knots of the discrete chain
        m, h = schedule.coefficients(ALL[name], t), 1e-6
        low, high = ALL[name](t - h), ALL[name](t + h)
        np.testing.assert_allclose(m.d_alpha, (high[0] - low[0]) / (2 * h), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(m.d_sigma, (high[1] - low[1]) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("low", "high"), [(0.1, 20.0), (0.3, 7.0)])
def test_beta_goes_evenly_from_its_least_to_its_most(low: float, high: float) -> None:
    """beta(t) = -2 d log alpha/dt is low at t = 0, high at t = 1 and linear between them (edm#5)."""
    t = jnp.linspace(0.0, 1.0, 5)
    m = schedule.coefficients(schedule.linear_beta_of(low, high), t)
    np.testing.assert_allclose(-2 * m.d_alpha / m.alpha, np.linspace(low, high, 5), rtol=1e-5)
    assert schedule.linear_beta_of(0.1, 20.0) is schedule.linear_beta


@pytest.mark.parametrize("name", ALL)
def test_inverse_undoes_log_snr(name: str) -> None:
    t = jnp.array([1e-4, 0.01, 0.3, 0.5, 0.9, 0.999])
    np.testing.assert_allclose(schedule.time_of_log_snr(ALL[name], schedule.log_snr(ALL[name], t)), t, rtol=2e-4)


@pytest.mark.parametrize("name", few(ALL, "cosine", "edm", "discrete"))
def test_inverse_has_the_inverse_slope(name: str) -> None:
    """By the implicit function theorem, under vmap, forwards and backwards; none beyond the ends."""
    t = jnp.linspace(0.1, 0.9, 5)
    back = jax.vmap(jax.grad(partial(schedule.time_of_log_snr, ALL[name])))(schedule.log_snr(ALL[name], t))
    slope = jax.vmap(jax.grad(partial(schedule.log_snr, ALL[name])))(t)
    np.testing.assert_allclose(back * slope, 1, rtol=2e-3)
    assert jax.grad(partial(schedule.time_of_log_snr, ALL[name]))(jnp.asarray(-1e3)) == 0


def test_inverse_stops_at_the_ends() -> None:
    ends = schedule.time_of_log_snr(schedule.linear_beta, jnp.array([1e3, -1e3]))
    np.testing.assert_allclose(ends, [0, 1], atol=1e-7)


@pytest.mark.parametrize("name", ["cosine", "flow", "edm", "linear_beta"])
def test_shifts_are_a_group(name: str) -> None:
    t = jnp.linspace(0.0, 1.0, 21)
    twice = schedule.shift(schedule.shift(ALL[name], 2.0), 3.5)(t)
    np.testing.assert_allclose(twice, schedule.shift(ALL[name], 7.0)(t), rtol=1e-5, atol=1e-6)
    back = schedule.shift(schedule.shift(ALL[name], 4.0), 0.25)(t)
    np.testing.assert_allclose(back, ALL[name](t), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["cosine", "flow", "edm", "linear_beta"])
def test_shift_moves_log_snr_by_twice_the_log_factor(name: str) -> None:
    t = jnp.linspace(0.1, 0.9, 9)
    moved = schedule.log_snr(schedule.shift(ALL[name], 3.0), t)
    np.testing.assert_allclose(moved, schedule.log_snr(ALL[name], t) - 2 * np.log(3), rtol=1e-5, atol=1e-5)


def test_shifted_flow_is_flow_on_a_bent_clock() -> None:
    t = jnp.linspace(0.0, 1.0, 21)
    _, sigma = schedule.shift(schedule.flow, 3.0)(t)
    np.testing.assert_allclose(sigma, 3 * t / (1 + 2 * t), rtol=1e-6)


def test_discrete_passes_through_the_chain() -> None:
    with jax.enable_x64(True):
        alpha, _ = ALL["discrete"](jnp.arange(1, 1001) / 1000)
        np.testing.assert_allclose(alpha**2, np.cumprod(1 - np.array(BETAS)), rtol=1e-10)


def test_discrete_may_end_in_pure_noise() -> None:
    alpha, sigma = schedule.discrete([0.1, 0.5, 1.0])(jnp.array([0.0, 2 / 3, 1.0]))
    np.testing.assert_allclose(alpha**2, [1, 0.45, 0], atol=1e-6)
    np.testing.assert_allclose(sigma**2, [0, 0.55, 1], atol=1e-6)


def test_edm_is_the_karras_ramp_above_sigma_min() -> None:
    t = np.linspace(0, 1, 11)
    ramp = (0.002 ** (1 / 7) + t * (80.002 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    np.testing.assert_allclose(schedule.edm(jnp.asarray(t))[1], ramp - 0.002, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(schedule.edm_of(rho=1.0)(jnp.asarray(t))[1], 80 * t, rtol=1e-5)


def test_a_zero_terminal_schedule_is_made_of_one_that_preserves_variance() -> None:
    with pytest.raises(UserError, match="zero_terminal"):
        schedule.zero_terminal(schedule.flow)
