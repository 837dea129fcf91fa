"""DPM-Solver++ of two levels, and how its prediction looks ahead; per position, so its memory is in the carry."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from diffjax.noise import Gaussian
from diffjax.protocols import GaussianNoise, Step
from diffjax.schedule import log_snr
from diffjax.steps.ode import ddim_step
from diffjax.utils.memo import memoize_by_arguments


class Past(NamedTuple):
    """What a rule of two levels remembers."""

    x0: Array  # the last prediction
    h: Array  # the last step in half log-SNR; infinite where there was none


def empty_past(x: Array) -> Past:
    """Where there was no step."""
    return Past(jnp.zeros_like(x), jnp.full_like(x, jnp.inf))


def extrapolate(noise: Gaussian, x0: Array, t: Array, s: Array, past: Past) -> tuple[Array, Past]:
    """D = x0 + (x0 - x0_before) h / (2 h_before), h being the step in half log-SNR, and what to remember of it."""
    still = t == s
    h = jnp.where(still, 0, log_snr(noise.schedule, s) / 2 - jnp.where(still, 0, log_snr(noise.schedule, t)) / 2)
    growth = jnp.where(jnp.isinf(h), 0, h) / (2 * past.h)
    memory = Past(jnp.where(still, past.x0, x0), jnp.where(still, past.h, h))
    return x0 + growth * (x0 - past.x0), memory


@memoize_by_arguments
def dpmpp_2m() -> Step:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2). Order 2.

    x_s = alpha_s D + sigma_s eps(x_t, D) with D as `extrapolate` has it. Of order 1 (D = x0) at the first step,
    after a step
    from alpha = 0 and in a step to sigma = 0.
    """

    def update(
        keys: Array, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, past: Past
    ) -> tuple[Array, Past]:
        d, past = extrapolate(noise, denoise(x, t), t, s, past)
        return ddim_step(noise, d, x, t, s), past

    return Step(empty_past, update, per_position=True, needs=GaussianNoise, order=2)
