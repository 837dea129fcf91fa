"""Generation orders: the noise level of every position at each clock time.

The clock u falls from 1 (pure noise) to 0 (data). The position of rank 0 is generated first, that of rank 1 last;
`width` is the fraction of the clock that one position takes. Width 1 is diffusion, all positions together; width 0
generates one position after the other, which is autoregression.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context
from jaxtyping import Array, Float, Key

from diffjax.errors import UserError
from diffjax.protocols import Keys
from diffjax.utils.closures import intern_function
from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.shape_checks import require_floating

__all__ = ["blocks", "raster", "rolling", "shuffled", "together"]

Rank = Float[Array, "..."]


@dataclass(frozen=True)
class Order:
    """A generation order. Raises UserError for a width outside [0, 1].

    `rank(key, positions) -> [*positions]`, in (0, 1), or in [0, 1] for a width above 0. `exchangeable`: given the
    visible positions, every hidden one is equally likely to be next. `blocks`: the number of blocks of positions that
    share a level; 0 for an order without blocks.
    """

    width: float
    rank: Callable[[Key[Array, ""], tuple[int, ...]], Rank]
    exchangeable: bool = False
    blocks: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.width <= 1:
            raise UserError(f"order: width must be in [0, 1], got {self.width}")
        object.__setattr__(self, "rank", intern_function(self.rank))


def _raster_rank(key: Key[Array, ""], positions: tuple[int, ...]) -> Rank:
    n = prod(positions)
    return ((jnp.arange(n) + 0.5) / n).reshape(positions)


def _shuffled_rank(key: Key[Array, ""], positions: tuple[int, ...]) -> Rank:
    n = prod(positions)
    return ((jax.random.permutation(key, n) + 0.5) / n).reshape(positions)


together = Order(1.0, _raster_rank, blocks=1)
"""All positions at one level: diffusion."""

raster = Order(0.0, _raster_rank)
"""One position after the other, row by row."""

shuffled = Order(0.0, _shuffled_rank, exchangeable=True)
"""One position after the other, in a random order drawn by each example's key."""


@memoize_by_arguments
def rolling(width: float) -> Order:
    """A window of this width, in (0, 1), that moves in raster order (Ruhe et al. 2024; Chen et al. 2024)."""
    return Order(float(width), _raster_rank)


@memoize_by_arguments
def blocks(count: int, shuffled: bool = False) -> Order:
    """`count` blocks of positions, one after the other, the positions of a block together (Arriola et al. 2025).

    Blocks are in raster order, or `shuffled` by each example's key. One block is diffusion; as many blocks as positions
    are autoregression, each position diffused given those before it (Li et al. 2024, MAR). Raises UserError for a
    count below 1.
    """
    if count < 1:
        raise UserError(f"order.blocks: count must be at least 1, got {count}")
    one_by_one = _shuffled_rank if shuffled else _raster_rank

    def rank(key: Key[Array, ""], positions: tuple[int, ...]) -> Rank:
        if prod(positions) < count:
            raise UserError(f"order: there are {prod(positions)} positions {positions}, too few for {count} blocks")
        block = jnp.floor(one_by_one(key, positions) * count)
        return block / max(count - 1, 1)

    return Order(1 / count, rank, exchangeable=shuffled, blocks=count)


def level(order: Order, u: Float[Array, "..."], rank: Rank) -> Float[Array, "..."]:
    """t = clip((u - (1 - width)(1 - rank)) / width, 0, 1); for width 0, t = (u > 1 - rank).

    Values within rounding of 0 or 1 are exactly that, so that a finished position is known exactly.
    """
    if order.width == 0:
        return (u > 1 - rank).astype(u.dtype)
    t = (u - (1 - order.width) * (1 - rank)) / order.width
    rounding = 4 * jnp.finfo(u.dtype).eps * (1 - order.width) / order.width
    return jnp.where(t <= rounding, 0, jnp.where(t >= 1 - rounding, 1, t))


def ranks(order: Order, keys: Keys, positions: tuple[int, ...], channel_axes: int) -> Rank:
    """Each example's ranks, with axes for channels: `[b, *positions, 1…]`; `[b, 1, …]` for width 1."""
    if order.width == 1:
        return jnp.zeros((len(keys),) + (1,) * (len(positions) + channel_axes))
    values = jax.vmap(lambda key: require_floating("order: rank", order.rank(key, positions), positions))(keys)
    return values.reshape(values.shape + (1,) * channel_axes)


@functools.lru_cache(maxsize=256)
def is_fixed(order: Order, positions: tuple[int, ...]) -> bool:
    """Whether every key gives the same ranks, tested on 32 keys; a false positive has a probability below 2^-31."""
    if order.width == 1:
        return True
    with eval_context():
        keys = jax.vmap(jax.random.key)(jnp.arange(32))
        samples = np.asarray(ranks(order, keys, positions, 0))
    return bool((samples == samples[0]).all())


def levels(order: Order, u: Float[Array, " b"], rank: Rank) -> Float[Array, "b ..."]:
    """The level of every position of every example, broadcasting against x."""
    return level(order, u.reshape(u.shape + (1,) * (rank.ndim - 1)), rank.astype(u.dtype))
