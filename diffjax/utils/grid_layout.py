"""A sampling grid among others: at the length of a longer one, and once in each block of an order."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffjax.errors import UserError

Grid = Float[Array, " _"]  # clock values, falling


def pad_grid(grid: Grid, length: int) -> Grid:
    """The grid with its last point repeated up to `length` steps, which changes nothing: such grids compile once.

    Raises UserError where the grid has more steps.
    """
    steps = len(grid) - 1
    if length < steps:
        raise UserError(f"pad_grid: length must be at least the grid's {steps} steps, got {length}")
    return jnp.concatenate([grid, jnp.broadcast_to(grid[-1:], (length - steps,))])


def repeat_per_block(grid: Grid, count: int) -> Grid:
    """The whole grid once in each block of `order.blocks(count)`. Raises UserError unless it goes from 1 to 0."""
    stops = np.asarray(grid, np.float64)
    if count < 1 or stops[0] != 1 or stops[-1] != 0:
        raise UserError(
            f"repeat_per_block: expected a grid from 1 to 0 and count >= 1, got {stops[0]:g} to {stops[-1]:g}, {count}"
        )
    blocks = [(count - 1 - block + stops[:-1]) / count for block in range(count)]
    return jnp.asarray(np.append(np.concatenate(blocks), 0), jnp.asarray(grid).dtype)
