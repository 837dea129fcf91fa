"""Sampling block after block from a net with a head: what `sample` draws, from the same keys, sooner.

At the beginning of each block the net's large part sees once what is known; the steps within the block run the head
alone, on the positions of that block alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import NetDenoiser, has_head, map_nets
from diffjax.errors import UserError
from diffjax.order import Order, levels
from diffjax.protocols import Denoise, Keys, Noise, Sample, Step
from diffjax.sampling.arguments import validate_grid
from diffjax.sampling.loop import init_state, sampling_step, step_coefficients
from diffjax.steps import posterior
from diffjax.utils.closures import as_pytree, closure_jit


@validate_arguments
def sample(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    cond: PyTree = None,
    steps: int | None = None,
    grid: Float[Array, " _"] | None = None,
    step: Step | None = None,
) -> Sample:
    """As `dj.sample`, from the same arguments and but for rounding, for nets with a head under `order.blocks`.

    `grid` is that of all blocks, as `grids.repeat_per_block` makes it; `steps`, by default 50 in each block, spaces
    it evenly.
    In all the large part of the net is evaluated once a block, and the head once a step, on the positions of one block.
    Raises UserError where the denoiser holds other nets, or where blocks of the grid are not those of the order.
    """
    step = step or posterior()
    if not has_head(denoise):
        raise UserError(
            "nested: every net of the denoiser must have a head, as nets.MAR does, and this has none, or others; use "
            "dj.sample"
        )
    if not order.blocks:
        raise UserError("nested: expected an order of blocks, such as order.blocks(16); or use dj.sample")
    grid = validate_grid(grid, 50 * order.blocks if steps is None else steps, noise, order, denoise, step, None)
    if not is_blockwise(grid, order):
        raise UserError(
            f"nested: each of the {order.blocks} blocks takes as many steps, from 1 to 0, and this grid of "
            f"{len(grid) - 1} steps does not do so; make it by grids.repeat_per_block(grid, {order.blocks}), or "
            "use dj.sample"
        )
    if step.evaluations > 1:
        raise UserError(f"nested: {step.name} calls the denoiser {step.evaluations} times a step; use dj.sample")
    rows = step_coefficients(step, noise, grid)
    return _scan(keys, grid, rows, as_pytree(denoise), cond, noise=noise, order=order, step=step, shape=tuple(shape))


def is_blockwise(grid: Float[Array, " _"], order: Order) -> bool:
    """Whether every block of the order takes as many steps of the grid, and is known when they are over."""
    steps_per_block, rest = divmod(len(grid) - 1, max(order.blocks, 1))
    if rest or not steps_per_block or not order.blocks:
        return False
    if isinstance(grid, Tracer):
        return True
    begins = np.linspace(1, 0, order.blocks + 1)
    return bool(np.allclose(np.asarray(grid)[::steps_per_block], begins, rtol=0, atol=4 * np.finfo(np.float32).eps))


@closure_jit(static_argnames=("noise", "order", "step", "shape"))
def _scan(
    keys: Keys,
    grid: Array,
    rows: PyTree,
    denoise: Any,
    cond: PyTree,
    *,
    noise: Noise,
    order: Order,
    step: Step,
    shape: tuple[int, ...],
) -> Sample:
    x, rank, carry = init_state(keys, None, noise, order, step, shape)
    positions = shape[: len(shape) - noise.channel_axes]
    max_positions = -(-prod(positions) // order.blocks)
    settings = {"noise": noise, "order": order, "step": step}

    def block(state: tuple[Sample, Any], stops: Any) -> tuple[tuple[Sample, Any], None]:
        (_, u, v, _) = stops
        t, s = (levels(order, jnp.broadcast_to(clock, len(x)), rank) for clock in (u[0], v[-1]))
        moving = jnp.broadcast_to(t > s, (len(x), *positions, 1))
        contexts = _block_contexts(denoise, state[0], t, cond, moving, max_positions)

        def body(state: tuple[Sample, Any], stop: Any) -> tuple[tuple[Sample, Any], None]:
            remaining = iter(contexts)
            heads = map_nets(denoise, lambda part: _Head(part, cycle(next(remaining))))
            return sampling_step(keys, rank, stop, state, heads, cond, None, **settings), None

        return jax.lax.scan(body, state, stops)[0], None

    stops = (jnp.arange(len(grid) - 1), grid[:-1], grid[1:], rows)
    blocks = jax.tree.map(lambda leaf: leaf.reshape(order.blocks, -1, *leaf.shape[1:]), stops)
    return jax.lax.scan(block, (x, carry), blocks)[0][0]


BlockContext = tuple[Array, Array]  # the context of every patch, and which patches the block moves


def _block_contexts(
    denoise: Any, x: Sample, t: Array, cond: PyTree, moving: Bool[Array, "b ..."], max_positions: int
) -> list[list[BlockContext]]:
    """What each net sees at the beginning of a block, in each of its calls."""
    nets: list[_Backbone] = []

    def collect(part: NetDenoiser) -> _Backbone:
        nets.append(_Backbone(part, moving, max_positions))
        return nets[-1]

    map_nets(denoise, collect)(x, t, cond)
    return [net.contexts for net in nets]


@dataclass
class _Backbone:
    """The large part of a net: called as a denoiser is, it keeps what it sees, and answers nothing."""

    part: NetDenoiser
    moving: Bool[Array, "b ..."]
    max_positions: int
    contexts: list[BlockContext] = field(default_factory=list)

    def __call__(self, x_t: Array, t: Array, cond: PyTree) -> Array:
        net, noise = self.part.net, self.part.noise
        z = net.apply(self.part.variables, noise.feed(x_t, t), noise.level(t), cond, method="context")
        places = net.apply(self.part.variables, self.moving, self.max_positions, method="places")
        self.contexts.append((z, jnp.repeat(places, len(x_t) // len(places), axis=0)))  # guidance: copies side by side
        return jnp.zeros_like(x_t)


@dataclass
class _Head:
    """The head of a net, which has been told in the same order of calls what the large part sees."""

    part: NetDenoiser
    contexts: Iterator[BlockContext]

    def __call__(self, x_t: Array, t: Array, cond: PyTree) -> Array:
        noise, (z, places) = self.part.noise, next(self.contexts)
        out = self.part.net.apply(self.part.variables, noise.feed(x_t, t), noise.level(t), z, places, method="head")
        return noise.read(out, x_t, t)
