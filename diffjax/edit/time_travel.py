"""RePaint: sampling with jumps back to noisier levels, which make known and sampled regions consistent."""

import functools
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from diffjax.denoising import networks
from diffjax.edit.observation import fresh_noise, renoise_hook
from diffjax.edit.solver import Method, Problem
from diffjax.errors import UserError
from diffjax.parallel.dispatch import loops_are_slow
from diffjax.protocols import GaussianNoise, Keys, Level, Sample
from diffjax.sampling.arguments import ClockStep, Inputs, Sampler, validate_grid
from diffjax.sampling.loop import Ranks, State, clock_steps, init_state, levels_at, sampling_step
from diffjax.steps import posterior
from diffjax.utils.closures import as_pytree, closure_jit
from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.prng import KeyUse, fold


@memoize_by_arguments
def repaint(resamples: int = 10, jump: int = 10) -> Method:
    """`replacement` with jumps: after every `jump` steps, `resamples` - 1 times, as many steps up and down again.

    (Lugmayr et al. 2022, algorithm 1 and appendix B; r and j there.) A jump draws q(x_t | x_s), t > s, for the whole
    state. About `resamples` evaluations for each step of the grid; with their number the bias of replacement falls, but
    not to 0. Any step rule without a plan. Raises UserError for numbers below 1.
    """
    if resamples < 1 or jump < 1:
        raise UserError(f"repaint: resamples and jump must be at least 1, got {resamples} and {jump}")
    return Method("repaint", functools.partial(_repaint, resamples, jump), orders=True, evaluations=resamples)


def _repaint(resamples: int, jump: int, problem: Problem) -> Sample:
    p = problem
    step = p.step or posterior()
    if step.plan is not None:
        raise UserError(f"repaint: {step.name} plans for a falling grid; use posterior, ddim or dpmpp_2m")
    grid = validate_grid(p.grid, p.steps, p.noise, p.order, p.denoise, step, None)
    moves = clock_steps(grid[jump_schedule(len(grid) - 1, resamples, jump)], None)
    sampler = Sampler(p.noise, p.order, step, p.observation.shape)
    inputs = Inputs(p.keys, as_pytree(p.denoise), p.cond, renoise_hook(p.gaussian, p.observation))
    if not loops_are_slow(*networks(inputs.denoise)):
        return _scan_moves(inputs, moves, sampler=sampler)
    x, rank, carry = init_state(p.keys, None, p.noise, p.order, step, sampler.shape)
    for k in range(len(moves.number)):
        at = jax.tree.map(lambda leaf, k=k: leaf[k], moves)
        x, carry = _jitted_move(inputs, rank, at, (x, carry), sampler=sampler)
    return x


def jump_schedule(steps: int, resamples: int, jump: int) -> Int[np.ndarray, " visits"]:
    """Indices of the grid points in the order of their visits; a jump up is one move."""
    jumps_left = {steps - m: resamples - 1 for m in range(1, steps - jump + 1, jump)}
    path = [0]
    while path[-1] < steps:
        path.append(path[-1] + 1)
        if jumps_left.get(path[-1], 0):
            jumps_left[path[-1]] -= 1
            path.append(path[-1] - jump)
    return np.array(path)


@closure_jit(static_argnames="sampler")
def _scan_moves(inputs: Inputs, moves: ClockStep, *, sampler: Sampler) -> Sample:
    x, rank, carry = init_state(inputs.keys, None, sampler.noise, sampler.order, sampler.step, sampler.shape)

    def body(state: State, at: ClockStep) -> tuple[State, None]:
        return _move(inputs, rank, at, state, sampler=sampler), None

    return jax.lax.scan(body, (x, carry), moves)[0][0]


def _move(inputs: Inputs, rank: Ranks, at: ClockStep, state: State, *, sampler: Sampler) -> State:
    def step_down(state: State) -> State:
        return sampling_step(inputs, rank, at, state, sampler=sampler)

    def jump_up(state: State) -> State:
        keys = fold(fold(inputs.keys, KeyUse.TIME_TRAVEL), at.number)
        s = levels_at(sampler, at.u, rank)
        t = levels_at(sampler, at.v, rank)
        x = _raise_noise(keys, cast(GaussianNoise, sampler.noise), state[0], t, s)
        return x, sampler.step.init(x)

    return jax.lax.cond(at.v > at.u, jump_up, step_down, state)


_jitted_move = closure_jit(_move, static_argnames="sampler")


def _raise_noise(keys: Keys, noise: GaussianNoise, x_s: Sample, t: Level, s: Level) -> Sample:
    """x_t ~ N(alpha_t/alpha_s x_s, sigma_t² - (alpha_t/alpha_s)² sigma_s²), t the noisier level."""
    at_s = noise.coefficients(s)
    at_t = noise.coefficients(t)
    same = s == t
    ratio = jnp.where(same, 1, at_t.alpha / jnp.where(same, 1, at_s.alpha))
    variance = jnp.where(same, 0, jnp.maximum(at_t.sigma**2 - (ratio * at_s.sigma) ** 2, 0))
    return ratio * x_s + jnp.sqrt(variance) * fresh_noise(keys, x_s)
