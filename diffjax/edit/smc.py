"""Twisted sequential Monte Carlo: particles, led to what was seen, weighed for what that has done, and resampled."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from diffjax.arguments.checked import checked_arguments
from diffjax.denoising import checked_denoiser
from diffjax.edit.gradient_guidance import look
from diffjax.edit.observation import Observation, check_fit
from diffjax.edit.projection import fresh, from_x0
from diffjax.edit.solver import Method, Problem, check_serves
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.order import Order
from diffjax.protocols import Denoise, Keys, Noise, State
from diffjax.sampling.arguments import checked_grid
from diffjax.steps import posterior
from diffjax.utils.closures import compiled, portable
from diffjax.utils.memo import one_object
from diffjax.utils.prng import KeyUse


class Particles(NamedTuple):
    """For each key, particles that together are the law of x0 given what was seen.

    `log_weights` sum to 1 over the particles of a key. `effective` is their number 1/Σ w² after each step, before they
    are resampled; `log_evidence` the logarithm of the density of what was seen, in its own coordinates.
    """

    x: Float[Array, "b particles *shape"]
    log_weights: Float[Array, "b particles"]
    effective: Float[Array, "b steps"]
    log_evidence: Float[Array, " b"]


@one_object
def twisted(particles: int = 1024, threshold: float = 0.5) -> Method:
    """Each example is one of so many particles: the twisted diffusion sampler (Wu et al. 2023, algorithm 1).

    Exact as the particles grow in number, but for the steps of the posterior, whose density it needs: it takes no other
    rule. `particles` evaluations a step, with a pass back. `edit.particles` gives all of them, and how many were
    effective.
    """
    _check(particles, threshold)
    draw = functools.partial(_twisted, particles, threshold)
    return Method("twisted", draw, noisy=True, rule="the posterior", evaluations=particles, backward=particles)


@checked_arguments
def particles(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    seen: Observation,
    *,
    cond: PyTree = None,
    steps: int = 50,
    grid: Float[Array, " _"] | None = None,
    count: int = 1024,
    threshold: float = 0.5,
) -> Particles:
    """All that `twisted` draws, for each key `count` particles: their values, weights and effective number.

    They are led as by `pigdm`, weighed by p(x_s|x_t) p(seen|x_s) / (p(seen|x_t) q(x_s|x_t, seen)), with the same guess
    of p(seen|x_t), and resampled systematically where fewer than `threshold` of them are effective. Raises UserError.
    """
    _check(count, threshold)
    method = twisted(count, threshold)
    check_fit(seen, noise, (len(keys), *seen.shape))
    check_serves(method, noise, order, seen, None)
    return _run(
        Problem(keys, noise, order, checked_denoiser(noise, denoise), seen, cond, steps, grid, None),
        count,
        threshold,
        one=False,
    )


def _check(count: int, threshold: float) -> None:
    if count < 1:
        raise UserError(f"twisted: particles must be at least 1, got {count}")
    if not 0 <= threshold <= 1:
        raise UserError(f"twisted: threshold must be in [0, 1], got {threshold}; 0 never resamples, 1 always")


def _twisted(count: int, threshold: float, problem: Problem) -> State:
    return _run(problem, count, threshold, one=True)


def _run(problem: Problem, count: int, threshold: float, one: bool) -> Any:
    p = problem
    grid = checked_grid(p.grid, p.steps, p.noise, p.order, p.denoise, posterior(), None)
    given = {"noise": p.noise, "shape": p.seen.shape, "count": count, "one": one}
    return _filter(p.keys, grid, portable(p.denoise), p.cond, p.seen, threshold, **given)


@compiled(static_argnames=("noise", "shape", "count", "one"))
def _filter(
    keys: Keys,
    grid: Array,
    denoise: Any,
    cond: Any,
    seen: Observation,
    threshold: Any,
    *,
    noise: Any,
    shape: Any,
    count: Any,
    one: Any,
) -> Any:
    """Key after key, so that only one filter is in memory; of each, all particles or one of them."""
    values, std = (jnp.broadcast_to(each, (len(keys), *each.shape[1:])) for each in seen.told())

    def each(given: Any) -> Any:
        key, values, std, cond = given
        mine = Observation(values, std, seen.forward, seen.inverse)
        found = _one_filter(key, grid, denoise, cond, mine, threshold, noise, shape, count)
        if not one:
            return found
        return found.x[jax.random.categorical(jax.random.fold_in(key, KeyUse.PARTICLE), found.log_weights)]

    return jax.lax.map(each, (keys, values, std, cond))


class _State(NamedTuple):
    x: Array
    look: Any
    log_w: Array
    log_z: Array


def _one_filter(
    key: Key[Array, ""],
    grid: Array,
    denoise: Any,
    cond: Any,
    seen: Observation,
    threshold: Any,
    noise: Gaussian,
    shape: tuple[int, ...],
    count: int,
) -> Particles:
    cond = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], count, axis=0), cond)
    x = noise.prior(jax.random.fold_in(key, KeyUse.PARTICLE_PRIOR), (count, *shape))

    def at(x: Array, u: Array) -> Any:
        return look(noise, seen, denoise, x, _level(u, x), cond)

    def body(state: _State, stop: tuple[Array, Array, Array]) -> tuple[_State, Array]:
        k, u, v = stop
        draw = jax.random.fold_in(jax.random.fold_in(key, KeyUse.PARTICLE_STEP), k)
        pick = jax.random.fold_in(jax.random.fold_in(key, KeyUse.RESAMPLE), k)
        state = _resampled(pick, state, threshold)
        x, ratio = _proposed(draw, noise, state, _level(u, state.x), _level(v, state.x))
        seen_now = at(x, v)
        last = (v == 0) & (seen.std == 0)[None]  # exactly known: from here on it has nothing more to say
        gain = _total(jnp.where(last, 0, seen_now.log_p - state.look.log_p)) + ratio
        log_w = jnp.where(u == v, state.log_w, state.log_w + gain)
        return _State(x, seen_now, log_w, state.log_z), effective(log_w)

    first = at(x, grid[0])
    start = _State(x, first, _total(first.log_p), jnp.zeros(()))
    state, counts = jax.lax.scan(body, start, (jnp.arange(len(grid) - 1), grid[:-1], grid[1:]))
    known = (seen.std == 0)[None] & (grid[-1] == 0)
    return Particles(
        seen.put(state.x, seen.values[None], known),
        jax.nn.log_softmax(state.log_w),
        counts,
        state.log_z + _mean(state.log_w),
    )


def _level(u: Array, x: Array) -> Array:
    return jnp.full((len(x),) + (1,) * (x.ndim - 1), u)


def _proposed(key: Key[Array, ""], noise: Gaussian, state: _State, t: Array, s: Array) -> tuple[Array, Array]:
    """x_s led to what was seen, and log p(x_s|x_t) - log q(x_s|x_t, seen): two normal laws of one deviation c.

    To s = 0 nothing is drawn, and nothing is led.
    """
    x0, led, _ = state.look
    c = fresh(noise, t, s)
    led = jnp.where(c > 0, led, x0)
    x = noise.posterior(key, state.x, led, t, s)
    mean = noise.moment(s).alpha * led + noise.moment(s).sigma * noise.kept(t, s) * noise.eps(state.x, led, t)
    safe = jnp.where(c > 0, c, 1)
    n, shift = (x - mean) / safe, from_x0(noise, t, s) * (led - x0) / safe
    return x, -_total(jnp.where(c > 0, n * shift + shift**2 / 2, 0))


def _resampled(key: Key[Array, ""], state: _State, threshold: Any) -> _State:
    """Where too few are effective, as many of each as its weight says, by one random number (Kitagawa 1996)."""
    poor = effective(state.log_w) < threshold * len(state.log_w)
    chosen = _systematic(key, state.log_w)

    def pick(leaf: Array) -> Array:
        return jnp.where(poor, leaf[chosen], leaf)

    log_z = jnp.where(poor, state.log_z + _mean(state.log_w), state.log_z)
    return _State(pick(state.x), jax.tree.map(pick, state.look), jnp.where(poor, 0, state.log_w), log_z)


def _systematic(key: Key[Array, ""], log_w: Float[Array, " n"]) -> Int[Array, " n"]:
    upto = jnp.cumsum(jax.nn.softmax(log_w))
    even = (jnp.arange(len(log_w)) + jax.random.uniform(key)) / len(log_w)
    return jnp.minimum(jnp.searchsorted(upto, even * upto[-1]), len(log_w) - 1)


def effective(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    """1/Σ w², of weights that are made to sum to 1."""
    return 1 / jnp.sum(jax.nn.softmax(log_w) ** 2)


def _mean(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    return jax.nn.logsumexp(log_w) - jnp.log(len(log_w))


def _total(each: Array) -> Float[Array, " n"]:
    return jnp.sum(each.reshape(len(each), -1), axis=1)
