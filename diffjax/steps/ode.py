"""One-step solvers of the probability-flow ODE on the clock: dx/dt = alpha' x0 + sigma' eps.

(Song et al. 2021, eq. 13, with the score written as -eps/sigma; Karras et al. 2022, eq. 4 with s = alpha.) For flow
this is flow matching's velocity, for edm_of(rho=1) the ODE in sigma.
"""

import jax.numpy as jnp

from diffjax.protocols import GaussianNoise, Keys, Level, Sample, Step
from diffjax.schedule import has_infinite_slope
from diffjax.steps.ancestral import DenoiseAt, no_carry
from diffjax.utils.memo import memoize_by_arguments


def velocity(noise: GaussianNoise, x0: Sample, x: Sample, t: Level) -> Sample:
    """dx/dt = alpha' x0 + sigma' eps; 0 where the slope is infinite, from where `euler_step` takes the limit."""
    m = noise.coefficients(t)
    start = has_infinite_slope(m)
    return jnp.where(start, 0, m.d_alpha) * x0 + jnp.where(start, 0, m.d_sigma) * noise.eps(x, x0, t)


def euler_step(noise: GaussianNoise, x0: Sample, x: Sample, t: Level, s: Level) -> Sample:
    """x_s = x_t + (s - t) dx/dt; from clean data, where eps is not defined, alpha_s x0 (as DDIM does)."""
    noisy = noise.coefficients(t).sigma > 0
    moved = jnp.where(noisy, x + (s - t) * velocity(noise, x0, x, t), noise.coefficients(s).alpha * x0)
    return jnp.where(t == s, x, moved)


def ddim_step(noise: GaussianNoise, x0: Sample, x: Sample, t: Level, s: Level) -> Sample:
    """x_s = alpha_s x0 + sigma_s eps, exact where x0 stays the same; x where t = s."""
    at_s = noise.coefficients(s)
    return jnp.where(t == s, x, at_s.alpha * x0 + at_s.sigma * noise.eps(x, x0, t))


@memoize_by_arguments
def euler() -> Step:
    """x_s = x_t + (s - t) dx/dt. Order 1."""

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        return euler_step(noise, denoise(x, t), x, t, s), carry

    return Step(no_carry, update, needs=GaussianNoise, order=1)


@memoize_by_arguments
def heun() -> Step:
    """The trapezoidal rule, with Euler's step for its far end (Karras et al. 2022, algorithm 1). Order 2.

    A step to or from sigma = 0 is Euler's, as theirs is, since eps is not defined there.
    """

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        x0 = denoise(x, t)
        there = euler_step(noise, x0, x, t, s)
        slopes = velocity(noise, x0, x, t) + velocity(noise, denoise(there, s), there, s)
        noisy = (noise.coefficients(t).sigma > 0) & (noise.coefficients(s).sigma > 0)
        return jnp.where(noisy & (t != s), x + (s - t) * slopes / 2, there), carry

    return Step(no_carry, update, evaluations=2, needs=GaussianNoise, order=2)


@memoize_by_arguments
def rk4() -> Step:
    """The classic Runge-Kutta method: slopes at t, twice half way and at s, weighed 1 : 2 : 2 : 1. Order 4.

    (Kutta 1901; Hairer, Nørsett & Wanner 1993, table II.1.2.) A step to or from sigma = 0 is ddim's, since eps is not
    defined there.
    """

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        x0 = denoise(x, t)
        half = (t + s) / 2
        first = velocity(noise, x0, x, t)

        def slope(before: Sample, at: Level) -> Sample:
            there = x + (at - t) * before
            return velocity(noise, denoise(there, at), there, at)

        second = slope(first, half)
        third = slope(second, half)
        mean = (first + 2 * second + 2 * third + slope(third, s)) / 6
        noisy = (noise.coefficients(t).sigma > 0) & (noise.coefficients(s).sigma > 0)
        return jnp.where(noisy, x + (s - t) * mean, ddim_step(noise, x0, x, t, s)), carry

    return Step(no_carry, update, evaluations=4, needs=GaussianNoise, order=4)
