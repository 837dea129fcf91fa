"""What a net of Gaussian noise receives: x_t, scaled or not, and a number for its noise level.

`unit` is diffjax's own. The others are those of published models, whose weights expect them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp

from diffjax.errors import UserError
from diffjax.protocols import Coefficients, Times, Values
from diffjax.utils.memo import memoize_by_arguments

__all__ = ["discrete_steps", "flow_time", "log_sigma", "steps_from_data", "unit"]

SIGMA_MIN = 0.002  # the least sigma of Karras et al. 2022, table 1


@dataclass(frozen=True)
class NetInputs:
    """`feed(x_t, m, data_std)`, the net's input, and `level(m, t)`, its level, m being `Coefficients` at t."""

    name: str
    feed: Callable[[Values, Coefficients, float], Values]
    level: Callable[[Coefficients, Times], Times]


def _unit_variance(x_t: Values, m: Coefficients, data_std: float) -> Values:
    return x_t / jnp.sqrt(m.alpha**2 * data_std**2 + m.sigma**2)


def _unscaled(x_t: Values, m: Coefficients, data_std: float) -> Values:
    return x_t


unit = NetInputs("unit", _unit_variance, lambda m, t: 2 / jnp.pi * jnp.arctan2(m.sigma, m.alpha))
"""x_t at unit variance (Karras et al. 2022, c_in of table 1), and 2/π atan(sigma/alpha): 0 for data, 1 for noise."""

flow_time = NetInputs("flow_time", _unscaled, lambda m, t: 1 - t)
"""x_t, and 1 - t, which is 1 for data (Ma et al. 2024, SiT)."""

log_sigma = NetInputs("log_sigma", _unit_variance, lambda m, t: jnp.log(jnp.maximum(m.sigma / m.alpha, SIGMA_MIN)) / 4)
"""x_t at unit variance, and ln(sigma)/4 (Karras et al. 2022, c_noise of table 1), of sigma from 0.002 on."""


@memoize_by_arguments
def discrete_steps(count: int = 1000) -> NetInputs:
    """x_t, and the index 0 … `count` - 1 of the step, t = (index + 1) / `count` (Ho et al. 2020); 0 below the first.

    Raises UserError for a count below 1.
    """
    if count < 1:
        raise UserError(f"discrete_steps: count must be at least 1, got {count}")
    return NetInputs(f"discrete_steps(count={count})", _unscaled, lambda m, t: jnp.maximum(count * t - 1, 0))


@memoize_by_arguments
def steps_from_data(count: int = 1000) -> NetInputs:
    """`discrete_steps` with -1 for the data itself, so that it is told from the first step (`nets.published_mar`).

    Raises UserError for a count below 1.
    """
    if count < 1:
        raise UserError(f"steps_from_data: count must be at least 1, got {count}")
    return NetInputs(f"steps_from_data(count={count})", _unscaled, lambda m, t: count * t - 1)
