"""Sampling grids: `grid(noise, steps) -> [steps + 1]` clock values, strictly falling, noisiest first.

A grid is an array made on the host; step rules get pairs of neighbours. Grids with a smallest sigma, which of a chain
of T steps is that of step 1, end in one of two ways. `last="clean"`: at sigma = 0, where any rule of first order
returns the prediction at sigma_min (other code calls it denoising at sigma_min). `last="sigma_min"`: at sigma_min, with
that much noise left.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.grid_search import Search as Search
from diffjax.grid_search import optimise as optimise
from diffjax.protocols import Noise
from diffjax.utils.grid_layout import pad_grid as pad_grid
from diffjax.utils.grid_layout import repeat_per_block as repeat_per_block
from diffjax.utils.host import on_host

__all__ = [
    "at_a_time",
    "beta",
    "cosine",
    "explicit",
    "exponential",
    "karras",
    "karras_chain",
    "leading",
    "linspace",
    "log_snr",
    "quadratic",
    "trailing",
    "uniform",
]

Grid = Float[Array, " _"]  # steps + 1 clock values
SIGMA_WITHOUT_SIGNAL = 2.0**12  # sigma/alpha where `karras_chain` begins if it is infinite


@validate_arguments
@on_host
def uniform(noise: Noise, steps: int) -> Grid:
    """Evenly spaced from 1 to 0."""
    return jnp.linspace(1.0, 0.0, _check_at_least(steps, 1) + 1)


@validate_arguments
@on_host
def quadratic(noise: Noise, steps: int) -> Grid:
    """t = u², u evenly from 1 to 0: τ_i = c i² of Song et al. 2021 (DDIM), appendix D.2, up to t = 1."""
    return uniform(noise, steps) ** 2


@validate_arguments
@on_host
def cosine(noise: Noise, steps: int) -> Grid:
    """t = cos(π/2 (1 - u)), u evenly from 1 to 0: most grid points near pure noise (Shi et al. 2024)."""
    return jnp.sin(jnp.pi / 2 * uniform(noise, steps)).at[0].set(1.0)


@validate_arguments
@on_host
def beta(noise: Noise, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Grid:
    """t = the quantile u of the Beta(alpha, beta) distribution, u evenly from 1 to 0 (Lee et al. 2024).

    Below 1, beta concentrates grid points at t = 1, alpha at t = 0.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not value > 0:
            raise UserError(f"beta: {name} must be positive, got {value}")
    from scipy.special import betaincinv  # a third of a second, for this grid alone

    u = np.linspace(1.0, 0.0, _check_at_least(steps, 1) + 1)
    return jnp.asarray(betaincinv(alpha, beta, u), jnp.result_type(float))


@validate_arguments
@on_host
def trailing(noise: Noise, steps: int, train_steps: int = 1000, last: str = "clean") -> Grid:
    """The steps round(T - k T/N) of a chain of T = train_steps, then 0 (Lin et al. 2024, table 2): starts at t = 1."""
    _check_train_steps(steps, train_steps, "trailing")
    return _chain_grid(np.round(np.linspace(train_steps, 0, steps + 1))[:-1], train_steps, last, "trailing")


@validate_arguments
@on_host
def leading(
    noise: Noise, steps: int, train_steps: int = 1000, offset: int = 0, endpoint: bool = True, last: str = "clean"
) -> Grid:
    """The steps 1 + offset + i ⌊T/N⌋, i < N, of a chain of T = train_steps, then 0 (Lin et al. 2024, table 2).

    As DDPM's code. Without `endpoint` N counts one more, and i > 0. Unless N = T it starts below t = 1, so `sample`
    asks for `start=`, the state there. Published code gives the prior's noise as if it were that state, which is what
    the paper finds at fault; trailing does not need it.
    """
    _check_train_steps(steps + (not endpoint), train_steps, "leading")
    stride = train_steps // (steps + (not endpoint))
    chain = 1 + offset + stride * (np.arange(steps)[::-1] + (not endpoint))
    if offset < 0 or chain[0] > train_steps:
        greatest = train_steps - int(chain[0]) + offset
        raise UserError(f"leading: offset must be 0 … {greatest} for {steps} steps of {train_steps}, got {offset}")
    return _chain_grid(chain, train_steps, last, "leading")


@validate_arguments
@on_host
def linspace(
    noise: Noise, steps: int, train_steps: int = 1000, endpoint: bool = True, rounded: bool = True, last: str = "clean"
) -> Grid:
    """N steps evenly from T to 1 of a chain of T = train_steps, then 0 (Lin et al. 2024, table 2): starts at t = 1.

    Without `endpoint` they are the first N of N + 1. Whole numbers, or where not `rounded`, what lies between too.
    """
    _check_train_steps(steps + (not endpoint), train_steps, "linspace")
    chain = np.linspace(0, train_steps - 1, max(steps + (not endpoint), 2))[::-1][:steps]
    return _chain_grid(1 + (np.round(chain) if rounded else chain), train_steps, last, "linspace")


@validate_arguments
@on_host
def karras_chain(
    noise: Noise, steps: int, spacing: str = "linspace", train_steps: int = 1000, offset: int = 0, last: str = "clean"
) -> Grid:
    """The ramp of `karras`, rho = 7, from the first to the last of N steps of a chain, then 0.

    `spacing`: how they would lie by "leading", "linspace" or "trailing". Where the first has no signal left, the ramp
    begins with sigma/alpha = 2^12, as in diffusers.
    """
    spacings = {"leading": partial(leading, offset=offset), "linspace": linspace, "trailing": trailing}
    if spacing not in spacings:
        raise UserError(f"karras_chain: spacing must be {', '.join(map(repr, spacings))}, got {spacing!r}")
    chain = spacings[spacing](noise, steps, train_steps, last=last)
    ends = np.exp(-np.asarray(noise.log_snr(chain[np.array([0, -2])]), np.float64) / 2)
    ends[ends > 1 / np.finfo(np.float32).eps] = SIGMA_WITHOUT_SIGNAL
    first, final = ends ** (1 / 7)
    ramp = noise.time(jnp.asarray(-14 * np.log(np.linspace(first, final, steps)), chain.dtype))
    return jnp.concatenate([chain[:1], ramp[1:-1], chain[-2:]]) if steps > 1 else chain


