"""Masked autoregressive sampling (Li et al. 2024, MAR): blocks of positions, few in the first and many in the last.

As in `blockwise`, a net's backbone is evaluated once for each block, and its head at each step of the block's
diffusion, on that block alone. Here the sizes of the blocks follow a cosine (Chang et al. 2022, MaskGIT).
"""

from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import has_head
from diffjax.errors import UserError
from diffjax.guidance.scales import Scale, validate_scale, weight
from diffjax.order import Order
from diffjax.protocols import Cond, Denoise, Keys, Level, Noise, Sample, Step
from diffjax.sampling.arguments import ClockStep, Grid, Inputs, Sampler, validate_grid
from diffjax.sampling.blockwise import block_head
from diffjax.sampling.loop import State, clock_steps, init_state, step_between, step_coefficients
from diffjax.sampling.net_calls import answer_calls, net_calls
from diffjax.steps import posterior
from diffjax.utils.closures import as_pytree, closure_jit
from diffjax.utils.memo import bind


class Block(NamedTuple):
    """A block by its number, and how many positions are known before and after it."""

    number: Int[Array, "*blocks"]
    before: Int[Array, "*blocks"]
    after: Int[Array, "*blocks"]


@validate_arguments
def sample(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    cond: Cond = None,
    blocks: int = 64,
    steps: int = 100,
    grid: Grid | None = None,
    step: Step | None = None,
    start: Sample | None = None,
) -> Sample:
    """One example per key, in `blocks` blocks of an order of width 0, such as `order.shuffled`, for nets with a head.

    Each block goes along `grid`, by default `steps` even steps from 1 to 0, while earlier blocks are known and later
    ones are not; `known_counts` has their sizes. `step` is ancestral sampling by default; of a net that learned the
    variance, the paper's is `posterior(learned_variance=True)` with `with_variance(denoise)`. `start` is the state of
    all positions at grid[0], by default drawn from the prior (then grid[0] must be 1). Raises UserError where an
    argument does not fit, or there are more blocks than positions.
    """
    sampler = Sampler(noise, order, step or posterior(), tuple(shape))
    if not has_head(denoise):
        raise UserError(
            "denoise: every net of the denoiser must have a head, as nets.MAR does, and this has none, or others; use "
            "dj.sample"
        )
    if order.width > 0:
        raise UserError(
            f"order: expected an order of width 0, such as order.shuffled, got one of width {order.width:g}"
        )
    if sampler.step.evaluations > 1:
        raise UserError(f"step: {sampler.step.name} calls the denoiser {sampler.step.evaluations} times; use posterior")
    known_counts(prod(sampler.shape[: len(sampler.shape) - noise.channel_axes]), blocks)  # an error for too many
    grid = validate_grid(grid, steps, noise, order, denoise, sampler.step, start)
    inputs = Inputs(keys, as_pytree(denoise), cond)
    plan = step_coefficients(sampler.step, noise, grid)
    return _scan(inputs, grid, plan, start, sampler=sampler, blocks=blocks)


def known_counts(positions: int, blocks: int) -> Int[np.ndarray, " _"]:
    """How many positions are known before the first block and after each, from 0 to all.

    After block k of B, ⌊n cos(π/2 k/B)⌋ of n positions are unknown, but at least one fewer than before. Raises
    UserError where there are more blocks than positions.
    """
    if not 1 <= blocks <= positions:
        raise UserError(f"blocks: expected at least 1 and at most one for each of {positions} positions, got {blocks}")
    unknown = np.floor(positions * np.cos(np.pi / 2 * np.arange(blocks) / blocks)).astype(int)
    unknown = np.minimum.accumulate(unknown + np.arange(blocks)) - np.arange(blocks)
    return positions - np.append(np.maximum(unknown, 1), 0)


@validate_arguments
def growing_scale(scale: object, blocks: int = 64) -> Partial:
    """A guidance scale that grows with the share r of the positions known after the block: 1 + (scale - 1) r.

    r is at most (n - 1)/n of n positions. For `dj.guidance.cfg` and `sample` with as many blocks (Li et al. 2024,
    after Chang et al. 2023, Muse). Raises UserError for a scale that is no number.
    """
    return Partial(bind(_growing, blocks), validate_scale("growing_scale", scale))


def _growing(blocks: int, scale: Scale, t: Level) -> Float[Array, "b ..."]:
    positions = prod(t.shape[1:])
    counts = known_counts(positions, blocks)
    known = jnp.sum(t == 0, axis=range(1, t.ndim), keepdims=True)
    block = jnp.searchsorted(jnp.asarray(counts), known, side="right") - 1
    after = jnp.minimum(jnp.asarray(counts)[block + 1], positions - 1)
    return 1 + (jnp.asarray(weight(scale, t, t.ndim)) - 1) * (after / positions)


@closure_jit(static_argnames=("sampler", "blocks"))
def _scan(inputs: Inputs, grid: Grid, plan: PyTree, start: Sample | None, *, sampler: Sampler, blocks: int) -> Sample:
    x, rank, carry = init_state(inputs.keys, start, sampler.noise, sampler.order, sampler.step, sampler.shape)
    count = prod(rank.shape[1:])
    place = jnp.argsort(jnp.argsort(rank.reshape(-1, count), axis=1), axis=1).reshape(rank.shape)
    counts = known_counts(count, blocks)
    stops = clock_steps(grid, plan)

    def draw_block(state: State, block: Block) -> tuple[State, None]:
        known = place < block.before
        moves = ~known & (place < block.after)

        def levels(clock: Float[Array, ""]) -> Level:
            return jnp.where(known, 0, jnp.where(moves, clock, grid[0]))

        calls = net_calls(inputs.denoise, state[0], levels(grid[0]), inputs.cond)
        heads = [block_head(call, moves, int(np.diff(counts).max())) for call in calls]
        in_block = inputs._replace(denoise=answer_calls(inputs.denoise, heads))

        def move(state: State, at: ClockStep) -> tuple[State, None]:
            numbered = at._replace(number=block.number * (len(grid) - 1) + at.number)
            return step_between(in_block, levels(at.u), levels(at.v), numbered, state, sampler=sampler), None

        return jax.lax.scan(move, state, stops)[0], None

    sequence = Block(jnp.arange(blocks), jnp.asarray(counts[:-1]), jnp.asarray(counts[1:]))
    return jax.lax.scan(draw_block, (x, carry), sequence)[0][0]
