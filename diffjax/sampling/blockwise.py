"""Block by block sampling from a net with a head: the samples of `dj.sample`, faster.

At the beginning of each block the net's backbone is evaluated once; the steps within the block evaluate the head alone,
on the positions of that block alone (Li et al. 2024, MAR).
"""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import has_head
from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.protocols import Cond, Denoise, Keys, Noise, Prediction, Sample, Step
from diffjax.sampling.arguments import ClockStep, Grid, Inputs, Sampler, validate_grid
from diffjax.sampling.loop import State, clock_steps, init_state, levels_at, sampling_step, step_coefficients
from diffjax.sampling.net_calls import NetCall, Predict, answer_calls, net_calls
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
    cond: Cond = None,
    steps: int | None = None,
    grid: Grid | None = None,
    step: Step | None = None,
) -> Sample:
    """The samples of `dj.sample`, equal but for rounding, for nets with a head under `order.blocks`.

    `grid` is that of all blocks (`grids.repeat_per_block`), by default `steps` even steps, 50 per block. The backbone
    is evaluated once a block, the head once a step. Raises UserError where the denoiser holds other nets, or the blocks
    of the grid are not those of the order.
    """
    sampler = Sampler(noise, order, step or posterior(), tuple(shape))
    if not has_head(denoise):
        raise UserError(
            "denoise: every net of the denoiser must have a head, as nets.MAR does, and this has none, or others; use "
            "dj.sample"
        )
    if not order.blocks:
        raise UserError("order: expected an order of blocks, such as order.blocks(16); or use dj.sample")
    steps = 50 * order.blocks if steps is None else steps
    grid = validate_grid(grid, steps, noise, order, denoise, sampler.step, None)
    if not is_blockwise(grid, order):
        raise UserError(
            f"grid: each of the {order.blocks} blocks takes as many steps, from 1 to 0, and this grid of "
            f"{len(grid) - 1} steps does not do so; make it by grids.repeat_per_block(grid, {order.blocks}), or "
            "use dj.sample"
        )
    if sampler.step.evaluations > 1:
        raise UserError(
            f"step: {sampler.step.name} calls the denoiser {sampler.step.evaluations} times a step; use dj.sample"
        )
    inputs = Inputs(keys, as_pytree(denoise), cond)
    return _scan(inputs, grid, step_coefficients(sampler.step, noise, grid), sampler=sampler)


def is_blockwise(grid: Grid, order: Order) -> bool:
    """Whether the grid has the same number of steps in every block of the order, which ends at level 0."""
    steps_per_block, rest = divmod(len(grid) - 1, max(order.blocks, 1))
    if rest or not steps_per_block or not order.blocks:
        return False
    if isinstance(grid, Tracer):
        return True
    begins = np.linspace(1, 0, order.blocks + 1)
    return bool(np.allclose(np.asarray(grid)[::steps_per_block], begins, rtol=0, atol=4 * np.finfo(np.float32).eps))


@closure_jit(static_argnames="sampler")
def _scan(inputs: Inputs, grid: Grid, plan: PyTree, *, sampler: Sampler) -> Sample:
    order = sampler.order
    x, rank, carry = init_state(inputs.keys, None, sampler.noise, order, sampler.step, sampler.shape)
    positions = sampler.shape[: len(sampler.shape) - sampler.noise.channel_axes]
    block_size = -(-prod(positions) // order.blocks)

    def block(state: State, stops: ClockStep) -> tuple[State, None]:
        t = levels_at(sampler, stops.u[0], rank)
        s = levels_at(sampler, stops.v[-1], rank)
        moves = jnp.broadcast_to(t > s, (len(rank), *positions, 1))
        heads = [block_head(call, moves, block_size) for call in net_calls(inputs.denoise, state[0], t, inputs.cond)]
        in_block = inputs._replace(denoise=answer_calls(inputs.denoise, heads))

        def body(state: State, at: ClockStep) -> tuple[State, None]:
            return sampling_step(in_block, rank, at, state, sampler=sampler), None

        return jax.lax.scan(body, state, stops)[0], None

    stops = jax.tree.map(lambda leaf: leaf.reshape(order.blocks, -1, *leaf.shape[1:]), clock_steps(grid, plan))
    return jax.lax.scan(block, (x, carry), stops)[0][0]


def block_head(call: NetCall, moves: Bool[Array, "b ..."], block_size: int) -> Predict:
    """The denoiser within a block: the net's head, with the backbone's context at the beginning of the block.

    `moves`: the positions of the block, of each example at most `block_size`.
    """
    net = call.part.net
    variables = call.part.variables
    noise = call.part.noise
    level = noise.level(call.t)
    context = net.apply(variables, noise.feed(call.x_t, call.t), level, call.cond, method="context")
    places = net.apply(variables, moves, block_size, method="places")
    places = jnp.repeat(places, len(call.x_t) // len(places), axis=0)  # of guidance: copies stand side by side

    def head(x_t: Array, t: Array, cond: Cond) -> Array | Prediction:
        out = net.apply(variables, noise.feed(x_t, t), noise.level(t), context, places, method="head")
        return call.part.read(out, x_t, t)

    return head
