"""Autoregressive sampling from a causal net with a key-value cache: the samples of `dj.sample`, faster.

Each step computes the logits of one position from the token before it; keys and values of earlier tokens are kept.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import is_causal, require_sequential_order
from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.protocols import Cond, Denoise, Hook, Keys, Noise, NoiseAwareHook, Sample, Step
from diffjax.sampling.arguments import ClockStep, Grid, Inputs, Sampler, bind_inputs, validate_grid
from diffjax.sampling.loop import State, clock_steps, init_state, levels_at, sampling_step, step_coefficients
from diffjax.sampling.net_calls import NetCall, Predict, answer_calls, net_calls, token_vocab
from diffjax.steps import posterior
from diffjax.utils.closures import closure_jit


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
    hook: Hook | NoiseAwareHook | None = None,
) -> Sample:
    """The samples of `dj.sample`, equal but for the rounding of logits, for causal nets under an order of width 0.

    `steps` is by default, and must be, the number of positions, one being revealed at each step. Raises UserError where
    the denoiser holds no causal net, or a step of the grid reveals no position or several.
    """
    sampler = Sampler(noise, order, step or posterior(), tuple(shape))
    if not is_causal(denoise):
        raise UserError(
            "denoise: a key-value cache needs a causal net, and this denoiser holds none; build the net with "
            "causal=True, or use dj.sample"
        )
    require_sequential_order(order)
    positions = shape[0]
    grid = validate_grid(grid, positions if steps is None else steps, noise, order, denoise, sampler.step, None)
    if not is_one_per_step(grid, positions):
        raise UserError(
            f"grid: one of the {positions} positions is revealed at each step, and this grid of {len(grid) - 1} "
            f"steps does not do so; give steps={positions}, or use dj.sample"
        )
    if sampler.step.evaluations > 1:
        raise UserError(
            f"step: {sampler.step.name} calls the denoiser {sampler.step.evaluations} times a step; use dj.sample"
        )
    inputs = bind_inputs(sampler, keys, denoise, cond, hook)
    return _scan(inputs, grid, step_coefficients(sampler.step, noise, grid), sampler=sampler)


def is_one_per_step(grid: Float[Array, " _"], positions: int) -> bool:
    """Whether an order of width 0 reveals one position at each step: one rank lies between neighbouring grid points."""
    return bool(np.array_equal(np.round(np.asarray(grid) * positions), np.arange(positions, -1, -1)))


@closure_jit(static_argnames="sampler")
def _scan(inputs: Inputs, grid: Grid, plan: PyTree, *, sampler: Sampler) -> Sample:
    x, rank, carry = init_state(inputs.keys, None, sampler.noise, sampler.order, sampler.step, sampler.shape)
    places = jnp.argsort(rank, axis=1)  # the position that each step reveals

    def calls_at(clock: Array, x: Sample) -> list[NetCall]:
        return net_calls(inputs.denoise, x, levels_at(sampler, clock, rank), inputs.cond, logits=True)

    def body(carried: tuple[State, list[PyTree]], at: ClockStep) -> tuple[tuple[State, list[PyTree]], None]:
        state, caches = carried
        calls = calls_at(at.u, state[0])
        outputs = [_decode(call, places, at.number, cache) for call, cache in zip(calls, caches, strict=True)]
        denoise = answer_calls(inputs.denoise, [answer for answer, _ in outputs])
        state = sampling_step(inputs._replace(denoise=denoise), rank, at, state, sampler=sampler)
        return (state, [cache for _, cache in outputs]), None

    caches = [_init_cache(call) for call in calls_at(grid[0], x)]
    (state, _), _ = jax.lax.scan(body, ((x, carry), caches), clock_steps(grid, plan))
    return state[0]


def _init_cache(call: NetCall) -> PyTree:
    return call.part.net.apply(call.part.variables, len(call.x_t), method="init_cache")


def _decode(call: NetCall, places: Int[Array, "b n"], index: Int[Array, ""], cache: PyTree) -> tuple[Predict, PyTree]:
    """The net's answer to a call, at the position that the step reveals, and its cache with one token more."""
    net = call.part.net
    vocab = token_vocab(call.part.noise)
    rows = jnp.arange(len(call.x_t))
    places = jnp.repeat(places, len(call.x_t) // len(places), axis=0)  # of guidance: copies stand side by side
    before = places[:, index - 1]
    here = places[:, index]
    token = jnp.where(index > 0, call.x_t[rows, before], vocab + 1)
    logits, cache = net.apply(call.part.variables, token, before, here, call.cond, cache, method="decode_step")
    out = jnp.zeros((*call.x_t.shape, vocab)).at[rows, here].set(logits)
    return lambda x_t, t, cond: call.part.noise.read(out, x_t, t), cache
