"""RePaint: the clock falls, and rises again, so that what is known and what is drawn come to fit each other."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from diffjax.denoising import nets_of
from diffjax.edit import constraints
from diffjax.edit.solver import Method, Problem
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.order import Order, levels
from diffjax.parallel.dispatch import loops_are_slow
from diffjax.protocols import Keys, State
from diffjax.sampling.arguments import checked_grid
from diffjax.sampling.loop import advance, begin
from diffjax.steps import posterior
from diffjax.utils.closures import compiled, portable
from diffjax.utils.memo import one_object
from diffjax.utils.prng import KeyUse, fold


@one_object
def repaint(resamples: int = 10, jump: int = 10) -> Method:
    """`replacement`, but that every `jump` steps the clock rises by as many, `resamples` - 1 times in each place.

    (Lugmayr et al. 2022, algorithm 1 and appendix B, the r and j of the paper.) On the way up x gets fresh noise, q(x_t
    | x_s), known coordinates and all. About `resamples` evaluations a step of the grid. More of them are less biased,
    and do not end it: the known coordinates are noised anew each time. Rules that plan ahead do not serve.
    """
    if resamples < 1 or jump < 1:
        raise UserError(f"repaint: resamples and jump must be at least 1, got {resamples} and {jump}")
    return Method("repaint", functools.partial(_repaint, resamples, jump), orders=True, evaluations=resamples)


def _repaint(resamples: int, jump: int, problem: Problem) -> State:
    noise, order, step = problem.noise, problem.order, problem.step or posterior()
    if step.plan is not None:
        raise UserError(f"repaint: {step.name} plans for a clock that only falls; use posterior, ddim or dpmpp_2m")
    grid = checked_grid(problem.grid, problem.steps, noise, order, problem.denoise, step, None)
    path = moves(len(grid) - 1, resamples, jump)
    stops = (jnp.arange(len(path) - 1), grid[path[:-1]], grid[path[1:]])
    given = {"noise": noise, "order": order, "step": step}
    hook, denoise = constraints.renoised(noise, problem.seen), portable(problem.denoise)
    keys, cond, shape = problem.keys, problem.cond, problem.seen.shape
    if not loops_are_slow(*nets_of(denoise)):
        return _walk(keys, stops, denoise, cond, hook, shape=shape, **given)
    x, rank, carry = begin(keys, None, noise, order, step, shape)
    for k in range(len(path) - 1):
        stop = tuple(each[k] for each in stops)
        x, carry = _one_move(keys, rank, stop, (x, carry), denoise, cond, hook, **given)
    return x


def moves(steps: int, resamples: int, jump: int) -> Int[np.ndarray, " moves"]:
    """The stops of the grid that are visited, one after the other; a jump up is one move."""
    left = {steps - m: resamples - 1 for m in range(1, steps - jump + 1, jump)}
    path = [0]
    while path[-1] < steps:
        path.append(path[-1] + 1)
        if left.get(path[-1], 0):
            left[path[-1]] -= 1
            path.append(path[-1] - jump)
    return np.array(path)


@compiled(static_argnames=("noise", "order", "step", "shape"))
def _walk(
    keys: Keys, stops: Any, denoise: Any, cond: Any, hook: Any, *, noise: Any, order: Any, step: Any, shape: Any
) -> State:
    x, rank, carry = begin(keys, None, noise, order, step, shape)
    given = {"noise": noise, "order": order, "step": step}

    def body(state: Any, stop: Any) -> tuple[Any, None]:
        return _move(keys, rank, stop, state, denoise, cond, hook, **given), None

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
        given = {"noise": noise, "order": order, "step": step}
        return advance(keys, rank, (k, u, v, None), state, denoise, cond, hook, **given)

    def rise(state: Any) -> Any:
        x = _noised(fold(fold(keys, KeyUse.TIME_TRAVEL), k), noise, order, state[0], u, v, rank)
        return x, step.init(x)

    return jax.lax.cond(v > u, rise, fall, state)


_one_move = compiled(_move, static_argnames=("noise", "order", "step"))


def _noised(keys: Keys, noise: Gaussian, order: Order, x: Array, u: Array, v: Array, rank: Array) -> Array:
    """x_t ~ N(alpha_t/alpha_s x_s, sigma_t² - (alpha_t/alpha_s)² sigma_s²), t the levels of v, and s of u."""
    s, t = (levels(order, jnp.broadcast_to(clock, (len(x),)), rank) for clock in (u, v))
    at_s, at_t, same = noise.moment(s), noise.moment(t), s == t
    kept = jnp.where(same, 1, at_t.alpha / jnp.where(same, 1, at_s.alpha))
    spread = jnp.where(same, 0, jnp.maximum(at_t.sigma**2 - (kept * at_s.sigma) ** 2, 0))
    return kept * x + jnp.sqrt(spread) * constraints.normal(keys, x)
