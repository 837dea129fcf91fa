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

from diffjax.arguments.checked import checked_arguments
from diffjax.denoising import NetDenoiser, has_head, over_nets
from diffjax.errors import UserError
from diffjax.order import Order, levels
from diffjax.protocols import Denoise, Keys, Noise, State, Step
from diffjax.sampling.arguments import checked_grid
from diffjax.sampling.loop import advance, begin, rows_of
from diffjax.steps import posterior
from diffjax.utils.closures import compiled, portable


@checked_arguments
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
) -> State:
    """As `dj.sample`, from the same arguments and but for rounding, for nets with a head under `order.blocks`.

    `grid` is that of all blocks, as `grids.repeated` makes it; `steps`, by default 50 in each block, spaces it evenly.
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
    grid = checked_grid(grid, 50 * order.blocks if steps is None else steps, noise, order, denoise, step, None)
    if not block_by_block(grid, order):
        raise UserError(
            f"nested: each of the {order.blocks} blocks takes as many steps, from 1 to 0, and this grid of "
            f"{len(grid) - 1} steps does not do so; make it by grids.repeated(grid, {order.blocks}), or use dj.sample"
        )
    if step.evaluations > 1:
        raise UserError(f"nested: {step.name} calls the denoiser {step.evaluations} times a step; use dj.sample")
    rows = rows_of(step, noise, grid)
    return _scan(keys, grid, rows, portable(denoise), cond, noise=noise, order=order, step=step, shape=tuple(shape))


def block_by_block(grid: Float[Array, " _"], order: Order) -> bool:
    """Whether every block of the order takes as many steps of the grid, and is known when they are over."""
    each, rest = divmod(len(grid) - 1, max(order.blocks, 1))
    if rest or not each or not order.blocks:
        return False
    if isinstance(grid, Tracer):
        return True
    begins = np.linspace(1, 0, order.blocks + 1)
    return bool(np.allclose(np.asarray(grid)[::each], begins, rtol=0, atol=4 * np.finfo(np.float32).eps))


@compiled(static_argnames=("noise", "order", "step", "shape"))
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
) -> State:
    x, rank, carry = begin(keys, None, noise, order, step, shape)
    positions = shape[: len(shape) - noise.channel_axes]
    most = -(-prod(positions) // order.blocks)
    given = {"noise": noise, "order": order, "step": step}

    def block(state: tuple[State, Any], stops: Any) -> tuple[tuple[State, Any], None]:
        (_, u, v, _) = stops
        t, s = (levels(order, jnp.broadcast_to(clock, len(x)), rank) for clock in (u[0], v[-1]))
        moving = jnp.broadcast_to(t > s, (len(x), *positions, 1))
        seen = _seen(denoise, state[0], t, cond, moving, most)

        def body(state: tuple[State, Any], stop: Any) -> tuple[tuple[State, Any], None]:
            each = iter(seen)
            heads = over_nets(denoise, lambda part: _Head(part, cycle(next(each))))
            return advance(keys, rank, stop, state, heads, cond, None, **given), None

        return jax.lax.scan(body, state, stops)[0], None

    stops = (jnp.arange(len(grid) - 1), grid[:-1], grid[1:], rows)
    blocks = jax.tree.map(lambda each: each.reshape(order.blocks, -1, *each.shape[1:]), stops)
    return jax.lax.scan(block, (x, carry), blocks)[0][0]


Seen = tuple[Array, Array]  # the context of every patch, and which patches the block moves


def _seen(denoise: Any, x: State, t: Array, cond: PyTree, moving: Bool[Array, "b ..."], most: int) -> list[list[Seen]]:
    """What each net sees at the beginning of a block, in each of its calls."""
    nets: list[_Backbone] = []

    def seeing(part: NetDenoiser) -> _Backbone:
        nets.append(_Backbone(part, moving, most))
        return nets[-1]

    over_nets(denoise, seeing)(x, t, cond)
    return [net.seen for net in nets]


@dataclass
class _Backbone:
    """The large part of a net: called as a denoiser is, it keeps what it sees, and answers nothing."""

    part: NetDenoiser
    moving: Bool[Array, "b ..."]
    most: int
    seen: list[Seen] = field(default_factory=list)

    def __call__(self, x_t: Array, t: Array, cond: PyTree) -> Array:
        net, noise = self.part.net, self.part.noise
        z = net.apply(self.part.variables, noise.feed(x_t, t), noise.level(t), cond, method="context")
        places = net.places(self.moving, self.most)
        self.seen.append((z, jnp.repeat(places, len(x_t) // len(places), axis=0)))  # guidance: copies side by side
        return jnp.zeros_like(x_t)


@dataclass
class _Head:
    """The head of a net, which has been told in the same order of calls what the large part sees."""

    part: NetDenoiser
    seen: Iterator[Seen]

    def __call__(self, x_t: Array, t: Array, cond: PyTree) -> Array:
        noise, (z, places) = self.part.noise, next(self.seen)
        out = self.part.net.apply(self.part.variables, noise.feed(x_t, t), noise.level(t), z, places, method="head")
        return noise.read(out, x_t, t)
