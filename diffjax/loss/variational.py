"""The variational bound as a loss, and its terms."""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import eval_context
from jaxtyping import Array, Float, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.loss.protocol import Apply, Loss, Losses, position_shape, sum_per_example
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Keys, Level, Noise, Prediction, Sample
from diffjax.times import stratified
from diffjax.utils.prng import KeyUse, fold


class BoundGrid(NamedTuple):
    """Clock values of a bound, noisiest first, and the lowest level at which a position is read."""

    stops: Float[Array, " _"]
    lowest_level: Float[Array, ""]


@validate_arguments
def bound(noise: Noise, order: Order, *, steps: int | None = None) -> Loss:
    """The variational bound without `noise.boundary_terms`, in nats per dimension, estimated by one of its steps.

    `steps` of the clock are by default one per position at width 0, where this is the autoregressive likelihood, and
    otherwise near the limit of infinitely many (`bound_grid`). Raises UserError at width 0 where the noise is Gaussian.
    """
    noise.check_prior()
    _check_steps(noise, order, steps)

    def loss(keys: Keys, apply: Apply, x0: Sample, cond: PyTree) -> Losses:
        x0 = noise.data(x0)

        def denoise(x_t: Sample, t: Level) -> Array:
            return noise.read(apply(noise.feed(x_t, t), noise.level(t), cond, fold(keys, KeyUse.DROPOUT)), x_t, t)

        positions = position_shape(noise, x0)
        rank = ranks(order, fold(keys, KeyUse.RANK), positions, noise.channel_axes)
        term = BoundTerm(noise, order, denoise, bound_grid(noise, order, steps, positions))
        quantile = stratified(fold(keys, KeyUse.TIME))
        return term.nats(quantile, fold(keys, KeyUse.CORRUPT), x0, rank) / x0[0].size

    return loss


def bound_grid(
    noise: Noise, order: Order, steps: int | None, positions: tuple[int, ...], levels: int | None = None
) -> BoundGrid:
    """The grid of a bound for data of so many `levels`, if discrete.

    One step per position at width 0, else 10,000 steps of the noise's own grid. Where positions pass through the levels
    one after the other, each has its own grid, of 1,000 steps by default, and the clock stops at every position's.
    """
    _check_steps(noise, order, steps)
    with eval_context():
        if order.width == 0:
            return BoundGrid(noise.bound_grid(steps or prod(positions), levels), jnp.zeros(()))
        staggered = order.width < 1 and not _ends_at_data(noise)
        position_stops = noise.bound_grid(steps or (1_000 if staggered else 10_000), levels)
        if not staggered:
            return BoundGrid(position_stops, position_stops[-1])
        begins = (1 - order.width) * (1 - jnp.unique(order.rank(jax.random.key(0), positions)))
        stops = jnp.unique((jnp.append(position_stops, 0) * order.width)[None] + begins[:, None])
        return BoundGrid(stops[::-1], position_stops[-1])


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
    """Whether the last stop of a bound leaves nothing to read."""
    with eval_context():
        return bool(noise.bound_grid(1)[-1] == 0)


class BoundTerm(NamedTuple):
    """The bound of a denoiser of `(x_t, t)`, on a grid of N steps.

    `factorized`: the prediction of a hidden position does not depend on the values of the others that are hidden.
    """

    noise: Noise
    order: Order
    denoise: Callable[[Sample, Level], Array | Prediction]
    grid: BoundGrid
    factorized: bool = False

    def nats(self, quantile: Float[Array, " b"], keys: Keys, x0: Sample, rank: Array) -> Losses:
        """N times the nats of one of the N steps, that at the quantile in (0, 1], 1 being the noisiest.

        A position's last step ends at the lowest level, where it is read and from then on known.

        Where every hidden position is equally likely to be the next one, the mean over all hidden positions stands for
        those that the step moves: of the same expectation and less variance (Hoogeboom et al. 2022, eq. 4). Between
        widths 0 and 1 that requires `factorized`.
        """
        stops, lowest_level = self.grid
        count = len(stops) - 1
        first = count - jnp.ceil(quantile * count).astype(jnp.int32)
        t = levels(self.order, stops[first], rank)
        s = levels(self.order, stops[first + 1], rank)
        hidden = t > 0
        t = jnp.where(hidden, jnp.maximum(t, lowest_level), 0)
        s = jnp.where(hidden, jnp.maximum(s, lowest_level), 0)
        share: Array | float = 1.0
        if self.order.exchangeable and (self.order.width == 0 or self.factorized):
            moving = t > s
            share = _count(moving, t) / jnp.maximum(_count(hidden, t), 1)
            t, s = (jnp.where(hidden, _max_level(jnp.where(moving, level, 0)), 0) for level in (t, s))
        x_t, _ = jax.vmap(self.noise.corrupt)(keys, x0, t)
        return count * share * sum_per_example(self.noise.bound(x0, self.denoise(x_t, t), x_t, t, s))


def _count(mask: Array, t: Level) -> Losses:
    return sum_per_example(mask.astype(t.dtype))


def _max_level(levels: Level) -> Level:
    """The highest level of each example, with axes to broadcast."""
    return jnp.max(levels, axis=tuple(range(1, levels.ndim)), keepdims=True)
