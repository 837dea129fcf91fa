"""Twisted sequential Monte Carlo: particles, led to what was seen, weighed for what that has done, and resampled."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import checked_denoiser
from diffjax.edit.gradient_guidance import reconstruct
from diffjax.edit.observation import Observation, check_fit
from diffjax.edit.projection import fresh_noise_std, x0_coefficient
from diffjax.edit.solver import Method, Problem, check_serves
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.order import Order
from diffjax.protocols import Denoise, Keys, Noise, Sample
from diffjax.sampling.arguments import validate_grid
from diffjax.steps import posterior
from diffjax.utils.closures import as_pytree, closure_jit
from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.prng import KeyUse


class Particles(NamedTuple):
    """For each key, particles that together are the law of x0 given what was seen.

    `log_weights` sum to 1 over the particles of a key. `effective_sample_size` is their number 1/Σ w² after each
    step, before they
    are resampled; `log_evidence` the logarithm of the density of what was seen, in its own coordinates.
    """

    x: Float[Array, "b particles *shape"]
    log_weights: Float[Array, "b particles"]
    effective_sample_size: Float[Array, "b steps"]
    log_evidence: Float[Array, " b"]


@memoize_by_arguments
def twisted(particles: int = 1024, threshold: float = 0.5) -> Method:
    """Each example is one of so many particles: the twisted diffusion sampler (Wu et al. 2023, algorithm 1).

    Exact as the particles grow in number, but for the steps of the posterior, whose density it needs: it takes no other
    rule. `particles` evaluations a step, with a pass back. `edit.particles` gives all of them, and how many were
    effective.
    """
    _check(particles, threshold)
    draw = functools.partial(_twisted, particles, threshold)
    return Method("twisted", draw, noisy=True, rule="the posterior", evaluations=particles, backward=particles)


@validate_arguments
def particles(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    observation: Observation,
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
    check_fit(observation, noise, (len(keys), *observation.shape))
    check_serves(method, noise, order, observation, None)
    return _run(
        Problem(keys, noise, order, checked_denoiser(noise, denoise), observation, cond, steps, grid, None),
        count,
        threshold,
        one=False,
    )


def _check(count: int, threshold: float) -> None:
    if count < 1:
        raise UserError(f"twisted: particles must be at least 1, got {count}")
    if not 0 <= threshold <= 1:
        raise UserError(f"twisted: threshold must be in [0, 1], got {threshold}; 0 never resamples, 1 always")


def _twisted(count: int, threshold: float, problem: Problem) -> Sample:
    return _run(problem, count, threshold, one=True)


def _run(problem: Problem, count: int, threshold: float, one: bool) -> Any:
    p = problem
    grid = validate_grid(p.grid, p.steps, p.noise, p.order, p.denoise, posterior(), None)
    settings = {"noise": p.noise, "shape": p.observation.shape, "count": count, "one": one}
    return _filter(p.keys, grid, as_pytree(p.denoise), p.cond, p.observation, threshold, **settings)


@closure_jit(static_argnames=("noise", "shape", "count", "one"))
def _filter(
    keys: Keys,
    grid: Array,
    denoise: Any,
    cond: Any,
    observation: Observation,
    threshold: Any,
    *,
    noise: Any,
    shape: Any,
    count: Any,
    one: Any,
) -> Any:
    """Key after key, so that only one filter is in memory; of each, all particles or one of them."""
    values, std = (
        jnp.broadcast_to(run_filter, (len(keys), *run_filter.shape[1:])) for run_filter in observation.batched_values()
    )

    def run_filter(inputs: Any) -> Any:
        key, values, std, cond = inputs
        example_observation = Observation(values, std, observation.forward, observation.inverse)
        result = _one_filter(key, grid, denoise, cond, example_observation, threshold, noise, shape, count)
        if not one:
            return result
        return result.x[jax.random.categorical(jax.random.fold_in(key, KeyUse.PARTICLE), result.log_weights)]

    return jax.lax.map(run_filter, (keys, values, std, cond))


class _State(NamedTuple):
    x: Array
    reconstruction: Any
    log_w: Array
    log_z: Array


def _one_filter(
    key: Key[Array, ""],
    grid: Array,
    denoise: Any,
    cond: Any,
    observation: Observation,
    threshold: Any,
    noise: Gaussian,
    shape: tuple[int, ...],
    count: int,
) -> Particles:
    cond = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], count, axis=0), cond)
    x = noise.prior(jax.random.fold_in(key, KeyUse.PARTICLE_PRIOR), (count, *shape))

    def at(x: Array, u: Array) -> Any:
        return reconstruct(noise, observation, denoise, x, _level(u, x), cond)

    def body(state: _State, stop: tuple[Array, Array, Array]) -> tuple[_State, Array]:
        k, u, v = stop
        draw = jax.random.fold_in(jax.random.fold_in(key, KeyUse.PARTICLE_STEP), k)
        pick = jax.random.fold_in(jax.random.fold_in(key, KeyUse.RESAMPLE), k)
        state = _resample(pick, state, threshold)
        x, ratio = _propose(draw, noise, state, _level(u, state.x), _level(v, state.x))
        reconstruction = at(x, v)
        last = (v == 0) & (observation.std == 0)[None]  # exactly known: from here on it has nothing more to say
        gain = _sum_per_particle(jnp.where(last, 0, reconstruction.log_p - state.reconstruction.log_p)) + ratio
        log_w = jnp.where(u == v, state.log_w, state.log_w + gain)
        return _State(x, reconstruction, log_w, state.log_z), effective_sample_size(log_w)

    first = at(x, grid[0])
    start = _State(x, first, _sum_per_particle(first.log_p), jnp.zeros(()))
    state, counts = jax.lax.scan(body, start, (jnp.arange(len(grid) - 1), grid[:-1], grid[1:]))
    known = (observation.std == 0)[None] & (grid[-1] == 0)
    return Particles(
        observation.replace_coordinates(state.x, observation.values[None], known),
        jax.nn.log_softmax(state.log_w),
        counts,
        state.log_z + _mean(state.log_w),
    )


def _level(u: Array, x: Array) -> Array:
    return jnp.full((len(x),) + (1,) * (x.ndim - 1), u)


def _propose(key: Key[Array, ""], noise: Gaussian, state: _State, t: Array, s: Array) -> tuple[Array, Array]:
    """x_s led to what was seen, and log p(x_s|x_t) - log q(x_s|x_t, seen): two normal laws of one deviation c.

    To s = 0 nothing is drawn, and nothing is led.
    """
    x0, guided, _ = state.reconstruction
    c = fresh_noise_std(noise, t, s)
    guided = jnp.where(c > 0, guided, x0)
    x = noise.posterior(key, state.x, guided, t, s)
    mean = noise.coefficients(s).alpha * guided + noise.coefficients(s).sigma * noise.noise_correlation(
        t, s
    ) * noise.eps(state.x, guided, t)
    safe = jnp.where(c > 0, c, 1)
    n, shift = (x - mean) / safe, x0_coefficient(noise, t, s) * (guided - x0) / safe
    return x, -_sum_per_particle(jnp.where(c > 0, n * shift + shift**2 / 2, 0))


def _resample(key: Key[Array, ""], state: _State, threshold: Any) -> _State:
    """Where too few are effective, as many of each as its weight says, by one random number (Kitagawa 1996)."""
    poor = effective_sample_size(state.log_w) < threshold * len(state.log_w)
    chosen = _systematic(key, state.log_w)

    def pick(leaf: Array) -> Array:
        return jnp.where(poor, leaf[chosen], leaf)

    log_z = jnp.where(poor, state.log_z + _mean(state.log_w), state.log_z)
    return _State(pick(state.x), jax.tree.map(pick, state.reconstruction), jnp.where(poor, 0, state.log_w), log_z)


def _systematic(key: Key[Array, ""], log_w: Float[Array, " n"]) -> Int[Array, " n"]:
    upto = jnp.cumsum(jax.nn.softmax(log_w))
    even = (jnp.arange(len(log_w)) + jax.random.uniform(key)) / len(log_w)
    return jnp.minimum(jnp.searchsorted(upto, even * upto[-1]), len(log_w) - 1)


def effective_sample_size(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    """1/Σ w², of weights that are made to sum to 1."""
    return 1 / jnp.sum(jax.nn.softmax(log_w) ** 2)


def _mean(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    return jax.nn.logsumexp(log_w) - jnp.log(len(log_w))


def _sum_per_particle(values: Array) -> Float[Array, " n"]:
    return jnp.sum(values.reshape(len(values), -1), axis=1)
