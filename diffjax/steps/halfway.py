"""One-step rules that look once more half way in log-SNR, where the ODE is nearly linear (DPM-Solver's idea).

With lambda = log(alpha/sigma) and h = lambda_s - lambda_t, the ODE's exact solution is (Lu et al. 2022b, eq. 8, and
2022a, eq. 3.4), for an x0 or an eps that stays the same, ddim's step; the rules add what changes of it. There is no
half way to or from an infinite log-SNR (alpha = 0, sigma = 0): such a step is ddim's.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from diffjax.noise import Gaussian
from diffjax.protocols import GaussianNoise, Step
from diffjax.schedule import log_snr
from diffjax.steps.ancestral import no_carry
from diffjax.steps.ode import ddim_step
from diffjax.utils.memo import memoize_by_arguments


class _MidpointCoefficients(NamedTuple):
    half: Array  # the clock half way in log-SNR
    of_x0: Array  # alpha_s - sigma_s alpha_t / sigma_t: by how much x_s changes with x0
    of_eps: Array  # sigma_s - alpha_s sigma_t / alpha_t: with eps


def _plan(noise: Gaussian, grid: Array) -> _MidpointCoefficients:
    """Both gains are 0, and half way is t, where a log-SNR is infinite and where nothing moves."""
    level, (alpha, sigma) = log_snr(noise.schedule, grid), noise.schedule(grid)
    finite = jnp.isfinite(level)
    is_regular, level = finite[:-1] & finite[1:] & (grid[:-1] != grid[1:]), jnp.where(finite, level, 0)
    half = noise.time((level[:-1] + level[1:]) / 2)
    snr = jnp.where(is_regular, alpha[:-1], 1) / jnp.where(is_regular, sigma[:-1], 1)
    of_x0, of_eps = alpha[1:] - sigma[1:] * snr, sigma[1:] - alpha[1:] / snr
    return _MidpointCoefficients(
        jnp.where(is_regular, half, grid[:-1]), jnp.where(is_regular, of_x0, 0), jnp.where(is_regular, of_eps, 0)
    )


_jitted_plan = jax.jit(_plan, static_argnums=0)


@memoize_by_arguments
def midpoint() -> Step:
    """x_s = ddim's step with the eps found half way in log-SNR, reached by ddim's step. Order 2.

    DPM-Solver-2 (Lu et al. 2022a, algorithm 1, r = 1/2); the DPM-2 that Karras et al. 2022, appendix C, compare with.
    x_s / alpha_s = x_t / alpha_t + (sigma_s/alpha_s - sigma_t/alpha_t) eps(u, half way): the midpoint is geometric in
    sigma/alpha, the step goes evenly in it.
    """

    def update(
        keys: Array, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, carry: Any, row: _MidpointCoefficients
    ) -> tuple[Array, Any]:
        x0, half = denoise(x, t), jnp.full_like(t, row.half)
        there = ddim_step(noise, x0, x, t, half)
        change = noise.eps(there, denoise(there, half), half) - noise.eps(x, x0, t)
        return ddim_step(noise, x0, x, t, s) + row.of_eps * change, carry

    return Step(no_carry, update, evaluations=2, needs=GaussianNoise, plan=_jitted_plan, order=2)


@memoize_by_arguments
def dpmpp_2s() -> Step:
    """x_s = ddim's step with the x0 found half way in log-SNR, reached by ddim's step. Order 2.

    DPM-Solver++(2S) (Lu et al. 2022b, algorithm 1, r = 1/2).
    """

    def update(
        keys: Array, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, carry: Any, row: _MidpointCoefficients
    ) -> tuple[Array, Any]:
        x0, half = denoise(x, t), jnp.full_like(t, row.half)
        there = ddim_step(noise, x0, x, t, half)
        return ddim_step(noise, x0, x, t, s) + row.of_x0 * (denoise(there, half) - x0), carry

    return Step(no_carry, update, evaluations=2, needs=GaussianNoise, plan=_jitted_plan, order=2)
