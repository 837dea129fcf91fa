"""Stochastic step rules for the reverse SDE. At every level x_t has the distribution of the probability-flow ODE.

Backwards in time, dx = (f x - ½ (1 + eta²) g² ∇log q) dt + eta g dw, with f = alpha'/alpha, g² = (sigma²)' - 2 f sigma²
and any eta ≥ 0: 0 is the ODE, 1 is Song et al. 2021, eq. 6. With ∇log q = -eps/sigma the drift is

    alpha' x0 + (sigma' + eta² pull) eps,    pull = ½ g²/sigma = sigma' - sigma alpha'/alpha.

Each step draws one z ~ N(0, 1) from the key of each example.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from diffjax.errors import UserError
from diffjax.protocols import Coefficients, GaussianNoise, Keys, Level, Sample, Step
from diffjax.steps.ancestral import DenoiseAt, no_carry, square_root, standard_normal
from diffjax.steps.dpm_solver import Past, empty_past, extrapolate
from diffjax.steps.ode import euler_step, heun
from diffjax.utils.memo import memoize_by_arguments

_MAX_GROWTH = math.sqrt(2) - 1  # by which sigma may grow in one churn, so that no more noise is added than there is


@memoize_by_arguments
def euler_maruyama(eta: float = 1.0, diffusion: str = "schedule", last: str = "ode") -> Step:
    """x_s = x_t + (s - t) (alpha' x0 + (sigma' + eta² pull) eps) + eta √(2 sigma pull (t - s)) z. Weak order 1.

    `diffusion`: "schedule" is the pull above; by "sigma" it is sigma', which for flow is w_t = 2 eta² sigma (SiT, Ma et
    al. 2024). `last`: a step to sigma = 0, where noise would stay, is Euler's of the ODE, or by "mean" the formula
    without z. A step from alpha = 0, where g of the schedule is infinite, is Euler's unless diffusion="sigma". eta = 0
    is euler.
    """
    _check_eta(eta, "euler_maruyama")
    _check_choice(diffusion, ("schedule", "sigma"), "euler_maruyama: diffusion")
    _check_choice(last, ("ode", "mean"), "euler_maruyama: last")

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        x0 = denoise(x, t)
        there = euler_step(noise, x0, x, t, s)
        if eta > 0:
            m = noise.coefficients(t)
            draws = noise.coefficients(s).sigma > 0
            moves = (t != s) if last == "mean" else (t != s) & draws
            pull = _sigma_pull(m, moves) if diffusion == "sigma" else _schedule_pull(m, moves & (m.alpha > 0))
            noise_term = square_root(jnp.where(draws, 2 * m.sigma * pull * (t - s), 0)) * standard_normal(keys, x)
            there = there + (s - t) * eta**2 * pull * noise.eps(x, x0, t) + eta * noise_term
        return there, carry

    return Step(no_carry, update, stochastic=eta > 0, needs=GaussianNoise)


def _sigma_pull(m: Coefficients, inside: Array) -> Array:
    """sigma' inside, where it is finite; 0 elsewhere, and where sigma falls."""
    return jnp.maximum(jnp.where(inside, m.d_sigma, 0), 0)


def _schedule_pull(m: Coefficients, inside: Array) -> Array:
    """sigma' - sigma alpha'/alpha inside, where alpha > 0 and the slopes are finite; 0 elsewhere."""
    d_log_alpha = jnp.where(inside, m.d_alpha / jnp.where(inside, m.alpha, 1), 0)
    return jnp.where(inside, m.d_sigma, 0) - m.sigma * d_log_alpha