def explicit(noise: Noise, steps: int, times: tuple[float, ...]) -> Grid:
    """These clock values themselves, steps + 1 of them."""
    stops = np.asarray(times, np.float64)
    falls = stops.ndim == 1 and len(stops) >= 2 and np.all(np.diff(stops) < 0)
    if not falls or not (stops[0] <= 1 and stops[-1] >= 0):
        raise UserError("explicit: times must be two or more numbers in [0, 1], strictly falling, noisiest first")
    if len(stops) != steps + 1:
        raise UserError(f"explicit: times are {len(stops)} stops, so steps must be {len(stops) - 1}, got {steps}")
    return jnp.asarray(stops, jnp.result_type(float))


@validate_arguments
@on_host
def karras(
    noise: Noise,
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    last: str = "clean",
) -> Grid:
    """sigma/alpha from sigma_max to sigma_min, evenly in its 1/rho-th power (Karras et al. 2022, eq. 5), then 0."""
    if not rho > 0:
        raise UserError(f"karras: rho must be positive, got {rho}")
    sigma_max = _reachable_sigma_max(noise, sigma_min, sigma_max, "karras")
    ramp = jnp.linspace(0.0, 1.0, _ramp_length(steps, last, "karras"))
    sigma = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return _complete_grid(noise.time(-2 * jnp.log(sigma)), last)


@validate_arguments
@on_host
def exponential(
    noise: Noise, steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, last: str = "clean"
) -> Grid:
    """sigma/alpha from sigma_max to sigma_min, evenly in its logarithm, then 0: `log_snr` by its other name."""
    sigma_max = _reachable_sigma_max(noise, sigma_min, sigma_max, "exponential")
    count = _ramp_length(steps, last, "exponential")
    return _complete_grid(noise.time(-2 * jnp.linspace(np.log(sigma_max), np.log(sigma_min), count)), last)


@validate_arguments
@on_host
def log_snr(noise: Noise, steps: int, low: float = -10.0, high: float = 10.0, last: str = "clean") -> Grid:
    """Evenly in the log-SNR from `low` to `high` (Lu et al. 2022, section 3.4), then 0."""
    low = max(low, float(noise.log_snr(jnp.ones(()))))
    if not low < high:
        raise UserError(f"log_snr: high must be above low and what the noise has at t = 1, {low:g}, got {high:g}")
    return _complete_grid(noise.time(jnp.linspace(low, high, _ramp_length(steps, last, "log_snr"))), last)


@validate_arguments
@on_host
def at_a_time(noise: Noise, steps: int, k: int = 1) -> Grid:
    """k positions per step under an order of width 0, and the remainder in the last of ⌈steps / k⌉ steps.

    `steps` is the number of positions.
    """
    if k < 1:
        raise UserError(f"at_a_time: k must be at least 1, got {k}")
    count = -(-_check_at_least(steps, 1) // k)
    return jnp.maximum(1 - jnp.arange(count + 1) * (k / steps), 0).at[-1].set(0.0)


def _complete_grid(times: Grid, last: str) -> Grid:
    """The grid from 1, the level of the prior, through all times but the first, to 0 if clean."""
    return jnp.concatenate([jnp.ones_like(times[:1]), times[1:], jnp.zeros_like(times[: last == "clean"])])


def _chain_grid(chain: np.ndarray, train_steps: int, last: str, grid: str) -> Grid:
    """The levels of steps 1 … train_steps, and the last: 0, or that of step 1, which may be there already."""
    _check_last(last, grid)
    return jnp.asarray(np.append(chain, float(last == "sigma_min")) / train_steps, jnp.result_type(float))


def _ramp_length(steps: int, last: str, grid: str) -> int:
    """The number of points of the ramp; sigma = 0 is one more."""
    _check_last(last, grid)
    return _check_at_least(steps, 1) + (last == "sigma_min")


def _check_last(last: str, grid: str) -> None:
    if last not in ("clean", "sigma_min"):
        raise UserError(f'{grid}: last must be "clean" (end at sigma = 0) or "sigma_min" (end there), got {last!r}')


def _reachable_sigma_max(noise: Noise, sigma_min: float, sigma_max: float, grid: str) -> float:
    """sigma_max, or what sigma/alpha is at t = 1 if that is less."""
    max_sigma = float(jnp.exp(-noise.log_snr(jnp.ones(())) / 2))
    if not 0 < sigma_min < min(sigma_max, max_sigma):
        raise UserError(
            f"{grid}: sigma_min must be positive and below sigma_max = {sigma_max:g} and what sigma/alpha is at t = 1, "
            f"{max_sigma:g}, got {sigma_min:g}"
        )
    return min(sigma_max, max_sigma)


def _check_train_steps(steps: int, train_steps: int, grid: str) -> None:
    if train_steps < _check_at_least(steps, 1):
        raise UserError(f"{grid}: train_steps must be at least the {steps} steps, got {train_steps}")


def _check_at_least(steps: int, minimum: int) -> int:
    if steps < minimum:
        raise UserError(f"steps must be at least {minimum}, got {steps}")
    return steps
