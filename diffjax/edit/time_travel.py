"""RePaint: the clock falls, and rises again, so that what is known and what is drawn come to fit each other."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from diffjax.denoising import networks
from diffjax.edit.observation import renoise_hook, standard_normal
from diffjax.edit.solver import Method, Problem
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.order import Order, levels
from diffjax.parallel.dispatch import loops_are_slow
from diffjax.protocols import Keys, Sample
from diffjax.sampling.arguments import ClockStep, Inputs, Sampler, validate_grid
from diffjax.sampling.loop import init_state, sampling_step
from diffjax.steps import posterior
from diffjax.utils.closures import as_pytree, closure_jit
from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.prng import KeyUse, fold


@memoize_by_arguments
def repaint(resamples: int = 10, jump: int = 10) -> Method:
    """`replacement`, but that every `jump` steps the clock rises by as many, `resamples` - 1 times in each place.

    (Lugmayr et al. 2022, algorithm 1 and appendix B, the r and j of the paper.) On the way up x gets fresh noise, q(x_t
    | x_s), known coordinates and all. About `resamples` evaluations a step of the grid. More of them are less biased,
    and do not end it: the known coordinates are noised anew each time. Rules that plan ahead do not serve.
    """
    if resamples < 1 or jump < 1:
        raise UserError(f"repaint: resamples and jump must be at least 1, got {resamples} and {jump}")
    return Method("repaint", functools.partial(_repaint, resamples, jump), orders=True, evaluations=resamples)


def _repaint(resamples: int, jump: int, problem: Problem) -> Sample:
    noise, order, step = problem.noise, problem.order, problem.step or posterior()
    if step.plan is not None:
        raise UserError(f"repaint: {step.name} plans for a clock that only falls; use posterior, ddim or dpmpp_2m")
    grid = validate_grid(problem.grid, problem.steps, noise, order, problem.denoise, step, None)
    path = jump_schedule(len(grid) - 1, resamples, jump)
    stops = (jnp.arange(len(path) - 1), grid[path[:-1]], grid[path[1:]])
    settings = {"noise": noise, "order": order, "step": step}
    hook, denoise = renoise_hook(problem.gaussian, problem.observation), as_pytree(problem.denoise)
    keys, cond, shape = problem.keys, problem.cond, problem.observation.shape
    if not loops_are_slow(*networks(denoise)):
        return _scan_path(keys, stops, denoise, cond, hook, shape=shape, **settings)
    x, rank, carry = init_state(keys, None, noise, order, step, shape)
    for k in range(len(path) - 1):
        stop = tuple(values[k] for values in stops)
        x, carry = _jitted_move(keys, rank, stop, (x, carry), denoise, cond, hook, **settings)
    return x


def jump_schedule(steps: int, resamples: int, jump: int) -> Int[np.ndarray, " moves"]:
    """The stops of the grid that are visited, one after the other; a jump up is one move."""
    left = {steps - m: resamples - 1 for m in range(1, steps - jump + 1, jump)}
    path = [0]
    while path[-1] < steps:
        path.append(path[-1] + 1)
        if left.get(path[-1], 0):
            left[path[-1]] -= 1
            path.append(path[-1] - jump)
    return np.array(path)


@closure_jit(static_argnames=("noise", "order", "step", "shape"))
def _scan_path(
    keys: Keys, stops: Any, denoise: Any, cond: Any, hook: Any, *, noise: Any, order: Any, step: Any, shape: Any
) -> Sample:
    x, rank, carry = init_state(keys, None, noise, order, step, shape)
    settings = {"noise": noise, "order": order, "step": step}

    def body(state: Any, stop: Any) -> tuple[Any, None]:
        return _move(keys, rank, stop, state, denoise, cond, hook, **settings), None

    return jax.lax.scan(body, (x, carry), stops)[0][0]


def _move(
    keys: Keys,
    rank: Array,
    stop: Any,
    state: Any,
    denoise: Any,
    cond: Any,
    hook: Any,
    *,
    noise: Any,
    order: Any,
    step: Any,
) -> Any:
    k, u, v = stop

    def fall(state: Any) -> Any:
        sampler = Sampler(noise, order, step, state[0].shape[1:])
        return sampling_step(Inputs(keys, denoise, cond, hook), rank, ClockStep(k, u, v), state, sampler=sampler)

    def rise(state: Any) -> Any:
        x = _raise_noise(fold(fold(keys, KeyUse.TIME_TRAVEL), k), noise, order, state[0], u, v, rank)
        return x, step.init(x)

    return jax.lax.cond(v > u, rise, fall, state)


_jitted_move = closure_jit(_move, static_argnames=("noise", "order", "step"))


def _raise_noise(keys: Keys, noise: Gaussian, order: Order, x: Array, u: Array, v: Array, rank: Array) -> Array:
    """x_t ~ N(alpha_t/alpha_s x_s, sigma_t² - (alpha_t/alpha_s)² sigma_s²), t the levels of v, and s of u."""
    s, t = (levels(order, jnp.broadcast_to(clock, (len(x),)), rank) for clock in (u, v))
    at_s, at_t, same = noise.coefficients(s), noise.coefficients(t), s == t
    ratio = jnp.where(same, 1, at_t.alpha / jnp.where(same, 1, at_s.alpha))
    spread = jnp.where(same, 0, jnp.maximum(at_t.sigma**2 - (ratio * at_s.sigma) ** 2, 0))
    return ratio * x + jnp.sqrt(spread) * standard_normal(keys, x)
