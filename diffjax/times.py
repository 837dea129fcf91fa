"""Distributions of training times, as quantile functions `(noise, quantile) -> t`.

Their arguments are stratified uniform numbers, so the times are evenly spread over a batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.protocols import Keys, Noise

__all__ = ["at", "log_normal", "logit_normal", "uniform"]

Quantiles = Float[Array, " b"]
Times = Callable[[Noise, Quantiles], Float[Array, " b"]]

OFFSETS = (0, 1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8)
"""Offsets of the examples that share one stratified draw; a device's batch is best a multiple of their number."""


@validate_arguments
def at(t: float = 1.0) -> Times:
    """One t in (0, 1] for all examples.

    At 1, where x_t has nothing of x0 left, E[x0|x_t, c] = E[x0|c]: the net learns plain regression on the condition,
    and a single step of ddim returns it. Raises UserError for another t.
    """
    if not 0 < t <= 1:
        raise UserError(f"times: t must be in (0, 1], got {t:g}")
    return lambda noise, quantile: jnp.full_like(quantile, t)


def uniform() -> Times:
    """t uniform in (0, 1]."""
    return lambda noise, quantile: quantile


@validate_arguments
def logit_normal(mean: float = 0.0, std: float = 1.0) -> Times:
    """logit(t) ~ N(mean, std²) (Esser et al. 2024, eq. 19)."""
    _positive(std)
    return lambda noise, quantile: jax.nn.sigmoid(mean + std * ndtri(quantile))


@validate_arguments
def log_normal(mean: float = -1.2, std: float = 1.2) -> Times:
    """log(sigma/alpha) ~ N(mean, std²) (Karras et al. 2022, table 1)."""
    _positive(std)
    return lambda noise, quantile: noise.time(-2 * (mean + std * ndtri(quantile)))


def stratified(keys: Keys) -> Quantiles:
    """Uniform numbers in (0, 1], evenly spread over each group of eight (Kingma et al. 2021, appendix I.1).

    u_i = (u + o_i) mod 1, with u from the key of the group's first example and offsets o_i = 0, 4, 2, 6, … eighths,
    of which every first few are spread too. Each is uniform; they are the same on any number of devices whose share of
    the batch is a multiple of the group.
    """
    index = jnp.arange(len(keys))
    offsets = jnp.asarray(OFFSETS)[index % len(OFFSETS)]
    first = jax.vmap(jax.random.uniform)(keys[index - index % len(OFFSETS)])
    return 1 - (first + offsets) % 1


def _positive(std: float) -> None:
    if not std > 0:
        raise UserError(f"times: std must be positive, got {std}")
