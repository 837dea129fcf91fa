"""Twisted sequential Monte Carlo: a particle filter with a proposal guided towards the observation."""

import functools
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.edit.gradient_guidance import Reconstruction, reconstruct
from diffjax.edit.observation import Observation
from diffjax.edit.projection import fresh_noise_std, posterior_mean, x0_coefficient
from diffjax.edit.sdedit import SampleOptions
from diffjax.edit.solver import Method, Problem, make_problem
from diffjax.errors import UserError
from diffjax.grids import Grid
from diffjax.order import Order
from diffjax.protocols import Cond, Denoise, GaussianNoise, Keys, Level, Noise, Sample
from diffjax.sampling.arguments import validate_grid
from diffjax.steps import posterior
from diffjax.utils.closures import as_pytree, closure_jit
from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.prng import KeyUse


class Particles(NamedTuple):
    """Weighted particles of the posterior of x0, for each key.

    `log_weights` of the particles of a key are normalized. `effective_sample_size` is 1/Σ w² after each step, before
    resampling; `log_evidence` the log density of the measured coordinates.
    """

    x: Float[Array, "b particles *shape"]
    log_weights: Float[Array, "b particles"]
    effective_sample_size: Float[Array, "b steps"]
    log_evidence: Float[Array, " b"]


class ParticleOptions(SampleOptions, total=False):
    """Options of `particles`."""

    threshold: float


@memoize_by_arguments
def twisted(particles: int = 1024, threshold: float = 0.5) -> Method:
    """Each sample is one particle of `particles`: the twisted diffusion sampler (Wu et al. 2023, algorithm 1).

    Exact in the limit of many particles and steps of ancestral sampling, whose density it needs: it takes no other step
    rule. `particles` evaluations a step, with a backward pass. `edit.particles` returns all particles and the effective
    sample size. Raises UserError for less than one particle or a threshold out of [0, 1].
    """
    if particles < 1:
        raise UserError(f"twisted: particles must be at least 1, got {particles}")
    if not 0 <= threshold <= 1:
        raise UserError(f"twisted: threshold must be in [0, 1], got {threshold}; 0 never resamples, 1 always")
    draw = functools.partial(_sample_particle, particles, threshold)
    return Method("twisted", draw, noisy=True, rule="the posterior", evaluations=particles, backward=particles)


@validate_arguments
def particles(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    observation: Observation,
    *,
    count: int = 1024,
    **options: Unpack[ParticleOptions],
) -> Particles:
    """All `count` particles of `twisted` for each key, with their weights and the effective sample size.

    The proposal is guided as in `pigdm`; a particle's weight is p(x_s|x_t) p(y|x_s) / (p(y|x_t) q(x_s|x_t, y)) with the
    same estimate of p(y|x_t). Systematic resampling where the effective sample size is below `threshold` (0.5) of
    `count`. The options `cond`, `steps` and `grid` are those of `dj.sample`. Raises UserError as `solve` does.
    """
    threshold = options.pop("threshold", 0.5)
    problem = make_problem(twisted(count, threshold), keys, noise, order, denoise, observation, **options)
    return _filter(_inputs(problem, threshold), noise=problem.gaussian, count=count, one=False)


def _sample_particle(count: int, threshold: float, problem: Problem) -> Sample:
    return _filter(_inputs(problem, threshold), noise=problem.gaussian, count=count, one=True)


class _Inputs(NamedTuple):
    """The arguments of the filter of one key or, in `keys`, `cond` and `observation`, of a batch of keys."""

    keys: Keys | Key[Array, ""]
    cond: Cond
    observation: Observation
    grid: Grid
    denoise: Denoise
    threshold: float | Float[Array, ""]


def _inputs(problem: Problem, threshold: float) -> _Inputs:
    p = problem
    grid = validate_grid(p.grid, p.steps, p.noise, p.order, p.denoise, posterior(), None)
    return _Inputs(p.keys, p.cond, p.observation, grid, as_pytree(p.denoise), threshold)


@closure_jit(static_argnames=("noise", "count", "one"))
def _filter(inputs: _Inputs, *, noise: GaussianNoise, count: int, one: bool) -> PyTree:
    """All `Particles` of each key, or one as a sample; the filters run one after the other, to hold one in memory."""
    batch = len(inputs.keys)
    observation = inputs.observation
    values, std = (jnp.broadcast_to(leaf, (batch, *leaf.shape[1:])) for leaf in observation.batched_values())

    def run_filter(example: tuple[Key[Array, ""], Array, Array, Cond]) -> Particles | Array:
        key, values, std, cond = example
        example_observation = Observation(values, std, observation.forward, observation.inverse)
        result = _one_filter(inputs._replace(keys=key, cond=cond, observation=example_observation), noise, count)
        if not one:
            return result
        return result.x[jax.random.categorical(jax.random.fold_in(key, KeyUse.PARTICLE), result.log_weights)]

    return jax.lax.map(run_filter, (inputs.keys, values, std, inputs.cond))


