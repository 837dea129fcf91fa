"""Where the clock stops: `grid(noise, steps) -> [steps + 1]` clock values, strictly falling, noisiest first.

A grid is one explicit array, made on the host. Step rules see pairs of its
neighbours, and nothing is ever looked up by value.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.errors import UserError
from diffjax.gridding import optimise as optimise  # not a grid of a name, so not in __all__
from diffjax.protocols import Noise

__all__ = ["at_a_time", "karras", "log_snr", "uniform"]

Grid = Float[Array, " _"]  # steps + 1 clock values


def uniform(noise: Noise, steps: int) -> Grid:
    """Evenly spaced from 1 to 0."""
    return jnp.linspace(1.0, 0.0, _at_least(steps, 1) + 1)


def karras(noise: Noise, steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Grid:
    """sigma/alpha from sigma_max to sigma_min, evenly in its 1/rho-th power (Karras et al. 2022, eq. 5), then 0."""
    ramp = jnp.linspace(0.0, 1.0, _at_least(steps, 2))
    sigma_max = min(sigma_max, float(jnp.exp(-noise.log_snr(jnp.ones(())) / 2)))
    sigma = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return _whole(noise.time(-2 * jnp.log(sigma)))


def log_snr(noise: Noise, steps: int, low: float = -10.0, high: float = 10.0) -> Grid:
    """Evenly in the log-SNR from `low` to `high` (Lu et al. 2022, section 3.4), then 0."""
    low = max(low, float(noise.log_snr(jnp.ones(()))))
    return _whole(noise.time(jnp.linspace(low, high, _at_least(steps, 2))))


def at_a_time(noise: Noise, steps: int, k: int = 1) -> Grid:
    """Where an order of width 0 reveals k of `steps` positions at each stop, and at the last one those that are left.

    `steps` is the number of positions, all of which are revealed in ⌈steps / k⌉ steps.
    """
    if k < 1:
        raise UserError(f"at_a_time: k must be at least 1, got {k}")
    count = -(-_at_least(steps, 1) // k)
    return jnp.maximum(1 - jnp.arange(count + 1) * (k / steps), 0).at[-1].set(0.0)


def _whole(times: Grid) -> Grid:
    """The grid from 1, where training ends and the prior is drawn, through all times but the first, to 0."""
    return jnp.concatenate([jnp.ones_like(times[:1]), times[1:], jnp.zeros_like(times[:1])])


def _at_least(steps: int, least: int) -> int:
    if steps < least:
        raise UserError(f"steps must be at least {least}, got {steps}")
    return steps
