"""The benefit of context to a model of tokens: bits of a hidden token by the number of visible tokens."""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import checked_denoiser, with_ranks
from diffjax.errors import UserError
from diffjax.loss.protocol import position_shape
from diffjax.noise import Gaussian
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Cond, Denoise, Keys, Noise, Sample
from diffjax.utils.closures import closure_jit
from diffjax.utils.prng import KeyUse, fold


@validate_arguments
def bits_vs_context(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    x: Sample,
    cond: Cond = None,
    *,
    visible: Sequence[int],
) -> Float[Array, " counts"]:
    """Bits of a hidden token, the mean over the batch, for each number of `visible` tokens.

    Under an order of width 0 exactly that many are visible, the first of the order; otherwise about that many, at
    random. A model that has learnt no context has equal bits for all; but in raster order the hidden tokens are the
    last ones, which may be easy by themselves. Raises UserError for Gaussian noise.
    """
    count = prod(position_shape(noise, x))
    if isinstance(noise, Gaussian) or not all(0 <= visible_count < count for visible_count in visible):
        raise UserError(
            f"bits_vs_context: expected Masking noise, and in visible counts 0 … {count - 1}; got "
            f"{type(noise).__name__} noise and {tuple(visible)}"
        )
    arguments = (noise, order, keys, checked_denoiser(noise, denoise), noise.data(x), cond)
    return jnp.stack([_hidden_bits(*arguments, jnp.asarray(1 - visible_count / count)) for visible_count in visible])


@closure_jit(static_argnames=("noise", "order"))
def _hidden_bits(
    noise: Noise, order: Order, keys: Keys, denoise: Denoise, x: Sample, cond: Cond, clock: Array
) -> Float[Array, ""]:
    rank = ranks(order, fold(keys, KeyUse.RANK), position_shape(noise, x), noise.channel_axes)
    t = levels(order, jnp.broadcast_to(clock, (len(x),)), rank)
    x_t, _ = jax.vmap(noise.corrupt)(fold(keys, KeyUse.CORRUPT), x, t)
    miss = noise.miss(with_ranks(denoise, order, rank)(x_t, t, cond), x, x_t, t)
    return jnp.sum(miss) / jnp.maximum(jnp.sum(x != x_t), 1) / jnp.log(2.0)
