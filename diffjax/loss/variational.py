"""The variational bound as a loss, and its terms."""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import eval_context
from jaxtyping import Array, Float, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.loss.protocol import Apply, Loss, Losses, position_shape, sum_per_example
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Keys, Noise, Sample
from diffjax.times import stratified
from diffjax.utils.prng import KeyUse, fold


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
