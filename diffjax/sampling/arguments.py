"""What a sampler is called with, looked at before anything is traced."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_context
from jaxtyping import Array, Float

from diffjax import grids
from diffjax.denoising import is_causal
from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.protocols import Noise, Step

Grid = Float[Array, " stops"]


def validate_grid(
    grid: Grid | None, steps: int, noise: Noise, order: Order, denoise: Any, step: Step, start: Any
) -> Grid:
    """The grid, or `steps` even ones, once it is known to serve, and the rule with it."""
    _check_rule(noise, order, denoise, step)
    if isinstance(grid, Tracer):
        return grid
    with eval_context():  # also while something else is being traced
        grid = grids.uniform(noise, steps) if grid is None else jnp.asarray(grid)
    stops = np.asarray(grid)
    if stops.ndim != 1 or not _falls(stops) or stops[0] > 1 or stops[-1] < 0:
        raise UserError("grid: expected two or more clock values in [0, 1], strictly falling, noisiest first")
    if start is None and stops[0] != 1:
        raise UserError(f"grid: starts at {stops[0]:g}, and only at 1 is nothing known; give start=, the state there")
    return grid


def _falls(stops: np.ndarray) -> bool:
    """Whether the clock falls at every step but the last ones, where it may stand still (`grids.pad_grid`)."""
    falls = np.diff(stops)
    moves = np.count_nonzero(falls)
    return bool(moves and np.all(falls[:moves] < 0))


def _check_rule(noise: Noise, order: Order, denoise: Any, step: Step) -> None:
    """Raise UserError where the rule does not fit the noise, the order or the denoiser."""
    kind = type(noise).__name__
    if not isinstance(noise, step.needs):
        raise UserError(f"step: {step.name} needs a {step.needs.__name__}, and {kind} is none; use posterior")
    if order.width < 1 and not step.per_position:
        raise UserError(
            f"step: {step.name} needs one level for all positions (order.together), and the order's width is "
            f"{order.width:g}; use posterior, or another rule that serves every order"
        )
    if step.reorders and is_causal(denoise):
        raise UserError(
            f"step: {step.name} chooses by itself what to reveal, and a causal net reveals in the order's own order; "
            "use posterior or unmask, or a net with causal=False"
        )
