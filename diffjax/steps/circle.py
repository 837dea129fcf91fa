"""The probability-flow ODE on the circle, in which all schedules have the same ODE and differ in the clock.

With phi = atan(sigma/alpha) and y = x_t / √(alpha² + sigma²) = cos(phi) x0 + sin(phi) eps (Song et al. 2021, eq. 13),

    dy/dphi = cos(phi) E[eps|y] - sin(phi) E[x0|y],

which is finite at both ends: phi = 0 at the data, phi = π/2 at pure noise.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.protocols import Cond, Denoise, GaussianNoise, Sample

Angles = Float[Array, "*n"]


def angle(noise: GaussianNoise, t: Angles) -> Angles:
    """phi at clock values t."""
    m = noise.coefficients(t)
    return jnp.arctan2(m.sigma, m.alpha)


def clock(noise: GaussianNoise, phi: Angles) -> Angles:
    """The clock value at which sigma/alpha = tan(phi)."""
    tiny = jnp.finfo(phi.dtype).tiny
    return noise.time(2 * (jnp.log(jnp.maximum(jnp.cos(phi), tiny)) - jnp.log(jnp.maximum(jnp.sin(phi), tiny))))


def velocity(
    noise: GaussianNoise, denoise: Denoise, cond: Cond, y: Sample, t: Float[Array, ""], radius: Float[Array, ""]
) -> Sample:
    """dy/dphi at clock value t, where √(alpha² + sigma²) is `radius`."""
    m = noise.coefficients(t)
    level = jnp.full((len(y),) + (1,) * (y.ndim - 1), t)
    x_t = radius * y
    x0 = denoise(x_t, level, cond)
    return (m.alpha * noise.eps(x_t, x0, level) - m.sigma * x0) / radius