class _State(NamedTuple):
    x: Float[Array, "particles *shape"]
    reconstruction: Reconstruction
    log_w: Float[Array, " particles"]
    log_z: Float[Array, ""]


def _one_filter(inputs: _Inputs, noise: GaussianNoise, count: int) -> Particles:
    key = inputs.keys
    observation = inputs.observation
    cond = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], count, axis=0), inputs.cond)
    x = noise.prior(jax.random.fold_in(key, KeyUse.PARTICLE_PRIOR), (count, *observation.shape))

    def reconstruct_at(x: Array, u: Float[Array, ""]) -> Reconstruction:
        return reconstruct(noise, observation, inputs.denoise, x, _level(u, x), cond)

    def body(state: _State, stop: tuple[Array, Array, Array]) -> tuple[_State, Array]:
        k, u, v = stop
        step_key = jax.random.fold_in(jax.random.fold_in(key, KeyUse.PARTICLE_STEP), k)
        resample_key = jax.random.fold_in(jax.random.fold_in(key, KeyUse.RESAMPLE), k)
        state = _resample(resample_key, state, inputs.threshold)
        x, log_ratio = _propose(step_key, noise, state, _level(u, state.x), _level(v, state.x))
        reconstruction = reconstruct_at(x, v)
        exact_at_end = (v == 0) & (observation.std == 0)[None]  # pinned there, so its density no longer counts
        log_p_gain = jnp.where(exact_at_end, 0, reconstruction.log_p - state.reconstruction.log_p)
        gain = _sum_per_particle(log_p_gain) + log_ratio
        log_w = jnp.where(u == v, state.log_w, state.log_w + gain)
        return _State(x, reconstruction, log_w, state.log_z), effective_sample_size(log_w)

    first = reconstruct_at(x, inputs.grid[0])
    start = _State(x, first, _sum_per_particle(first.log_p), jnp.zeros(()))
    state, sizes = jax.lax.scan(body, start, (jnp.arange(len(inputs.grid) - 1), inputs.grid[:-1], inputs.grid[1:]))
    known = (observation.std == 0)[None] & (inputs.grid[-1] == 0)
    x = observation.replace_coordinates(state.x, observation.values[None], known)
    return Particles(x, jax.nn.log_softmax(state.log_w), sizes, state.log_z + _log_mean(state.log_w))


def _level(u: Float[Array, ""], x: Array) -> Level:
    return jnp.full((len(x),) + (1,) * (x.ndim - 1), u)


def _propose(
    key: Key[Array, ""], noise: GaussianNoise, state: _State, t: Level, s: Level
) -> tuple[Float[Array, "particles *shape"], Float[Array, " particles"]]:
    """x_s from the guided q(x_s|x_t, y), and log p(x_s|x_t) - log q(x_s|x_t, y), two normals of one deviation c.

    At s = 0 nothing is drawn, and the prediction is not guided.
    """
    x0, guided, _ = state.reconstruction
    c = fresh_noise_std(noise, t, s)
    guided = jnp.where(c > 0, guided, x0)
    x = noise.posterior(key, state.x, guided, t, s)
    mean = posterior_mean(noise, state.x, guided, t, s)
    safe = jnp.where(c > 0, c, 1)
    n = (x - mean) / safe
    shift = x0_coefficient(noise, t, s) * (guided - x0) / safe
    return x, -_sum_per_particle(jnp.where(c > 0, n * shift + shift**2 / 2, 0))


def _resample(key: Key[Array, ""], state: _State, threshold: float | Float[Array, ""]) -> _State:
    """Systematic resampling (Kitagawa 1996) where the effective sample size is below `threshold` of the particles."""
    needed = effective_sample_size(state.log_w) < threshold * len(state.log_w)
    chosen = _systematic(key, state.log_w)

    def pick(leaf: Array) -> Array:
        return jnp.where(needed, leaf[chosen], leaf)

    log_z = jnp.where(needed, state.log_z + _log_mean(state.log_w), state.log_z)
    return _State(pick(state.x), jax.tree.map(pick, state.reconstruction), jnp.where(needed, 0, state.log_w), log_z)


def _systematic(key: Key[Array, ""], log_w: Float[Array, " n"]) -> Int[Array, " n"]:
    cumulative = jnp.cumsum(jax.nn.softmax(log_w))
    even = (jnp.arange(len(log_w)) + jax.random.uniform(key)) / len(log_w)
    return jnp.minimum(jnp.searchsorted(cumulative, even * cumulative[-1]), len(log_w) - 1)


def effective_sample_size(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    """1/Σ w² of the normalized weights."""
    return 1 / jnp.sum(jax.nn.softmax(log_w) ** 2)


def _log_mean(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    return jax.nn.logsumexp(log_w) - jnp.log(len(log_w))


def _sum_per_particle(values: Array) -> Float[Array, " n"]:
    return jnp.sum(values.reshape(len(values), -1), axis=1)
