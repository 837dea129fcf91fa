"""Methods that lead by a gradient: how x_t would have to change for its prediction to be what was seen."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array

from diffjax.edit import constraints
from diffjax.edit.solver import Method, Problem, sample_posterior, sampling_method
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import Sample, Step
from diffjax.steps import posterior
from diffjax.steps.ancestral import square_root
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import memoize_by_arguments


@memoize_by_arguments
def pigdm() -> Method:
    """x0' = x0 + (sigma²/alpha) ∇ log N(values; z0(x_t), r² + std²): pseudoinverse guidance (Song et al. 2023, eq. 7).

    r² is what would be left of x0 given x_t if the data were white of the noise's data_std d: sigma² d²/(alpha² d² +
    sigma²). Exact for such data. Any rule of one level. 1 evaluation a step, with a pass back.
    """
    return sampling_method("pigdm", _pigdm_hooks, noisy=True, backward=1)


def _pigdm_hooks(problem: Problem) -> tuple[Any, Any]:
    noise, observation = problem.noise, problem.observation
    return Partial(_guided_denoiser(noise), observation, as_pytree(problem.denoise)), constraints.pin_hook(
        noise, observation
    )


@functools.cache
def _guided_denoiser(noise: Gaussian) -> Callable:
    def denoise(observation: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> Array:
        return reconstruct(noise, observation, inner, x_t, t, cond).guided

    return denoise


class Reconstruction(NamedTuple):
    """The prediction, the one that is led to what was seen, and log N(values; z0, r² + std²) of each coordinate."""

    x0: Any
    guided: Any
    log_p: Any


def reconstruct(noise: Gaussian, observation: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> Reconstruction:
    """At x_t. Where alpha = 0, (sigma²/alpha) times the slope of x0 is what is left of x0 given x_t, and so is r².

    Of a coordinate that has no noise left, r² + std² = 0, log_p is 0.
    """
    m, (values, std) = noise.coefficients(t), observation.batched_values()
    x0, pull = jax.vjp(lambda x: inner(x, t, cond), x_t)
    square = m.alpha**2 * noise.data_std**2 + m.sigma**2
    r2 = m.sigma**2 * noise.data_std**2 / square
    finite = jnp.isfinite(std)
    spread = r2 + jnp.where(finite, std, 1) ** 2
    positive = spread > 0
    spread = jnp.where(positive, spread, 1)
    gap = jnp.where(finite, values - observation.to_coordinates(x0), 0)
    correction = observation.from_coordinates(
        jnp.where(std == 0, gap, gap * (r2 / spread))
    )  # r² (values - z0) / (r² + std²)
    (slope,) = pull(correction)
    signal = m.alpha > 0
    factor = square / (jnp.where(signal, m.alpha, 1) * noise.data_std**2)  # sigma² / (alpha r²)
    log_p = -(gap**2 / spread + jnp.log(2 * jnp.pi * spread)) / 2
    return Reconstruction(
        x0, x0 + jnp.where(signal, factor * slope, correction), jnp.where(finite & positive, log_p, 0)
    )


@memoize_by_arguments
def dps(scale: float = 1.0) -> Method:
    """After each step x_s moves by -scale ∇ |values - z0(x_t)|: diffusion posterior sampling (Chung et al. 2023).

    (Algorithm 1 with the step size of section 3.3, so that the gradient is of the length itself, as their code has it;
    coordinates weigh as 1/std.) Any rule of one level and one evaluation; made for a thousand steps, and for a scale
    that is found for each task. 1 evaluation a step, with a pass back.
    """
    if not scale >= 0:
        raise UserError(f"dps: scale must be at least 0, got {scale}; 0.3 to 1 is the paper's")
    return Method("dps", functools.partial(_dps, scale), noisy=True, backward=1)


class _GuidedPrediction(NamedTuple):
    x0: Any
    push: Any


def _dps(scale: float, problem: Problem) -> Sample:
    step = problem.step or posterior()
    if step.evaluations != 1:
        raise UserError(f"dps: {step.name} calls the denoiser {step.evaluations} times a step; use posterior or ddim")
    denoise = Partial(_with_gradient, problem.observation, jnp.asarray(scale), as_pytree(problem.denoise))
    return sample_posterior(
        problem, denoise, constraints.pin_hook(problem.noise, problem.observation), _push_after_step(step)
    )


def _with_gradient(observation: Any, scale: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> _GuidedPrediction:
    values, std = observation.batched_values()
    noisy = (std > 0) & jnp.isfinite(std)
    axes = tuple(range(1, std.ndim))
    min_std = jnp.min(jnp.where(noisy, std, jnp.inf), axis=axes, keepdims=True)
    weights = jnp.where(noisy, jnp.where(noisy, min_std, 0) / jnp.where(noisy, std, 1), std == 0)

    def distance(x: Array) -> tuple[Array, Array]:
        x0 = inner(x, t, cond)
        gap = weights * (values - observation.to_coordinates(x0))
        return square_root(jnp.sum(gap**2, axis=tuple(range(1, gap.ndim)))), x0

    length, pull, x0 = jax.vjp(distance, x_t, has_aux=True)
    return _GuidedPrediction(x0, -scale * pull(jnp.ones_like(length))[0])


@memoize_by_arguments
def _push_after_step(step: Step) -> Step:
    """The rule of a denoiser that also says where to push x once the step is done."""

    def update(
        keys: Array, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, carry: Any, *row: Any
    ) -> tuple[Array, Any]:
        pushes: list[Array] = []

        def plain(x_t: Array, t: Array) -> Array:
            x0, push = denoise(x_t, t)
            pushes.append(push)
            return x0

        x, carry = step.update(keys, noise, plain, x, t, s, carry, *row)
        return jnp.where(t == s, x, x + pushes[0]), carry

    return replace(step, update=update, prediction_type=_GuidedPrediction)
