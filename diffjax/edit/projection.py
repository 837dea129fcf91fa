"""Methods that put what was seen into the prediction of x0: rules of a denoiser that also says what was seen."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array

from diffjax.edit import constraints
from diffjax.edit.observation import check_exact
from diffjax.edit.solver import Method, Problem, sample_posterior
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import GaussianNoise, Keys, Sample, Step
from diffjax.steps.ancestral import no_carry, square_root
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import memoize_by_arguments


class ObservedPrediction(NamedTuple):
    """The prediction, and what was seen of x0."""

    x0: Any
    observation: Any


def with_observation(observation: Any, denoise: Any) -> Partial:
    """The denoiser, that also says what was seen."""
    return Partial(_predict_with_observation, observation, as_pytree(denoise))


def _predict_with_observation(observation: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> ObservedPrediction:
    return ObservedPrediction(inner(x_t, t, cond), observation)


@memoize_by_arguments
def ddnm() -> Method:
    """The seen coordinates of the prediction are replaced by what was seen (Wang et al. 2023, DDNM, algorithm 1).

    With noise, by as much of it as the step's own noise can hide, of which so much less is drawn (DDNM+, eq. 17 to 19).
    By the posterior; another rule, where all is exact. 1 evaluation a step.
    """
    return Method("ddnm", _ddnm, noisy=True)


def _ddnm(problem: Problem) -> Sample:
    noise, observation, denoise, step = problem.noise, problem.observation, problem.denoise, problem.step
    if step is None:
        return sample_posterior(
            problem,
            with_observation(observation, denoise),
            constraints.pin_hook(noise, observation),
            _null_space_step(),
        )
    check_exact(observation, f"ddnm by {step.name}, and not by its own rule")
    return sample_posterior(
        problem, Partial(_replace_observed, observation, as_pytree(denoise)), constraints.pin_hook(noise, observation)
    )


def _replace_observed(observation: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> Array:
    values, std = observation.batched_values()
    return observation.replace_coordinates(inner(x_t, t, cond), values, std == 0)


@memoize_by_arguments
def _null_space_step() -> Step:
    """x_s ~ a x̂ + b x_t + c n, as the posterior, with x̂ = x0 + λ (values - x0), λ = min(1, c/(a std)) where seen.

    What of the noise on the values comes with them, a λ std, is drawn the less: c² - (a λ std)².
    """

    def update(
        keys: Keys, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, carry: Any
    ) -> tuple[Array, Any]:
        x0, observation = denoise(x, t)
        values, std = observation.batched_values()
        a, c = x0_coefficient(noise, t, s), fresh_noise_std(noise, t, s)
        reach = a * jnp.where(jnp.isfinite(std), std, 0)
        share = jnp.where(reach > c, c / jnp.where(reach > c, reach, 1), 1) * jnp.isfinite(std)
        z_t, z0, n = observation.to_coordinates(x), observation.to_coordinates(x0), constraints.normal(keys, x)
        z0 = z0 + share * (values - z0)
        mean = noise.coefficients(s).alpha * z0 + noise.coefficients(s).sigma * noise.noise_correlation(
            t, s
        ) * noise.eps(z_t, z0, t)
        return observation.from_coordinates(mean + square_root(c**2 - (share * reach) ** 2) * n), carry

    return Step(no_carry, update, stochastic=True, needs=GaussianNoise, prediction_type=ObservedPrediction)


def x0_coefficient(noise: Gaussian, t: Array, s: Array) -> Array:
    """How much of x0 is in the mean of x_s given x_t and x0, alpha_s - rho sigma_s alpha_t / sigma_t."""
    at_t, at_s = noise.coefficients(t), noise.coefficients(s)
    return at_s.alpha - noise.noise_correlation(t, s) * at_s.sigma * at_t.alpha / jnp.where(
        at_t.sigma > 0, at_t.sigma, 1
    )


def fresh_noise_std(noise: Gaussian, t: Array, s: Array) -> Array:
    """The deviation of x_s given x_t and x0, sigma_s √(1 - rho²)."""
    return noise.coefficients(s).sigma * square_root(1 - noise.noise_correlation(t, s) ** 2)


@memoize_by_arguments
def ddrm(eta: float = 0.85, eta_b: float = 1.0) -> Method:
    """Each coordinate is drawn by its own noise: x_s is told what was seen, where that has less (Kawar et al. 2022).

    `eta` is how much of the noise of other coordinates is fresh, `eta_b` how much of what was seen is taken (eq. 7, 8).
    Brings its own rule. 1 evaluation a step.
    """
    for name, value in (("eta", eta), ("eta_b", eta_b)):
        if not 0 <= value <= 1:
            raise UserError(f"ddrm: {name} must be in [0, 1], got {value}; the paper has eta=0.85 and eta_b=1")
    return Method("ddrm", Partial(_ddrm, eta, eta_b), noisy=True, rule="one of each coordinate's noise")


def _ddrm(eta: float, eta_b: float, problem: Problem) -> Sample:
    denoise = with_observation(problem.observation, problem.denoise)
    return sample_posterior(
        problem, denoise, constraints.pin_hook(problem.noise, problem.observation), _spectral_step(eta, eta_b)
    )


@memoize_by_arguments
def _spectral_step(eta: float, eta_b: float) -> Step:
    """Of z_s / alpha_s: hidden, seen with more noise than sigma_s / alpha_s, or with less: Kawar et al. 2022, eq. 8."""

    def update(
        keys: Keys, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, carry: Any
    ) -> tuple[Array, Any]:
        x0, observation = denoise(x, t)
        (values, std), m = observation.batched_values(), noise.coefficients(s)
        z_t, z0, n = observation.to_coordinates(x), observation.to_coordinates(x0), constraints.normal(keys, x)
        finite = jnp.isfinite(std)
        tau = jnp.where(finite, std, 1)
        eps = jnp.where(finite, (values - z0) / jnp.where(tau > 0, tau, 1), noise.eps(z_t, z0, t))
        far = m.alpha * z0 + m.sigma * ((1 - eta**2) ** 0.5 * eps + eta * n)
        left = square_root(m.sigma**2 - (m.alpha * tau * eta_b) ** 2)
        near = m.alpha * (z0 + eta_b * (values - z0)) + left * n
        return observation.from_coordinates(jnp.where(finite & (m.alpha * tau <= m.sigma), near, far)), carry

    return Step(no_carry, update, stochastic=True, needs=GaussianNoise, prediction_type=ObservedPrediction)
