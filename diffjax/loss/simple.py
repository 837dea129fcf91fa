"""The regression loss: a network's error at one noise level, for diffusion, flow matching and masked diffusion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.loss.known_masks import sample_hidden_mask
from diffjax.loss.protocol import Apply, Loss, Losses, position_shape, sum_per_example
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Keys, Noise, Sample
from diffjax.times import Times, stratified, uniform
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.shape_checks import require_floating
from diffjax.weights import LogWeight


@validate_arguments
def regression(
    noise: Noise,
    order: Order,
    *,
    weight: LogWeight | None = None,
    times: Times | None = None,
    independent: bool = False,
    given: float = 0.0,
) -> Loss:
    """E_t,eps [w(log-SNR) |x0 - E[x0|x_t]|²], by default with w = the row's own weight and uniform times.

    A weight is carried to the space of the net's output by the ratio of w to the row's own weight, in logarithms, so
    that neither end of time gives 0 · ∞.

    The unweighted error of the row's own output is DDPM's simple loss (Ho et al. 2020, eq. 14) for eps, flow
    matching's (Lipman et al. 2023, eq. 14) for velocity, EDM's (Karras et al. 2022, eq. 8) for edm.

    `independent`: the order says what is known, at an even moment of its clock, and every other position has a time of
    its own (diffusion forcing, Chen et al. 2024; under an order of width 0 what MAR learns, Li et al. 2024). Then the
    loss is the mean over those others.
    `given`: of this share of examples a part is known (`masks`), and the loss is the mean over the rest, so that a net
    of per-position levels learns what `edit.clamp` asks of it. Raises UserError.
    """
    noise.check_prior()
    quantile = times or uniform()
    if not 0 <= given <= (0 if independent else 1):
        raise UserError(f"regression: given is a share of examples, in [0, 1], and 0 with independent, got {given}")

    def time_of(u: Array) -> Array:
        return require_floating("times", quantile(noise, u), u.shape)

    def sample_levels(keys: Keys, positions: tuple[int, ...]) -> Array:
        rank = ranks(order, fold(keys, KeyUse.RANK), positions, noise.channel_axes)
        u = stratified(fold(keys, KeyUse.TIME))
        if given and not positions:
            raise UserError("regression: given needs examples of several positions, and these are one vector each")
        if given:
            mask_keys = fold(keys, KeyUse.KNOWN_MASK)
            hidden = jax.vmap(lambda key: sample_hidden_mask(key, given, positions, noise.channel_axes))(mask_keys)
            return jnp.where(hidden, levels(order, time_of(u), rank), 0)
        if not independent:
            return levels(order, time_of(u), rank)
        position_times = jax.vmap(lambda key: jax.random.uniform(key, positions))(fold(keys, KeyUse.POSITION_TIME))
        position_times = time_of(position_times).reshape(position_times.shape + (1,) * noise.channel_axes)
        return jnp.where(levels(order, u, rank) > 0, position_times, 0)

    def loss(keys: Keys, apply: Apply, x0: Sample, cond: PyTree) -> Losses:
        x0 = noise.data(x0)
        t = sample_levels(keys, position_shape(noise, x0))
        x_t, target = jax.vmap(noise.corrupt)(fold(keys, KeyUse.CORRUPT), x0, t)
        out = apply(noise.feed(x_t, t), noise.level(t), cond, fold(keys, KeyUse.DROPOUT))
        miss = noise.miss(out, target, x_t, t)
        if weight is not None:  # where nothing is hidden nothing is missed, and weights may be infinite
            log_w = require_floating("weight", weight(noise.log_snr(t)), t.shape)
            ratio = jnp.where(noise.level(t) > 0, jnp.exp(log_w - noise.log_weight(t)), 0)
            miss = miss * ratio.reshape(ratio.shape[: miss.ndim])
        if not (independent or given):
            return jnp.mean(miss.reshape(len(miss), -1), axis=1)
        hidden = jnp.broadcast_to(t.reshape(t.shape[: miss.ndim]) > 0, miss.shape)
        return sum_per_example(miss) / jnp.maximum(sum_per_example(hidden.astype(miss.dtype)), 1)

    return loss
