"""Rules that remember earlier predictions. All memory is in the carry; it starts empty with every sample."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from diffjax.caching import one_object
from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.schedule import log_snr


class _Past(NamedTuple):
    x0: Array  # the last prediction
    h: Array  # the last step in half log-SNR; infinite where there was none


@one_object
def dpmpp_2m() -> Step:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2). Order 2.

    x_s = alpha_s D + sigma_s eps(x_t, D) with D = x0 + (x0 - x0_before) h / (2 h_before) and h the step in half
    log-SNR. Of order 1 (D = x0) at the first step, after a step from alpha = 0 and in a step to sigma = 0.
    """

    def init(x: Array) -> _Past:
        return _Past(jnp.zeros_like(x), jnp.full_like(x, jnp.inf))

    def update(
        keys: Array, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, past: _Past
    ) -> tuple[Array, _Past]:
        x0, at_s, still = denoise(x, t), noise.moment(s), t == s
        h = jnp.where(still, 0, log_snr(noise.schedule, s) / 2 - jnp.where(still, 0, log_snr(noise.schedule, t)) / 2)
        growth = jnp.where(jnp.isinf(h), 0, h) / (2 * past.h)
        ahead = x0 + growth * (x0 - past.x0)
        moved = at_s.alpha * ahead + at_s.sigma * noise.eps(x, ahead, t)
        past = _Past(jnp.where(still, past.x0, x0), jnp.where(still, past.h, h))
        return jnp.where(still, x, moved), past

    return Step(init, update, per_position=True, needs=("eps",), order=2)
