"""DPM-Solver of order 2, with a second evaluation half way in log-SNR, or with the prediction of the step before.

With lambda = log(alpha/sigma) and h = lambda_s - lambda_t, the ddim step is the exact solution of the ODE for constant
x0 or eps (Lu et al. 2022a, eq. 3.4, and 2022b, eq. 8); these rules add the first-order change of x0 or eps. A step to
or from an infinite log-SNR (alpha = 0, sigma = 0) is the ddim step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.protocols import GaussianNoise, Keys, Level, Sample, Step
from diffjax.schedule import log_snr
from diffjax.steps.ancestral import DenoiseAt, no_carry
from diffjax.steps.ode import ddim_step
from diffjax.utils.memo import memoize_by_arguments


class _Midpoint(NamedTuple):
    """Coefficients of a step with a second evaluation; the gains are 0, and half way is t, where it is ddim's."""

    half: Float[Array, "*n"]  # the clock half way in log-SNR
    x0_gain: Float[Array, "*n"]  # alpha_s - sigma_s alpha_t / sigma_t: the slope of x_s in x0
    eps_gain: Float[Array, "*n"]  # sigma_s - alpha_s sigma_t / alpha_t: the slope of x_s in eps


def _plan(noise: GaussianNoise, grid: Array) -> _Midpoint:
    level = log_snr(noise.schedule, grid)
    alpha, sigma = noise.schedule(grid)
    is_finite = jnp.isfinite(level)
    is_regular = is_finite[:-1] & is_finite[1:] & (grid[:-1] != grid[1:])
    level = jnp.where(is_finite, level, 0)
    half = noise.time((level[:-1] + level[1:]) / 2)
    ratio = jnp.where(is_regular, alpha[:-1], 1) / jnp.where(is_regular, sigma[:-1], 1)
    x0_gain = alpha[1:] - sigma[1:] * ratio
    eps_gain = sigma[1:] - alpha[1:] / ratio
    return _Midpoint(
        jnp.where(is_regular, half, grid[:-1]),
        jnp.where(is_regular, x0_gain, 0),
        jnp.where(is_regular, eps_gain, 0),
    )


_jitted_plan = jax.jit(_plan, static_argnums=0)


@memoize_by_arguments
def midpoint() -> Step:
    """x_s = ddim's step with the eps found half way in log-SNR, reached by ddim's step. Order 2.

    DPM-Solver-2 (Lu et al. 2022a, algorithm 1, r = 1/2); the DPM-2 that Karras et al. 2022, appendix C, compare with.
    x_s / alpha_s = x_t / alpha_t + (sigma_s/alpha_s - sigma_t/alpha_t) eps(u, half way): the midpoint is geometric in
    sigma/alpha, the step is linear in it.
    """

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None, row: _Midpoint
    ) -> tuple[Sample, None]:
        x0, half = _predict_half_way(noise, denoise, x, t, row)
        change = noise.eps(half.x, half.x0, half.t) - noise.eps(x, x0, t)
        return ddim_step(noise, x0, x, t, s) + row.eps_gain * change, carry

    return Step(no_carry, update, evaluations=2, needs=GaussianNoise, plan=_jitted_plan, order=2)


@memoize_by_arguments
def dpmpp_2s() -> Step:
    """x_s = ddim's step with the x0 found half way in log-SNR, reached by ddim's step. Order 2.

    DPM-Solver++(2S) (Lu et al. 2022b, algorithm 1, r = 1/2).
    """

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None, row: _Midpoint
    ) -> tuple[Sample, None]:
        x0, half = _predict_half_way(noise, denoise, x, t, row)
        return ddim_step(noise, x0, x, t, s) + row.x0_gain * (half.x0 - x0), carry

    return Step(no_carry, update, evaluations=2, needs=GaussianNoise, plan=_jitted_plan, order=2)


class Past(NamedTuple):
    """The memory of a two-level rule, per position."""

    x0: Sample  # the last prediction
    h: Sample  # the last step in half log-SNR; infinite where there was none


def empty_past(x: Sample) -> Past:
    """The memory before the first step."""
    return Past(jnp.zeros_like(x), jnp.full_like(x, jnp.inf))


def extrapolate(noise: GaussianNoise, x0: Sample, t: Level, s: Level, past: Past) -> tuple[Sample, Past]:
    """D = x0 + (x0 - x0_before) h / (2 h_before), h the step in half log-SNR, and the next memory."""
    still = t == s
    h = jnp.where(still, 0, log_snr(noise.schedule, s) / 2 - jnp.where(still, 0, log_snr(noise.schedule, t)) / 2)
    growth = jnp.where(jnp.isinf(h), 0, h) / (2 * past.h)
    memory = Past(jnp.where(still, past.x0, x0), jnp.where(still, past.h, h))
    return x0 + growth * (x0 - past.x0), memory


@memoize_by_arguments
def dpmpp_2m() -> Step:
    """x_s = alpha_s D + sigma_s eps(x_t, D), with D of `extrapolate`: DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2).

    Order 2. D = x0 (order 1) at the first step, after a step from alpha = 0 and in a step to sigma = 0.
    """

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, past: Past
    ) -> tuple[Sample, Past]:
        d, past = extrapolate(noise, denoise(x, t), t, s, past)
        return ddim_step(noise, d, x, t, s), past

    return Step(empty_past, update, per_position=True, needs=GaussianNoise, order=2)


class _HalfWay(NamedTuple):
    """The level half way in log-SNR, the x_t of ddim's step to it, and its prediction."""

    t: Level
    x: Sample
    x0: Sample


def _predict_half_way(
    noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, row: _Midpoint
) -> tuple[Sample, _HalfWay]:
    """The prediction at t, and the one half way."""
    x0 = denoise(x, t)
    half = jnp.full_like(t, row.half)
    x_half = ddim_step(noise, x0, x, t, half)
    return x0, _HalfWay(half, x_half, denoise(x_half, half))
