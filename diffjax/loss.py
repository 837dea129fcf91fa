"""What training minimises: `loss(keys, apply, x0, cond) -> [b]`.

`apply(x_t, level, cond, keys) -> out` is the net with its variables bound; it is handed what nets see, `noise.feed`
and `noise.level`, and a key per example for its dropout.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Keys, Noise, State
from diffjax.randomness import fold
from diffjax.times import Times, stratified, uniform
from diffjax.weights import LogWeight

__all__ = ["drop_cond", "regression"]

Losses = Float[Array, " b"]
Apply = Callable[[Any, Any, Any, Any], Any]
Loss = Callable[[Keys, Apply, State, PyTree], Losses]


def regression(noise: Noise, order: Order, *, weight: LogWeight | None = None, times: Times | None = None) -> Loss:
    """E_t,eps [w(log-SNR) |x0 - E[x0|x_t]|²], by default with w = the row's own weight and uniform times.

    A weight is carried to the space of the net's output by the ratio of w to the row's own weight, in logarithms, so
    that neither end of time gives 0 · ∞.

    The unweighted error of the row's own output is DDPM's simple loss (Ho et al. 2020, eq. 14) for eps, flow
    matching's (Lipman et al. 2023, eq. 14) for velocity, EDM's (Karras et al. 2022, eq. 8) for edm.
    """
    quantile = times or uniform()

    def loss(keys: Keys, apply: Apply, x0: State, cond: PyTree) -> Losses:
        positions = x0.shape[1 : x0.ndim - noise.channel_axes]
        rank = ranks(order, fold(keys, 1), positions, noise.channel_axes)
        t = levels(order, quantile(noise, stratified(fold(keys, 0))), rank)
        x_t, target = jax.vmap(noise.corrupt)(fold(keys, 2), x0, t)
        out = apply(noise.feed(x_t, t), noise.level(t), cond, fold(keys, 3))
        miss = noise.miss(out, target, x_t, t)
        if weight is not None:  # where nothing is hidden nothing is missed, and weights may be infinite
            ratio = jnp.where(noise.level(t) > 0, jnp.exp(weight(noise.log_snr(t)) - noise.log_weight(t)), 0)
            miss = miss * ratio.reshape(ratio.shape[: miss.ndim])
        return jnp.mean(miss.reshape(len(miss), -1), axis=1)

    return loss


def drop_cond(loss: Loss, null: PyTree, rate: float) -> Loss:
    """The loss with each example's condition replaced by `null` at this rate (Ho & Salimans 2022, algorithm 1)."""
    if not 0 <= rate <= 1:
        raise UserError(f"drop_cond: rate must be in [0, 1], got {rate}")

    def dropped(keys: Keys, apply: Apply, x0: State, cond: PyTree) -> Losses:
        drop = jax.vmap(lambda key: jax.random.bernoulli(key, rate))(fold(keys, 4))

        def replace(leaf: Array, nothing: Array) -> Array:
            return jnp.where(drop.reshape((-1,) + (1,) * (leaf.ndim - 1)), nothing, leaf)

        return loss(keys, apply, x0, jax.tree.map(replace, cond, null))

    return dropped
