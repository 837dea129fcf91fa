"""Gradient guidance for inverse problems (DPS, ΠGDM): x_t is corrected by the gradient of its measurement error."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

from diffjax.edit.observation import Observation, pin_hook
from diffjax.edit.solver import Method, Problem, sample_posterior, sample_with_hooks
from diffjax.errors import UserError
from diffjax.protocols import Cond, Denoise, GaussianNoise, Hook, Keys, Level, Sample, Step
from diffjax.steps import posterior
from diffjax.steps.ancestral import square_root
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import memoize_by_arguments


@memoize_by_arguments
def pigdm() -> Method:
    """x0' = x0 + (sigma²/alpha) ∇ log N(values; z0(x_t), r² + std²): pseudoinverse guidance (Song et al. 2023, eq. 7).

    r² = sigma² d²/(alpha² d² + sigma²) is the variance of x0 given x_t for white data of standard deviation d, the
    noise's `data_std`; exact for such data. Any step rule. 1 evaluation a step, with a backward pass.
    """
    return Method("pigdm", sample_with_hooks(_pigdm_hooks), noisy=True, backward=1)


def _pigdm_hooks(problem: Problem) -> tuple[Denoise, Hook]:
    observation = problem.observation
    return _GuidedDenoiser(observation, as_pytree(problem.denoise), problem.gaussian), pin_hook(observation)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["observation", "denoise"], meta_fields=["noise"])
@dataclass(frozen=True)
class _GuidedDenoiser:
    observation: Observation
    denoise: Denoise
    noise: GaussianNoise

    def __call__(self, x_t: Sample, t: Level, cond: Cond) -> Sample:
        return reconstruct(self.noise, self.observation, self.denoise, x_t, t, cond).guided


class Reconstruction(NamedTuple):
    """The prediction of x0, the guided one, and log N(values; z0, r² + std²) of each coordinate."""

    x0: Sample
    guided: Sample
    log_p: Float[Array, "b ..."]


def reconstruct(
    noise: GaussianNoise, observation: Observation, inner: Denoise, x_t: Sample, t: Level, cond: Cond
) -> Reconstruction:
    """The guidance of `pigdm` at x_t.

    At alpha = 0 the limit of (sigma²/alpha) ∂x0/∂x_t is r². log_p is 0 for coordinates without noise, r² + std² = 0,
    and for those not measured.
    """
    m = noise.coefficients(t)
    values, std = observation.batched_values()
    x0, pull_back = jax.vjp(lambda x: inner(x, t, cond), x_t)
    x_t_variance = m.alpha**2 * noise.data_std**2 + m.sigma**2
    r2 = m.sigma**2 * noise.data_std**2 / x_t_variance
    finite = jnp.isfinite(std)
    variance = r2 + jnp.where(finite, std, 1) ** 2
    positive = variance > 0
    variance = jnp.where(positive, variance, 1)
    gap = jnp.where(finite, values - observation.to_coordinates(x0), 0)
    scaled_gap = jnp.where(std == 0, gap, gap * (r2 / variance))  # r² (values - z0) / (r² + std²)
    correction = observation.from_coordinates(scaled_gap)
    (gradient,) = pull_back(correction)
    signal = m.alpha > 0
    factor = x_t_variance / (jnp.where(signal, m.alpha, 1) * noise.data_std**2)  # sigma² / (alpha r²)
    guided = x0 + jnp.where(signal, factor * gradient, correction)
    log_p = -(gap**2 / variance + jnp.log(2 * jnp.pi * variance)) / 2
    return Reconstruction(x0, guided, jnp.where(finite & positive, log_p, 0))


@memoize_by_arguments
def dps(scale: float = 1.0) -> Method:
    """After each step x_s moves by -scale ∇ |values - z0(x_t)|: diffusion posterior sampling (Chung et al. 2023).

    Algorithm 1 with the step size of section 3.3, so that the gradient is of the norm itself, as in their code;
    coordinates have weights 1/std. `scale` is tuned for each problem, and the paper takes 1,000 steps. Any step rule of
    1 evaluation, with a backward pass. Raises UserError for a negative scale.
    """
    if not scale >= 0:
        raise UserError(f"dps: scale must be at least 0, got {scale}; 0.3 to 1 is the paper's")
    return Method("dps", functools.partial(_dps, scale), noisy=True, backward=1)


class GuidedPrediction(NamedTuple):
    """The prediction of x0, and the move of x_s along the gradient."""

    x0: Sample
    move: Sample


def _dps(scale: float, problem: Problem) -> Sample:
    step = problem.step or posterior()
    if step.evaluations != 1:
        raise UserError(f"dps: {step.name} calls the denoiser {step.evaluations} times a step; use posterior or ddim")
    denoise = Partial(predict_with_gradient, problem.observation, jnp.asarray(scale), as_pytree(problem.denoise))
    return sample_posterior(problem, denoise, pin_hook(problem.observation), _move_after_step(step))


def predict_with_gradient(
    observation: Observation, scale: float | Float[Array, ""], inner: Denoise, x_t: Sample, t: Level, cond: Cond
) -> GuidedPrediction:
    """The prediction, and -scale ∇ |values - z0(x_t)|."""
    values, std = observation.batched_values()
    noisy = (std > 0) & jnp.isfinite(std)
    axes = tuple(range(1, std.ndim))
    min_std = jnp.min(jnp.where(noisy, std, jnp.inf), axis=axes, keepdims=True)
    weights = jnp.where(noisy, jnp.where(noisy, min_std, 0) / jnp.where(noisy, std, 1), std == 0)

    def distance(x: Sample) -> tuple[Float[Array, " b"], Sample]:
        x0 = inner(x, t, cond)
        gap = weights * (values - observation.to_coordinates(x0))
        return square_root(jnp.sum(gap**2, axis=tuple(range(1, gap.ndim)))), x0

    length, pull_back, x0 = jax.vjp(distance, x_t, has_aux=True)
    return GuidedPrediction(x0, -scale * pull_back(jnp.ones_like(length))[0])


@memoize_by_arguments
def _move_after_step(step: Step) -> Step:
    """The step rule followed by the move of its prediction."""

    def update(
        keys: Keys,
        noise: GaussianNoise,
        denoise: Callable[[Sample, Level], GuidedPrediction],
        x: Sample,
        *rest: PyTree,  # t, s, carry and a row of the plan
    ) -> tuple[Sample, PyTree]:
        moves: list[Sample] = []

        def denoise_x0(x_t: Sample, t: Level) -> Sample:
            x0, move = denoise(x_t, t)
            moves.append(move)
            return x0

        x, carry = step.update(keys, noise, denoise_x0, x, *rest)
        t, s = rest[:2]
        return jnp.where(t == s, x, x + moves[0]), carry

    return replace(step, update=update, prediction_type=GuidedPrediction)