@memoize_by_arguments
def dpmpp_2m_sde(eta: float = 1.0) -> Step:
    """SDE-DPM-Solver++(2M), midpoint form (Lu et al. 2022b, section 5, in the form of their algorithm 2). Weak order 2.

    x_s = alpha_s D + sigma_s (rho^(eta²) eps(x_t, D) + √(1 - rho^(2 eta²)) z), rho = exp(-h), the exact solution for a
    constant prediction D = x0 + (x0 - x0_before) h / (2 h_before). eta = 0 is dpmpp_2m; eta = 1 without memory is
    the posterior. D = x0 at the first step, after a step from alpha = 0 and in a step to sigma = 0.
    """
    _check_eta(eta, "dpmpp_2m_sde")

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, past: Past
    ) -> tuple[Sample, Past]:
        d, past = extrapolate(noise, denoise(x, t), t, s, past)
        at_s = noise.coefficients(s)
        direction = noise.eps(x, d, t)
        if eta > 0:
            correlation = noise.noise_correlation(t, s) ** eta**2
            direction = correlation * direction + square_root(1 - correlation**2) * standard_normal(keys, x)
        return jnp.where(t == s, x, at_s.alpha * d + at_s.sigma * direction), past

    return Step(empty_past, update, per_position=True, stochastic=eta > 0, needs=GaussianNoise)


class _Churn(NamedTuple):
    up: Array  # the noisier level that a step first goes back to
    keep: Array  # the factor of x on the way there
    noise_std: Array  # the standard deviation of the added noise


@memoize_by_arguments
def edm_stochastic(
    churn: float = 40.0, noise_scale: float = 1.0, sigma_min: float = 0.0, sigma_max: float = math.inf
) -> Step:
    """Heun with churn (Karras et al. 2022, algorithm 2): first back to more noise, then Heun from there. Weak order 2.

    Of N steps, those with sigma/alpha in [sigma_min, sigma_max] first raise it by the factor 1 + min(churn/N, √2 - 1),
    up to t = 1 at most. The added noise is scaled by noise_scale (their S_noise, 1 for an exact denoiser). churn = 0 is
    heun.
    """
    for name, value in (("churn", churn), ("noise_scale", noise_scale), ("sigma_min", sigma_min)):
        if not 0 <= value < math.inf:
            raise UserError(f"edm_stochastic: {name} must be at least 0 and finite, got {value}")
    if not sigma_max >= sigma_min:
        raise UserError(f"edm_stochastic: sigma_max must be at least sigma_min = {sigma_min:g}, got {sigma_max}")
    solver = heun()

    def plan(noise: GaussianNoise, grid: Array) -> _Churn:
        t = grid[:-1]
        moves = t != grid[1:]
        now = noise.log_snr(t)
        grows = jnp.minimum(churn / jnp.maximum(jnp.sum(moves), 1), _MAX_GROWTH)
        chosen = moves & (now <= _log_snr_of(sigma_min)) & (now >= _log_snr_of(sigma_max))
        up = jnp.where(chosen & (grows > 0), jnp.maximum(noise.time(now - 2 * jnp.log1p(grows)), t), t)
        at_t = noise.coefficients(t)
        at_up = noise.coefficients(up)
        same = up == t
        keep = jnp.where(same, 1, at_up.alpha / jnp.where(same, 1, at_t.alpha))
        return _Churn(up, keep, noise_scale * square_root(at_up.sigma**2 - (keep * at_t.sigma) ** 2))

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None, row: _Churn
    ) -> tuple[Sample, None]:
        if churn > 0:
            x = jnp.where(row.up == t, x, row.keep * x + row.noise_std * standard_normal(keys, x))
            t = jnp.broadcast_to(row.up, t.shape)
        return solver.update(keys, noise, denoise, x, t, s, carry)

    return Step(no_carry, update, evaluations=2, stochastic=churn > 0, needs=GaussianNoise, plan=plan)


def _log_snr_of(sigma: float) -> float:
    """Of sigma/alpha, from +inf at 0 to -inf at infinity."""
    return math.inf if sigma == 0 else -2 * math.log(sigma)


def _check_eta(eta: float, rule: str) -> None:
    if not 0 <= eta < math.inf:
        raise UserError(f"{rule}: eta must be at least 0 and finite, got {eta}")


def _check_choice(value: str, choices: tuple[str, ...], argument: str) -> None:
    if value not in choices:
        raise UserError(f"{argument} must be {' or '.join(map(repr, choices))}, got {value!r}")
