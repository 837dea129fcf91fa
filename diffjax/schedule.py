"""Noise schedules, x_t = alpha x0 + sigma eps.

A schedule is any function `t -> (alpha, sigma)` of jax.numpy, from (1, 0) at t = 0 to noise at t = 1. Derivatives come
from a jvp, inverses from bisection, the log-SNR from its definition. Makers are cached, so that equal arguments give
the same object and nothing is compiled twice.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context
from jaxtyping import Array, Bool

from diffjax.errors import UserError
from diffjax.protocols import Coefficients, Schedule, Times
from diffjax.utils.memo import memoize_by_arguments

__all__ = [
    "cosine",
    "discrete",
    "discrete_cosine",
    "discrete_linear",
    "edm",
    "edm_of",
    "flow",
    "linear_beta",
    "linear_beta_of",
    "shift",
    "zero_terminal",
]


def cosine(t: Times) -> tuple[Times, Times]:
    """alpha = cos(πt/2), sigma = sin(πt/2): Nichol & Dhariwal 2021, eq. 17, in continuous time, without the offset."""
    return jnp.sin(jnp.pi / 2 * (1 - t)), jnp.sin(jnp.pi / 2 * t)


def flow(t: Times) -> tuple[Times, Times]:
    """alpha = 1 - t, sigma = t: the straight path of rectified flow (Liu et al. 2023; Lipman et al. 2023)."""
    return 1 - t, t


@memoize_by_arguments
def linear_beta_of(beta_min: float = 0.1, beta_max: float = 20.0) -> Schedule:
    """The variance-preserving SDE with beta(t) linear: alpha = exp(-½ ∫ beta) (Song et al. 2021, eq. 33).

    Raises UserError unless both are at least 0 and one is above.
    """
    for name, beta in (("beta_min", beta_min), ("beta_max", beta_max)):
        if beta < 0 or beta_min + beta_max == 0:
            raise UserError(f"linear_beta_of: {name} must be at least 0, and one of both above 0, got {beta:g}")

    def schedule(t: Times) -> tuple[Times, Times]:
        integral = beta_min * t + (beta_max - beta_min) / 2 * t**2
        return jnp.exp(-integral / 2), jnp.sqrt(-jnp.expm1(-integral))

    return schedule


@memoize_by_arguments
def edm_of(sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Schedule:
    """alpha = 1, sigma on the clock of Karras et al. 2022, eq. 5, lowered by sigma_min so that t = 0 is data.

    sigma = (a + t d)^rho - a^rho with a = sigma_min^(1/rho); rho = 1 is their sigma = t, on [0, sigma_max]. Raises
    UserError unless all three are positive.
    """
    for name, number in (("sigma_min", sigma_min), ("sigma_max", sigma_max), ("rho", rho)):
        if not number > 0:
            raise UserError(f"edm_of: {name} must be positive, got {number:g}")
    a = sigma_min ** (1 / rho)
    d = (sigma_max + sigma_min) ** (1 / rho) - a

    def schedule(t: Times) -> tuple[Times, Times]:
        return jnp.ones_like(t), sigma_min * jnp.expm1(rho * jnp.log1p(t * (d / a)))

    return schedule


linear_beta = linear_beta_of()
edm = edm_of()


def discrete(betas: Sequence[float]) -> Schedule:
    """The chain of T steps of DDPM (Ho et al. 2020, eq. 4): alpha² = ∏ (1 - beta) at t = i/T.

    Between the T + 1 knots the angle atan(sigma/alpha) is interpolated, so that alpha² + sigma² = 1 everywhere and a
    last beta of 1 (zero terminal SNR) needs no special case.
    """
    if not len(betas) or not all(0 < beta < 1 for beta in betas[:-1]) or not 0 < betas[-1] <= 1:
        raise UserError("discrete: betas must be one or more numbers in (0, 1); the last may be 1")
    return _discrete(tuple(float(beta) for beta in betas))


def discrete_linear(first: float = 1e-4, last: float = 0.02, count: int = 1000) -> Schedule:
    """The chain of `count` betas evenly from `first` to `last` (Ho et al. 2020, section 4)."""
    return discrete(np.linspace(first, last, count).tolist())


def discrete_cosine(count: int = 1000) -> Schedule:
    """The chain of `cosine_betas` (Nichol & Dhariwal 2021, eq. 17)."""
    return discrete(cosine_betas(count).tolist())


def cosine_betas(count: int) -> np.ndarray:
    """`count` betas of at most 0.999 for which alpha² falls as cos²((i/T + s)/(1 + s) π/2), s = 0.008."""
    alpha2 = np.cos((np.arange(count + 1) / count + 0.008) / (1 + 0.008) * np.pi / 2) ** 2
    return np.minimum(1 - alpha2[1:] / alpha2[:-1], 0.999)


@memoize_by_arguments
def _discrete(betas: tuple[float, ...]) -> Schedule:
    alpha2 = np.cumprod([1.0, *(1 - np.array(betas))])
    sigma2 = 1 - alpha2  # in float64: the first knot of DDPM is 1e-4
    to_noise = np.arctan2(np.sqrt(sigma2), np.sqrt(alpha2))
    to_data = np.arctan2(np.sqrt(alpha2), np.sqrt(sigma2))
    knots = np.linspace(0, 1, len(alpha2))

    def schedule(t: Times) -> tuple[Times, Times]:
        at, data, noise = (jnp.asarray(table, jnp.result_type(t)) for table in (knots, to_data, to_noise))
        return jnp.sin(jnp.interp(t, at, data)), jnp.sin(jnp.interp(t, at, noise))

    return schedule


@memoize_by_arguments
def shift(schedule: Schedule, factor: float) -> Schedule:
    """Multiply sigma/alpha by `factor` at every t (Hoogeboom et al. 2023; for flow, Esser et al. 2024, eq. 23).

    The path is kept: a straight line (alpha + sigma = 1) stays straight, a circle (alpha² + sigma² = 1) stays a
    circle, otherwise alpha stays and sigma is scaled. A group: shift a then shift b is shift ab.
    """
    if not factor > 0:
        raise UserError(f"shift: factor must be positive, got {factor}")
    norm = _preserved_norm(schedule)

    def shifted(t: Times) -> tuple[Times, Times]:
        alpha, sigma = schedule(t)
        scale = norm(alpha, sigma) / norm(alpha, factor * sigma)
        return alpha * scale, factor * sigma * scale

    return shifted


@memoize_by_arguments
def zero_terminal(schedule: Schedule) -> Schedule:
    """alpha moved and stretched so that alpha(1) = 0 (Lin et al. 2024, algorithm 1); variance preserving only."""
    if _preserved_norm(schedule) is not jnp.hypot:
        raise UserError("zero_terminal: the schedule must keep alpha² + sigma² = 1 (cosine, linear_beta, discrete)")
    last = float(_evaluate_on_host(schedule, [1.0])[0][0])

    def rescaled(t: Times) -> tuple[Times, Times]:
        alpha, sigma = schedule(t)
        new_alpha = (alpha - last) / (1 - last)
        # 1 - new_alpha² with 1 - alpha written as sigma²/(1 + alpha): nothing cancels near t = 0
        return new_alpha, sigma * jnp.sqrt((1 + new_alpha) / ((1 + alpha) * (1 - last)))

    return rescaled


def coefficients(schedule: Schedule, t: Times) -> Coefficients:
    """alpha, sigma and their derivatives in t."""
    (alpha, sigma), (d_alpha, d_sigma) = jax.jvp(schedule, (t,), (jnp.ones_like(t),))
    return Coefficients(alpha, sigma, d_alpha, d_sigma)


def has_infinite_slope(m: Coefficients) -> Bool[Array, "..."]:
    """Where a slope is not finite (sigma grows like √t at t = 0 of linear_beta): limits must be taken there."""
    return ~(jnp.isfinite(m.d_alpha) & jnp.isfinite(m.d_sigma))


def log_snr(schedule: Schedule, t: Times) -> Times:
    """log(alpha²/sigma²): +inf where nothing is destroyed, -inf where nothing is left."""
    alpha, sigma = schedule(t)
    return 2 * (jnp.log(alpha) - jnp.log(sigma))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
@functools.partial(jax.jit, static_argnums=0)
def time_of_log_snr(schedule: Schedule, value: Times) -> Times:
    """The t in [0, 1] whose log-SNR is `value`, by bisection; the nearer end where there is none."""

    def halve(_: Array, bracket: tuple[Times, Times]) -> tuple[Times, Times]:
        low, high = bracket
        middle = (low + high) / 2
        cleaner = log_snr(schedule, middle) > value
        return jnp.where(cleaner, middle, low), jnp.where(cleaner, high, middle)

    value = jnp.asarray(value)
    halvings = 2 * jnp.finfo(value.dtype).nmant  # t itself may be as small as the precision
    low, high = jax.lax.fori_loop(0, halvings, halve, (jnp.zeros_like(value), jnp.ones_like(value)))
    return (low + high) / 2


@time_of_log_snr.defjvp
def _implicit(schedule: Schedule, value: tuple[Times], change: tuple[Times]) -> tuple[Times, Times]:
    """dt = d(log-SNR) / slope(t), by the implicit function theorem; 0 beyond the ends."""
    t = time_of_log_snr(schedule, *value)
    _, slope = jax.jvp(functools.partial(log_snr, schedule), (t,), (jnp.ones_like(t),))
    noisiest = log_snr(schedule, jnp.ones_like(t))
    cleanest = log_snr(schedule, jnp.zeros_like(t))
    inside = (noisiest < value[0]) & (value[0] < cleanest)
    return t, jnp.where(inside, change[0] / jnp.where(inside, slope, 1), 0)


def _preserved_norm(schedule: Schedule) -> Callable:
    """The homogeneous function of (alpha, sigma) that the schedule keeps at 1; alpha where it keeps none."""
    alpha, sigma = _evaluate_on_host(schedule, [0.0, 0.25, 0.5, 0.75, 1.0])
    for norm in (jnp.add, jnp.hypot):
        if np.allclose(norm(alpha, sigma), 1, atol=1e-5):
            return norm
    return lambda alpha, sigma: alpha


def _evaluate_on_host(schedule: Schedule, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The schedule's values as numbers, also while something else is being traced."""
    with eval_context():
        try:
            alpha, sigma = schedule(jnp.asarray(times))
            return np.asarray(alpha, float), np.asarray(sigma, float)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"schedule: expected a function t -> (alpha, sigma), such as dj.schedule.cosine, got {schedule!r:.80}"
            ) from error
