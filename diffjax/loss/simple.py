"""What training minimises: `loss(keys, apply, x0, cond) -> [b]`.

`apply(x_t, level, cond, keys) -> out` is the net with its variables bound; it is handed what nets see, `noise.feed`
and `noise.level`, and a key per example for its dropout. A causal net takes each position's rank too.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import eval_context
from jaxtyping import Array, Float, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.loss.condition_dropout import drop_cond as drop_cond
from diffjax.loss.known_masks import random_fraction_mask, sample_hidden_mask
from diffjax.order import Order, levels, ranks, shuffled
from diffjax.protocols import Keys, Noise, Sample
from diffjax.times import Times, stratified, uniform
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.shape_checks import require_floating
from diffjax.weights import LogWeight

__all__ = ["bound", "causal", "regression"]  # each a maker of losses from a noise and an order

Losses = Float[Array, " b"]
Apply = Callable[..., Any]
Loss = Callable[[Keys, Apply, Sample, PyTree], Losses]


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


@validate_arguments
def bound(noise: Noise, order: Order, *, steps: int | None = None) -> Loss:
    """The variational bound, in nats per dimension, by one of its steps: the sum of all but what
    `noise.boundary_terms` adds.

    `steps` of the clock are by default as many as positions at width 0, where this is the autoregressive likelihood,
    and else near the limit of infinitely many (`bound_grid`). Raises UserError at width 0 where the noise is Gaussian.
    """
    noise.check_prior()
    _check_steps(noise, order, steps)

    def loss(keys: Keys, apply: Apply, x0: Sample, cond: PyTree) -> Losses:
        x0 = noise.data(x0)

        def denoise(x_t: Any, t: Any) -> Any:
            return noise.read(apply(noise.feed(x_t, t), noise.level(t), cond, fold(keys, KeyUse.DROPOUT)), x_t, t)

        positions = position_shape(noise, x0)
        rank = ranks(order, fold(keys, KeyUse.RANK), positions, noise.channel_axes)
        stops = bound_grid(noise, order, steps, positions)
        quantile = stratified(fold(keys, KeyUse.TIME))
        return bound_term(quantile, fold(keys, KeyUse.CORRUPT), noise, order, denoise, x0, rank, *stops) / x0[0].size

    return loss


def bound_grid(
    noise: Noise, order: Order, steps: int | None, positions: tuple[int, ...], levels: int | None = None
) -> tuple[Float[Array, " _"], Float[Array, ""]]:
    """The clock values of a bound, and the least level at which a position is read.

    One step a position at width 0, else 10,000 steps as the noise likes them. Where positions pass through the levels
    one after the other each has its own such steps, 1,000 by default, and the clock stops at everyone's.
    """
    _check_steps(noise, order, steps)
    with eval_context():
        if order.width == 0:
            return noise.bound_grid(steps or prod(positions), levels), jnp.zeros(())
        staggered = order.width < 1 and not _ends_at_data(noise)
        position_stops = noise.bound_grid(steps or (1_000 if staggered else 10_000), levels)
        if not staggered:
            return position_stops, position_stops[-1]
        begins = (1 - order.width) * (1 - jnp.unique(order.rank(jax.random.key(0), positions)))
        stops = jnp.unique((jnp.append(position_stops, 0) * order.width)[None] + begins[:, None])
        return stops[::-1], position_stops[-1]


def _check_steps(noise: Noise, order: Order, steps: int | None) -> None:
    """Raise UserError where there is no bound."""
    if steps is not None and steps < 1:
        raise UserError(f"bound: steps must be at least 1, got {steps}")
    if order.width == 0 and not _ends_at_data(noise):
        raise UserError(
            f"bound: {type(noise).__name__} noise has none under an order of width 0, which reveals each position "
            "in one step; use order.blocks, as many as positions, or Masking noise"
        )


def _ends_at_data(noise: Noise) -> bool:
    """Whether the last stop of a bound leaves nothing to read: all is known for certain there."""
    with eval_context():
        return bool(noise.bound_grid(1)[-1] == 0)


def bound_term(
    quantile: Float[Array, " b"],
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Callable[[Any, Any], Any],
    x0: Sample,
    rank: Array,
    stops: Float[Array, " _"],
    lowest_level: Float[Array, ""],
    factorized: bool = False,
) -> Losses:
    """N times the nats of one of the bound's N steps, that at the quantile in (0, 1], 1 being the noisiest.

    A position's last step ends at the least level, where it is read and from then on known.

    Where every hidden position is as likely to be next as every other, the mean over all hidden ones stands for those
    that the step moves: of the same expectation and less variance (Hoogeboom et al. 2022, eq. 4). Between 1 and 0 that
    asks for a net to which hidden positions are `factorized`: what it says of one does not depend on the others'
    values.
    """
    count = len(stops) - 1
    first = count - jnp.ceil(quantile * count).astype(jnp.int32)
    t, s = levels(order, stops[first], rank), levels(order, stops[first + 1], rank)
    t, s = (jnp.where(t > 0, jnp.maximum(position_level, lowest_level), 0) for position_level in (t, s))
    by_all = order.exchangeable and (order.width == 0 or factorized)
    moving, hidden = sum_per_example((t > s).astype(t.dtype)), sum_per_example((t > 0).astype(t.dtype))
    if by_all:
        t, s = (jnp.where(t > 0, _max_level(jnp.where(t > s, position_level, 0)), 0) for position_level in (t, s))
    x_t, _ = jax.vmap(noise.corrupt)(keys, x0, t)
    share = moving / jnp.maximum(hidden, 1) if by_all else 1
    return count * share * sum_per_example(noise.bound(x0, denoise(x_t, t), x_t, t, s))


def _max_level(levels: Array) -> Array:
    """Of each example, with axes to broadcast."""
    return jnp.max(levels, axis=tuple(range(1, levels.ndim)), keepdims=True)


@validate_arguments
def causal(noise: Noise, order: Order, *, hide: float = 0.0, shuffle: float = 0.0) -> Loss:
    """-log p(x_i | what is revealed before i), in nats, the mean over all positions: one pass of a causal net.

    The bound's every step at once, for an order of width 0; by default the mean of this loss is that of `bound`. Two
    ways to keep a net from learning its examples by heart: of each example's input a share is masked that is drawn from
    (0, `hide`); and a share `shuffle` of the examples is taken in an order drawn at random (Yu et al. 2024, RAR).
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
        rank_arguments = fold(keys, KeyUse.RANK), position_shape(noise, x0), noise.channel_axes
        rank = ranks(order, *rank_arguments)
        if shuffle:
            mixes = jax.vmap(lambda key: jax.random.bernoulli(key, shuffle))(fold(keys, KeyUse.TIME))
            rank = jnp.where(mixes[:, None], ranks(shuffled, *rank_arguments), rank)
        nothing = jax.vmap(lambda key: noise.prior(key, x0.shape[1:]))(keys)
        hidden = jax.vmap(lambda key: random_fraction_mask(key, hide, x0.shape[1:]))(fold(keys, KeyUse.CORRUPT))
        x, t = jnp.where(hidden, nothing, x0), jnp.zeros(rank.shape)
        out = apply(noise.feed(x, t), noise.level(t), cond, fold(keys, KeyUse.DROPOUT), rank)
        return sum_per_example(noise.miss(out, x0, nothing, t)) / x0[0].size

    return loss


def position_shape(noise: Noise, x0: Sample) -> tuple[int, ...]:
    """The shape of an example without its channels."""
    return x0.shape[1 : x0.ndim - noise.channel_axes]


def sum_per_example(nats: Array) -> Losses:
    """The sum over all but the first axis."""
    return jnp.sum(nats.reshape(len(nats), -1), axis=1)
