"""Projection methods for inverse problems (DDNM, DDRM): measured coordinates replace those of the predicted x0."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array

from diffjax.edit.observation import Observation, fresh_noise, pin_hook
from diffjax.edit.solver import Method, Problem, sample_posterior
from diffjax.errors import UserError
from diffjax.protocols import Cond, Denoise, GaussianNoise, Keys, Level, Sample, Step
from diffjax.steps.ancestral import no_carry, square_root
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import memoize_by_arguments


class ObservedPrediction(NamedTuple):
    """The prediction of x0, and the observation."""

    x0: Sample
    observation: Observation


ObservedDenoise = Callable[[Sample, Level], ObservedPrediction]


def _sample_with_observation(step: Step, problem: Problem) -> Sample:
    denoise = Partial(_predict_with_observation, problem.observation, as_pytree(problem.denoise))
    return sample_posterior(problem, denoise, pin_hook(problem.observation), step)


def _predict_with_observation(
    observation: Observation, inner: Denoise, x_t: Sample, t: Level, cond: Cond
) -> ObservedPrediction:
    return ObservedPrediction(inner(x_t, t, cond), observation)


@memoize_by_arguments
def ddnm() -> Method:
    """Measured coordinates of the prediction are replaced by their values (Wang et al. 2023, DDNM, algorithm 1).

    With measurement noise they move towards the values only as far as the step's own noise covers it, and less noise is
    added (DDNM+, eq. 17 to 19). Ancestral sampling; for exact observations any step rule. 1 evaluation a step.
    """
    return Method("ddnm", _ddnm, noisy=True)


def _ddnm(problem: Problem) -> Sample:
    if problem.step is None:
        return _sample_with_observation(null_space_step(), problem)
    problem.observation.check_exact(f"ddnm with step {problem.step.name} in place of its own")
    denoise = Partial(_replace_observed, problem.observation, as_pytree(problem.denoise))
    return sample_posterior(problem, denoise, pin_hook(problem.observation))


def _replace_observed(observation: Observation, inner: Denoise, x_t: Sample, t: Level, cond: Cond) -> Sample:
    values, std = observation.batched_values()
    return observation.replace_coordinates(inner(x_t, t, cond), values, std == 0)


@memoize_by_arguments
def null_space_step() -> Step:
    """x_s ~ N(a x̂ + b x_t, c²), the posterior with x̂ = x0 + λ (values - x0), λ = min(1, c/(a std)) where measured.

    The noise of the values contributes (a λ std)² to the variance; the rest, c² - (a λ std)², is drawn.
    """

    def update(
        keys: Keys, noise: GaussianNoise, denoise: ObservedDenoise, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        x0, observation = denoise(x, t)
        values, std = observation.batched_values()
        c = fresh_noise_std(noise, t, s)
        value_std = x0_coefficient(noise, t, s) * jnp.where(jnp.isfinite(std), std, 0)
        share = jnp.where(value_std > c, c / jnp.where(value_std > c, value_std, 1), 1) * jnp.isfinite(std)
        z_t = observation.to_coordinates(x)
        z0 = observation.to_coordinates(x0)
        z0 = z0 + share * (values - z0)
        added = square_root(c**2 - (share * value_std) ** 2) * fresh_noise(keys, x)
        return observation.from_coordinates(posterior_mean(noise, z_t, z0, t, s) + added), carry

    return Step(no_carry, update, stochastic=True, needs=GaussianNoise, prediction_type=ObservedPrediction)


def posterior_mean(noise: GaussianNoise, x_t: Sample, x0: Sample, t: Level, s: Level) -> Sample:
    """E[x_s | x_t, x0] = alpha_s x0 + rho sigma_s eps, rho the correlation of the noises at t and s."""
    m = noise.coefficients(s)
    return m.alpha * x0 + m.sigma * noise.noise_correlation(t, s) * noise.eps(x_t, x0, t)


def x0_coefficient(noise: GaussianNoise, t: Level, s: Level) -> Array:
    """The coefficient of x0 in E[x_s | x_t, x0]: alpha_s - rho sigma_s alpha_t / sigma_t."""
    at_t = noise.coefficients(t)
    at_s = noise.coefficients(s)
    sigma_t = jnp.where(at_t.sigma > 0, at_t.sigma, 1)
    return at_s.alpha - noise.noise_correlation(t, s) * at_s.sigma * at_t.alpha / sigma_t


def fresh_noise_std(noise: GaussianNoise, t: Level, s: Level) -> Array:
    """The standard deviation of x_s given x_t and x0: sigma_s √(1 - rho²)."""
    return noise.coefficients(s).sigma * square_root(1 - noise.noise_correlation(t, s) ** 2)


@memoize_by_arguments
def ddrm(eta: float = 0.85, eta_b: float = 1.0) -> Method:
    """Each coordinate is sampled by its own noise level and that of its measurement (Kawar et al. 2022, DDRM).

    `eta` is the share of fresh noise in the other coordinates, `eta_b` the weight of the measurement (eq. 7, 8). Has
    its own step rule, of 1 evaluation. Raises UserError for values out of [0, 1].
    """
    for name, value in (("eta", eta), ("eta_b", eta_b)):
        if not 0 <= value <= 1:
            raise UserError(f"ddrm: {name} must be in [0, 1], got {value}; the paper has eta=0.85 and eta_b=1")
    draw = functools.partial(_sample_with_observation, spectral_step(eta, eta_b))
    return Method("ddrm", draw, noisy=True, rule="that of each coordinate's noise")


@memoize_by_arguments
def spectral_step(eta: float, eta_b: float) -> Step:
    """z_s by three cases (Kawar et al. 2022, eq. 8, for z_s / alpha_s): not measured; measured with more noise than
    sigma_s / alpha_s; measured with less.
    """

    def update(
        keys: Keys, noise: GaussianNoise, denoise: ObservedDenoise, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        x0, observation = denoise(x, t)
        values, std = observation.batched_values()
        m = noise.coefficients(s)
        z_t = observation.to_coordinates(x)
        z0 = observation.to_coordinates(x0)
        n = fresh_noise(keys, x)
        finite = jnp.isfinite(std)
        tau = jnp.where(finite, std, 1)
        eps = jnp.where(finite, (values - z0) / jnp.where(tau > 0, tau, 1), noise.eps(z_t, z0, t))
        more_noise = m.alpha * z0 + m.sigma * ((1 - eta**2) ** 0.5 * eps + eta * n)
        added_std = square_root(m.sigma**2 - (m.alpha * tau * eta_b) ** 2)
        less_noise = m.alpha * (z0 + eta_b * (values - z0)) + added_std * n
        z_s = jnp.where(finite & (m.alpha * tau <= m.sigma), less_noise, more_noise)
        return observation.from_coordinates(z_s), carry

    return Step(no_carry, update, stochastic=True, needs=GaussianNoise, prediction_type=ObservedPrediction)
