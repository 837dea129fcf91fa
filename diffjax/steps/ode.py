"""One-step solvers of the probability-flow ODE on the clock: dx/dt = alpha' x0 + sigma' eps.

(Song et al. 2021, eq. 13, with the score written as -eps/sigma; Karras et al. 2022, eq. 4 with s = alpha.) For flow
this is flow matching's velocity, for edm_of(rho=1) the ODE in sigma.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.steps.markov import nothing


def velocity(noise: Gaussian, x0: Array, x: Array, t: Array) -> Array:
    """dx/dt = alpha' x0 + sigma' eps."""
    m = noise.moment(t)
    return m.d_alpha * x0 + m.d_sigma * noise.eps(x, x0, t)


@functools.cache
def euler() -> Step:
    """x_s = x_t + (s - t) dx/dt. Order 1."""

    def update(
        keys: Array, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, carry: Any
    ) -> tuple[Array, Any]:
        return x + (s - t) * velocity(noise, denoise(x, t), x, t), carry

    return Step(nothing, update)


@functools.cache
def heun() -> Step:
    """The trapezoidal rule, with Euler's step for its far end (Karras et al. 2022, algorithm 1). Order 2.

    A step to sigma = 0 is Euler's, as theirs is, since eps is not defined there.
    """

    def update(
        keys: Array, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, carry: Any
    ) -> tuple[Array, Any]:
        slope = velocity(noise, denoise(x, t), x, t)
        there = x + (s - t) * slope
        noisy = noise.moment(s).sigma > 0
        safe = jnp.where(noisy, s, t)  # where the last slope is not used, any finite one will do
        far = velocity(noise, denoise(there, s), there, safe)
        return jnp.where(noisy, x + (s - t) * (slope + far) / 2, there), carry

    return Step(nothing, update, evaluations=2)
