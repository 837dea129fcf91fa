"""The regression loss: a network's error at one noise level, for diffusion, flow matching and masked diffusion."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.loss.known_masks import sample_hidden_mask
from diffjax.loss.protocol import Apply, Loss, Losses, mean_per_example, position_shape, sum_per_example
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Keys, Level, Noise, Sample
from diffjax.times import Times, stratified, uniform
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.shape_checks import require_floating
from diffjax.weights import LogWeight

Positions = tuple[int, ...]


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
    """E_t,eps [w(log-SNR) |x0 - E[x0|x_t]|²], by default with the parameterization's own weight and uniform times.

    With that weight the error is that of the network's output: DDPM's simple loss (Ho et al. 2020, eq. 14) for eps,
    flow matching's (Lipman et al. 2023, eq. 14) for velocity, EDM's (Karras et al. 2022, eq. 8) for edm.

    `independent`: a uniform moment of the order's clock decides which positions are known; each other has a time of its
    own (diffusion forcing, Chen et al. 2024; under an order of width 0 MAR, Li et al. 2024). `given`: in this share of
    the examples some positions are known (`known_masks`), as for `edit.clamp`. Either way the loss is the mean over the
    others. Raises UserError where `given` is not in [0, 1], or not 0 with `independent`.
    """
    noise.check_prior()
    quantile = times or uniform()
    if not 0 <= given <= (0 if independent else 1):
        raise UserError(f"regression: given is a share of examples, in [0, 1], and 0 with independent, got {given}")
    sample_levels = _independent_levels if independent else partial(clock_levels, given=given)

    def loss(keys: Keys, apply: Apply, x0: Sample, cond: PyTree) -> Losses:
        x0 = noise.data(x0)
        t = sample_levels(noise, order, quantile, keys, position_shape(noise, x0))
        x_t, target = jax.vmap(noise.corrupt)(fold(keys, KeyUse.CORRUPT), x0, t)
        out = apply(noise.feed(x_t, t), noise.level(t), cond, fold(keys, KeyUse.DROPOUT))
        error = weigh_error(noise, weight, noise.miss(out, target, x_t, t), t)
        return _mean_over_hidden(error, t) if independent or given else mean_per_example(error)

    return loss


def clock_levels(
    noise: Noise, order: Order, quantile: Times, keys: Keys, positions: Positions, given: float = 0.0
) -> Level:
    """The levels of the order's positions at one time of its clock, 0 where a position is known."""
    rank = ranks(order, fold(keys, KeyUse.RANK), positions, noise.channel_axes)
    t = levels(order, _times(noise, quantile, stratified(fold(keys, KeyUse.TIME))), rank)
    if not given:
        return t
    if not positions:
        raise UserError("regression: given needs examples of several positions, and these are one vector each")
    mask_keys = fold(keys, KeyUse.KNOWN_MASK)
    hidden = jax.vmap(lambda key: sample_hidden_mask(key, given, positions, noise.channel_axes))(mask_keys)
    return jnp.where(hidden, t, 0)


def _independent_levels(noise: Noise, order: Order, quantile: Times, keys: Keys, positions: Positions) -> Level:
    """An independent time for each position that the order hides at a uniform moment of its clock, else 0."""
    rank = ranks(order, fold(keys, KeyUse.RANK), positions, noise.channel_axes)
    u = stratified(fold(keys, KeyUse.TIME))
    position_u = jax.vmap(lambda key: jax.random.uniform(key, positions))(fold(keys, KeyUse.POSITION_TIME))
    t = _times(noise, quantile, position_u)
    return jnp.where(levels(order, u, rank) > 0, t.reshape(t.shape + (1,) * noise.channel_axes), 0)


def _times(noise: Noise, quantile: Times, u: Float[Array, "b *_"]) -> Float[Array, "b *_"]:
    """Times of the training distribution, from uniform numbers."""
    return require_floating("times", quantile(noise, u), u.shape)


def weigh_error(noise: Noise, weight: LogWeight | None, error: Float[Array, "b *_"], t: Level) -> Float[Array, "b *_"]:
    """The error times w(log-SNR) over the parameterization's own weight; with None, as it is.

    The ratio carries w to the space of the network's output. In logarithms, so that neither end of time gives 0 · ∞; 0
    where nothing is hidden, and so no error.
    """
    if weight is None:
        return error
    log_weight = require_floating("weight", weight(noise.log_snr(t)), t.shape)
    ratio = jnp.where(t > 0, jnp.exp(log_weight - noise.log_weight(t)), 0)
    return error * ratio.reshape(ratio.shape[: error.ndim])


def _mean_over_hidden(error: Float[Array, "b *_"], t: Level) -> Losses:
    """The mean of each example over its hidden positions, 0 where it has none."""
    hidden = jnp.broadcast_to(t.reshape(t.shape[: error.ndim]) > 0, error.shape)
    return sum_per_example(error) / jnp.maximum(sum_per_example(hidden.astype(error.dtype)), 1)
