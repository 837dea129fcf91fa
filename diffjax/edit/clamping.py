"""Methods that set known values: in the inputs of the denoiser (`clamp`), or after each step (`replacement`)."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.denoising import networks
from diffjax.edit.observation import Observation, check_order, clamp_tokens, pin, pin_hook, renoise_hook
from diffjax.edit.solver import Method, Problem, sample_with_hooks
from diffjax.errors import UserError
from diffjax.protocols import Cond, Denoise, GaussianNoise, Hook, Keys, Level, Sample
from diffjax.steps import ddim, posterior
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import memoize_by_arguments


@memoize_by_arguments
def clamp() -> Method:
    """The known pixels or tokens are inputs of the denoiser, at level 0, and any step rule samples the rest. Exact.

    A pixel with measurement noise n is, times alpha, x_t at the level where sigma/alpha = n, and is sampled with the
    others below that level: exact by ancestral sampling, and by no ODE. Needs a net of per-position levels trained with
    some positions clean (`regression(given=0.8)`, or `order.rolling`; Chen et al. 2024, diffusion forcing). Serves all
    nets of tokens (Austin et al. 2021, section 4.2); a causal one only where the known tokens come first in its order.
    """
    return Method("clamp", sample_with_hooks(_clamp_hooks), noisy=True, bases=False, orders=True, tokens=True)


@memoize_by_arguments
def replacement() -> Method:
    """After each step known coordinates are replaced by alpha_s values + sigma_s eps (Song et al. 2021, app. I.2).

    Biased: the new eps is independent of the state. 1 evaluation a step, any rule.
    """
    return Method("replacement", sample_with_hooks(_replacement_hooks), orders=True)


def _clamp_hooks(problem: Problem) -> tuple[Denoise, Hook]:
    observation = problem.observation
    denoise = problem.denoise
    if observation.noisy and problem.step not in (None, posterior(), ddim(1.0)):
        raise UserError("clamp: pixels with measurement noise need ancestral sampling; leave step out")
    if observation.of_tokens:
        check_order(observation, problem.order, denoise, (len(problem.keys), *observation.shape))
        return clamp_tokens(observation, denoise), pin_hook(observation)
    noise = problem.gaussian
    if noise.channel_axes and observation.std.shape[-1] > 1 and networks(denoise):
        raise UserError(
            "clamp: nets take one level for all channels of a pixel, and the mask differs between channels; give a "
            "mask [h, w], or use ddnm or pigdm"
        )
    levels = _measurement_levels(noise, observation)
    release = _Release(observation, levels, noise) if observation.noisy else pin_hook(observation)
    return _ClampedDenoiser(observation, levels, as_pytree(denoise), noise), release


def _replacement_hooks(problem: Problem) -> tuple[Denoise, Hook]:
    return problem.denoise, renoise_hook(problem.gaussian, problem.observation)


def _measurement_levels(noise: GaussianNoise, observation: Observation) -> Float[Array, "..."]:
    """The level at which alpha values is x_t, where log-SNR = -2 log std; 0 where known exactly or not measured."""
    std = observation.std
    noisy = (std > 0) & jnp.isfinite(std)
    return jnp.where(noisy, noise.time(-2 * jnp.log(jnp.where(noisy, std, 1))), 0)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["observation", "levels", "denoise"], meta_fields=["noise"]
)
@dataclass(frozen=True)
class _ClampedDenoiser:
    """The denoiser with alpha values, at their levels, in place of x_t and t at measured positions."""

    observation: Observation
    levels: Float[Array, "..."]
    denoise: Denoise
    noise: GaussianNoise

    def __call__(self, x_t: Sample, t: Level, cond: Cond) -> Sample:
        values, std = self.observation.batched_values()
        levels = self.levels if self.observation.batched else self.levels[None]
        is_clamped = jnp.isfinite(std) & (t >= levels)
        t = jnp.where(is_clamped, levels, t)
        x_t = jnp.where(is_clamped, self.noise.coefficients(levels).alpha * values, x_t)
        return jnp.where(std == 0, values, self.denoise(x_t, jnp.broadcast_to(t, (len(x_t), *t.shape[1:])), cond))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["observation", "levels"], meta_fields=["noise"])
@dataclass(frozen=True)
class _Release:
    """The hook that samples a noisy pixel from its measurement when the clock falls below the measurement's level."""

    observation: Observation
    levels: Float[Array, "..."]
    noise: GaussianNoise

    def __call__(self, keys: Keys, x: Sample, pred: Sample, t: Level, s: Level) -> Sample:
        values, std = self.observation.batched_values()
        levels = jnp.broadcast_to(self.levels if self.observation.batched else self.levels[None], x.shape)
        released = (std > 0) & jnp.isfinite(std) & (t >= levels) & (s < levels)
        x_levels = self.noise.coefficients(levels).alpha * values
        s_after = jnp.where(released, jnp.broadcast_to(s, x.shape), levels)
        x_s = jax.vmap(self.noise.posterior)(keys, x_levels, pred, levels, s_after)
        return pin(self.observation, keys, jnp.where(released, x_s, x), pred, t, s)
