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
from diffjax.edit.solver import Method, Problem, by_sampling, drawn
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import State, Step
from diffjax.steps import posterior
from diffjax.steps.ancestral import square_root
from diffjax.utils.closures import portable
from diffjax.utils.memo import one_object


@one_object
def pigdm() -> Method:
    """x0' = x0 + (sigma²/alpha) ∇ log N(values; z0(x_t), r² + std²): pseudoinverse guidance (Song et al. 2023, eq. 7).

    r² is what would be left of x0 given x_t if the data were white of the noise's data_std d: sigma² d²/(alpha² d² +
    sigma²). Exact for such data. Any rule of one level. 1 evaluation a step, with a pass back.
    """
    return by_sampling("pigdm", _pigdm, noisy=True, backward=1)


def _pigdm(problem: Problem) -> tuple[Any, Any]:
    noise, seen = problem.noise, problem.seen
    return Partial(_leading(noise), seen, portable(problem.denoise)), constraints.pinned(noise, seen)


@functools.cache
def _leading(noise: Gaussian) -> Callable:
    def denoise(seen: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> Array:
        return look(noise, seen, inner, x_t, t, cond).led

    return denoise


class Look(NamedTuple):
    """The prediction, the one that is led to what was seen, and log N(values; z0, r² + std²) of each coordinate."""

    x0: Any
    led: Any
    log_p: Any


def look(noise: Gaussian, seen: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> Look:
    """At x_t. Where alpha = 0, (sigma²/alpha) times the slope of x0 is what is left of x0 given x_t, and so is r².

    Of a coordinate that has no noise left, r² + std² = 0, log_p is 0.
    """
    m, (values, std) = noise.moment(t), seen.told()
    x0, pull = jax.vjp(lambda x: inner(x, t, cond), x_t)
    square = m.alpha**2 * noise.data_std**2 + m.sigma**2
    r2 = m.sigma**2 * noise.data_std**2 / square
    finite = jnp.isfinite(std)
    spread = r2 + jnp.where(finite, std, 1) ** 2
    some = spread > 0
    spread = jnp.where(some, spread, 1)
    gap = jnp.where(finite, values - seen.turned(x0), 0)
    way = seen.back(jnp.where(std == 0, gap, gap * (r2 / spread)))  # r² (values - z0) / (r² + std²)
    (slope,) = pull(way)
    signal = m.alpha > 0
    factor = square / (jnp.where(signal, m.alpha, 1) * noise.data_std**2)  # sigma² / (alpha r²)
    log_p = -(gap**2 / spread + jnp.log(2 * jnp.pi * spread)) / 2
    return Look(x0, x0 + jnp.where(signal, factor * slope, way), jnp.where(finite & some, log_p, 0))


@one_object
def dps(scale: float = 1.0) -> Method:
    """After each step x_s moves by -scale ∇ |values - z0(x_t)|: diffusion posterior sampling (Chung et al. 2023).

    (Algorithm 1 with the step size of section 3.3, so that the gradient is of the length itself, as their code has it;
    coordinates weigh as 1/std.) Any rule of one level and one evaluation; made for a thousand steps, and for a scale
    that is found for each task. 1 evaluation a step, with a pass back.
    """
    if not scale >= 0:
        raise UserError(f"dps: scale must be at least 0, got {scale}; 0.3 to 1 is the paper's")
    return Method("dps", functools.partial(_dps, scale), noisy=True, backward=1)


class _Pushed(NamedTuple):
    x0: Any
    push: Any


def _dps(scale: float, problem: Problem) -> State:
    step = problem.step or posterior()
    if step.evaluations != 1:
        raise UserError(f"dps: {step.name} calls the denoiser {step.evaluations} times a step; use posterior or ddim")
    denoise = Partial(_pushing, problem.seen, jnp.asarray(scale), portable(problem.denoise))
    return drawn(problem, denoise, constraints.pinned(problem.noise, problem.seen), _after(step))


def _pushing(seen: Any, scale: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> _Pushed:
    values, std = seen.told()
    noisy = (std > 0) & jnp.isfinite(std)
    axes = tuple(range(1, std.ndim))
    least = jnp.min(jnp.where(noisy, std, jnp.inf), axis=axes, keepdims=True)
    weights = jnp.where(noisy, jnp.where(noisy, least, 0) / jnp.where(noisy, std, 1), std == 0)

    def far(x: Array) -> tuple[Array, Array]:
        x0 = inner(x, t, cond)
        gap = weights * (values - seen.turned(x0))
        return square_root(jnp.sum(gap**2, axis=tuple(range(1, gap.ndim)))), x0

    length, pull, x0 = jax.vjp(far, x_t, has_aux=True)
    return _Pushed(x0, -scale * pull(jnp.ones_like(length))[0])


@one_object
def _after(step: Step) -> Step:
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

    return replace(step, update=update, answer=_Pushed)
