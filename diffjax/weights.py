"""Loss weights: `log_snr -> log w`, where w multiplies the squared error of x0."""

from collections.abc import Callable
from math import log

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError

__all__ = ["edm", "min_snr", "p2", "sigmoid", "snr"]

LogSNR = Float[Array, "..."]
LogWeight = Callable[[LogSNR], LogSNR]


def snr() -> LogWeight:
    """w = SNR: the squared error of eps, for any parameterization (Ho et al. 2020, eq. 14)."""
    return lambda log_snr: log_snr


@validate_arguments
def min_snr(gamma: float = 5.0) -> LogWeight:
    """w = min(SNR, gamma) (Hang et al. 2023, section 3.4)."""
    _positive(gamma=gamma)
    return lambda log_snr: jnp.minimum(log_snr, log(gamma))


@validate_arguments
def edm(data_std: float = 0.5) -> LogWeight:
    """w = (sigma² + data_std²) / (sigma data_std)² = SNR + 1/data_std² (Karras et al. 2022, table 1)."""
    _positive(data_std=data_std)
    return lambda log_snr: jnp.logaddexp(log_snr, -2 * log(data_std))


@validate_arguments
def sigmoid(bias: float = 0.0) -> LogWeight:
    """w = SNR sigmoid(bias - log-SNR), a weight on the error of eps (Kingma & Gao 2023, section 5)."""
    return lambda log_snr: log_snr + jax.nn.log_sigmoid(bias - log_snr)


@validate_arguments
def p2(gamma: float = 1.0, k: float = 1.0) -> LogWeight:
    """w = SNR / (k + SNR)^gamma, a weight on the error of eps (Choi et al. 2022, eq. 8)."""
    _positive(k=k)
    return lambda log_snr: log_snr - gamma * jnp.logaddexp(log(k), log_snr)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"weights: {name} must be positive, got {value}")
