"""The arguments of a sampler: checked before anything is traced, and gathered into two records."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_context
from jaxtyping import Array, Float, Int, PyTree

from diffjax import grids
from diffjax.denoising import bind_hook, is_causal
from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.protocols import Cond, Denoise, Hook, Keys, Noise, NoiseAwareHook, Sample, Step

Grid = Float[Array, " stops"]


@dataclass(frozen=True)
class Sampler:
    """The settings that a sampling program is compiled for; `shape` is that of one example."""

    noise: Noise
    order: Order
    step: Step
    shape: tuple[int, ...]


class Inputs(NamedTuple):
    """The arguments that all steps of a sampling program share."""

    keys: Keys
    denoise: Denoise
    cond: Cond
    hook: Hook | None = None


class ClockStep(NamedTuple):
    """One step of the clock: its number, from clock value u to v, and its row of the step rule's plan."""

    number: Int[Array, "*stops"]
    u: Float[Array, "*stops"]
    v: Float[Array, "*stops"]
    row: PyTree = None


def bind_inputs(
    sampler: Sampler, keys: Keys, denoise: Denoise, cond: Cond, hook: Hook | NoiseAwareHook | None
) -> Inputs:
    """The shared arguments, a hook that depends on the noise being bound to it."""
    shape = (len(keys), *sampler.shape)
    denoise, bound_hook = bind_hook(hook, sampler.noise, sampler.order, denoise, shape)
    return Inputs(keys, denoise, cond, bound_hook)


def validate_grid(
    grid: Grid | None, steps: int, noise: Noise, order: Order, denoise: Denoise, step: Step, start: Sample | None
) -> Grid:
    """The grid, by default `steps` even steps from 1 to 0.

    Raises UserError for a grid that does not fall from 1, or from any value if there is a `start`, and for a step rule
    that does not fit the noise, the order or the denoiser.
    """
    _check_rule(noise, order, denoise, step)
    if isinstance(grid, Tracer):
        return grid
    with eval_context():  # also while something else is being traced
        grid = grids.uniform(noise, steps) if grid is None else jnp.asarray(grid)
    stops = np.asarray(grid)
    if stops.ndim != 1 or not _falls(stops) or stops[0] > 1 or stops[-1] < 0:
        raise UserError("grid: expected two or more clock values in [0, 1], strictly falling, noisiest first")
    if start is None and stops[0] != 1:
        raise UserError(f"grid: starts at {stops[0]:g}, and the prior is the state at 1 only; give start=, the state")
    return grid


def _falls(stops: np.ndarray) -> bool:
    """Whether the clock falls at every step but the last ones, which may repeat the end (`grids.pad_grid`)."""
    falls = np.diff(stops)
    moves = np.count_nonzero(falls)
    return bool(moves and np.all(falls[:moves] < 0))


def _check_rule(noise: Noise, order: Order, denoise: Denoise, step: Step) -> None:
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
