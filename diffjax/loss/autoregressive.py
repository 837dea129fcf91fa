"""The loss of networks that predict each next token."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.loss.known_masks import random_fraction_mask
from diffjax.loss.protocol import Apply, Loss, Losses, position_shape, sum_per_example
from diffjax.order import Order, ranks, shuffled
from diffjax.protocols import Keys, Noise, Sample
from diffjax.utils.prng import KeyUse, fold


@validate_arguments
def causal(noise: Noise, order: Order, *, hide: float = 0.0, shuffle: float = 0.0) -> Loss:
    """-log p(x_i | tokens before i in the order) in nats, the mean over all positions: one pass of a causal net.

    For an order of width 0; by default its expectation is that of `bound`. Against memorization: of each example's
    input a fraction drawn from U(0, `hide`) is masked, and a share `shuffle` of the examples is taken in a random order
    (Yu et al. 2024, RAR). Raises UserError for a wider order and for shares outside [0, 1].
    """
    if order.width > 0:
        raise UserError(
            f"loss.causal: a causal net needs an order of width 0 (raster, shuffled), and this order's width is "
            f"{order.width:g}; use loss.bound with a net that has causal=False"
        )
    for name, share in (("hide", hide), ("shuffle", shuffle)):
        if not 0 <= share <= 1:
            raise UserError(f"loss.causal: {name} must be in [0, 1], got {share}")

    def loss(keys: Keys, apply: Apply, x0: Sample, cond: PyTree) -> Losses:
        x0 = noise.data(x0)
        # The order, random in a share of the examples.
        rank_arguments = fold(keys, KeyUse.RANK), position_shape(noise, x0), noise.channel_axes
        rank = ranks(order, *rank_arguments)
        if shuffle:
            mixes = jax.vmap(lambda key: jax.random.bernoulli(key, shuffle))(fold(keys, KeyUse.TIME))
            rank = jnp.where(mixes[:, None], ranks(shuffled, *rank_arguments), rank)
        # The input, partly masked.
        masked = jax.vmap(lambda key: noise.prior(key, x0.shape[1:]))(keys)
        hidden = jax.vmap(lambda key: random_fraction_mask(key, hide, x0.shape[1:]))(fold(keys, KeyUse.CORRUPT))
        x = jnp.where(hidden, masked, x0)
        t = jnp.zeros(rank.shape)
        # The cross-entropy of each token given those before it.
        out = apply(noise.feed(x, t), noise.level(t), cond, fold(keys, KeyUse.DROPOUT), rank)
        return sum_per_example(noise.miss(out, x0, masked, t)) / x0[0].size

    return loss
