"""Parameterizations: a net outputs a x0 + b eps, with a pair (a, b) that may depend on the level.

The equations x_t = alpha x0 + sigma eps and out = a x0 + b eps have a linear solution,

    x0 = skip x_t + scale out,    skip = b / (alpha b - a sigma),    scale = -sigma / (alpha b - a sigma),

and each row below writes its (a, b) and its (skip, scale) in closed form, so that neither end of time divides by
zero where the row itself is defined there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp

from diffjax.protocols import Coefficients, Times
from diffjax.schedule import has_infinite_slope

__all__ = ["edm", "eps", "score", "v", "velocity", "x0"]

Pair = tuple[Times, Times]


@dataclass(frozen=True)
class Parameterization:
    """A parameterization of the net's output.

    `pair(m, data_std) -> (a, b)` and `solution(m, data_std) -> (skip, scale)`, m being `Coefficients`. `needs_signal`:
    x0 cannot be solved for where alpha = 0, so alpha(1) must be positive.
    """

    name: str
    pair: Callable[[Coefficients, float], Pair]
    solution: Callable[[Coefficients, float], Pair]
    needs_signal: bool = False


def _ones(m: Coefficients) -> Times:
    return jnp.ones_like(m.sigma)


def _zeros(m: Coefficients) -> Times:
    return jnp.zeros_like(m.sigma)


def _velocity_solution(m: Coefficients, data_std: float) -> Pair:
    start = has_infinite_slope(m)  # the limit there, where sigma = 0
    d_alpha = jnp.where(start, 0, m.d_alpha)
    d_sigma = jnp.where(start, 1, m.d_sigma)
    determinant = m.alpha * d_sigma - d_alpha * m.sigma
    return jnp.where(start, 1 / m.alpha, d_sigma / determinant), -m.sigma / determinant


def _spread(m: Coefficients, data_std: float) -> Times:
    """The standard deviation of x_t when that of the data is data_std."""
    return jnp.sqrt(m.alpha**2 * data_std**2 + m.sigma**2)


def _edm_pair(m: Coefficients, data_std: float) -> Pair:
    spread = _spread(m, data_std)
    return m.sigma / (data_std * spread), -data_std * m.alpha / spread


def _edm_solution(m: Coefficients, data_std: float) -> Pair:
    spread = _spread(m, data_std)
    return m.alpha * data_std**2 / spread**2, m.sigma * data_std / spread


x0 = Parameterization("x0", lambda m, _: (_ones(m), _zeros(m)), lambda m, _: (_zeros(m), _ones(m)))
"""The data itself."""

eps = Parameterization(
    "eps",
    lambda m, _: (_zeros(m), _ones(m)),
    lambda m, _: (1 / m.alpha, -m.sigma / m.alpha),
    needs_signal=True,
)
"""The noise (Ho et al. 2020, eq. 12)."""

v = Parameterization(
    "v",
    lambda m, _: (-m.sigma, m.alpha),
    lambda m, _: (m.alpha / (m.alpha**2 + m.sigma**2), -m.sigma / (m.alpha**2 + m.sigma**2)),
)
"""v = alpha eps - sigma x0 (Salimans & Ho 2022, appendix D)."""

velocity = Parameterization("velocity", lambda m, _: (m.d_alpha, m.d_sigma), _velocity_solution)
"""dx_t/dt = alpha' x0 + sigma' eps: flow matching (Lipman et al. 2023). Infinite with sigma' (linear_beta, t = 0)."""

score = Parameterization(
    "score",
    lambda m, _: (_zeros(m), -1 / m.sigma),
    lambda m, _: (1 / m.alpha, m.sigma**2 / m.alpha),
    needs_signal=True,
)
"""∇ log q(x_t) = -eps/sigma (Song et al. 2021, eq. 7). Infinite at sigma = 0."""

edm = Parameterization("edm", _edm_pair, _edm_solution)
"""F of Karras et al. 2022, eq. 7 with their table 1: skip and scale keep input, output and target at unit variance."""
