"""What training minimises: `loss(keys, apply, x0, cond) -> [b]`.

`apply(x_t, t, cond, keys) -> out` is the net with its variables, train flag and dropout bound; it is handed what
nets see, `noise.feed` and `noise.level`. A weight is a function `log_snr -> log w` of the weight on the squared error of x0; it is
carried to the net's own space by the ratio of w to the row's own weight, in logarithms, so that neither end of time
gives 0 · ∞. A distribution of times is its quantile function `(noise, quantile) -> t`.
"""

from collections.abc import Callable
from math import log
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Keys, Noise, State
from diffjax.randomness import fold

__all__ = [
    "drop_cond",
    "edm",
    "log_normal",
    "logit_normal",
    "min_snr",
    "p2",
    "regression",
    "sigmoid",
    "snr",
    "uniform",
]

Losses = Float[Array, " b"]
Apply = Callable[[Any, Any, Any, Any], Any]
Loss = Callable[[Keys, Apply, State, PyTree], Losses]
LogWeight = Callable[[Float[Array, "..."]], Float[Array, "..."]]
Times = Callable[[Noise, Losses], Losses]

STRATA = 8
"""Examples that share one stratified draw of times; a device's batch is best a multiple of it."""


def regression(noise: Noise, order: Order, *, weight: LogWeight | None = None, times: Times | None = None) -> Loss:
    """E_t,eps [w(log-SNR) |x0 - E[x0|x_t]|²], by default with w = the row's own weight and uniform times.

    The unweighted error of the row's own output is DDPM's simple loss (Ho et al. 2020, eq. 14) for eps, flow
    matching's (Lipman et al. 2023, eq. 14) for velocity, EDM's (Karras et al. 2022, eq. 8) for edm.
    """
    quantile = times or uniform

    def loss(keys: Keys, apply: Apply, x0: State, cond: PyTree) -> Losses:
        positions = x0.shape[1 : x0.ndim - noise.channel_axes]
        rank = ranks(order, fold(keys, 1), positions, noise.channel_axes)
        t = levels(order, quantile(noise, stratified(fold(keys, 0))), rank)
        x_t, target = jax.vmap(noise.corrupt)(fold(keys, 2), x0, t)
        out = apply(noise.feed(x_t, t), noise.level(t), cond, fold(keys, 3))
        miss = noise.miss(out, target, x_t, t)
        if weight is not None:
            ratio = jnp.exp(weight(noise.log_snr(t)) - noise.log_weight(t))
            miss = miss * ratio.reshape(ratio.shape[: miss.ndim])
        return jnp.mean(miss.reshape(len(miss), -1), axis=1)

    return loss


def drop_cond(loss: Loss, null: PyTree, rate: float) -> Loss:
    """The loss with each example's condition replaced by `null` with probability `rate` (Ho & Salimans 2022, alg. 1)."""
    if not 0 <= rate <= 1:
        raise UserError(f"drop_cond: rate must be in [0, 1], got {rate}")

    def dropped(keys: Keys, apply: Apply, x0: State, cond: PyTree) -> Losses:
        drop = jax.vmap(lambda key: jax.random.bernoulli(key, rate))(fold(keys, 4))

        def replace(leaf: Array, nothing: Array) -> Array:
            return jnp.where(drop.reshape((-1,) + (1,) * (leaf.ndim - 1)), nothing, leaf)

        return loss(keys, apply, x0, jax.tree.map(replace, cond, null))

    return dropped


def stratified(keys: Keys) -> Losses:
    """Uniform numbers in (0, 1], evenly spread over each group of STRATA examples (Kingma et al. 2021, appendix I.1).

    u_i = (u + i/STRATA) mod 1, with u from the key of the group's first example. Each is uniform; they are the same
    on any number of devices whose share of the batch is a multiple of STRATA.
    """
    index = jnp.arange(len(keys))
    first = jax.vmap(jax.random.uniform)(keys[index - index % STRATA])
    return 1 - (first + index % STRATA / STRATA) % 1


def uniform(noise: Noise, quantile: Losses) -> Losses:
    """t uniform in (0, 1]."""
    return quantile


def logit_normal(mean: float = 0.0, std: float = 1.0) -> Times:
    """logit(t) ~ N(mean, std²) (Esser et al. 2024, eq. 19)."""
    return lambda noise, quantile: jax.nn.sigmoid(mean + std * ndtri(quantile))


def log_normal(mean: float = -1.2, std: float = 1.2) -> Times:
    """log(sigma/alpha) ~ N(mean, std²) (Karras et al. 2022, table 1)."""
    return lambda noise, quantile: noise.time(-2 * (mean + std * ndtri(quantile)))


def snr(log_snr: Float[Array, "..."]) -> Float[Array, "..."]:
    """w = SNR: the error of eps, whatever is predicted (Ho et al. 2020, eq. 14)."""
    return log_snr


def min_snr(gamma: float = 5.0) -> LogWeight:
    """w = min(SNR, gamma) (Hang et al. 2023, section 3.4)."""
    return lambda log_snr: jnp.minimum(log_snr, log(gamma))


def edm(data_std: float = 0.5) -> LogWeight:
    """w = (sigma² + data_std²) / (sigma data_std)² = SNR + 1/data_std² (Karras et al. 2022, table 1)."""
    return lambda log_snr: jnp.logaddexp(log_snr, -2 * log(data_std))


def sigmoid(bias: float = 0.0) -> LogWeight:
    """w = SNR sigmoid(bias - log-SNR): the error of eps so weighted (Kingma & Gao 2023, section 5)."""
    return lambda log_snr: log_snr + jax.nn.log_sigmoid(bias - log_snr)


def p2(gamma: float = 1.0, k: float = 1.0) -> LogWeight:
    """w = SNR / (k + SNR)^gamma (Choi et al. 2022, eq. 8, on the error of eps)."""
    return lambda log_snr: log_snr - gamma * jnp.logaddexp(jnp.log(jnp.asarray(k)), log_snr)
