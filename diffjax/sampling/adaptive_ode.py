"""Sampling to a tolerance: the probability-flow ODE in steps as long as its error allows, through diffrax.

On the circle y = x_t / √(alpha² + sigma²) = cos(phi) x0 + sin(phi) eps, with phi = atan(sigma/alpha), every schedule is
one and the same ODE (Song et al. 2021, eq. 13, on another clock; see `probability_flow`)

    dy/dphi = cos(phi) E[eps|y] - sin(phi) E[x0|y],

finite at both ends, phi = 0 where all is data and phi = π/2 where all is noise.
"""

import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import checked_denoiser
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import Denoise, GaussianNoise, Keys, Noise
from diffjax.utils.closures import closure_jit
from diffjax.utils.prng import KeyUse, fold

__all__ = ["adaptive"]

Values = Float[Array, "b *shape"]
Evaluations = Int[Array, " b"]
_MAX_STEPS = 4096  # steps


@validate_arguments
def adaptive(
    keys: Keys,
    noise: Noise,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    cond: PyTree = None,
    rtol: float = 1e-4,
    atol: float = 1e-4,
    ends: tuple[float, float] = (1.0, 0.0),
    start: Values | None = None,
) -> tuple[Values, Evaluations]:
    """One example per key by Tsitouras' method of order 5(4) and a PID controller (Kidger 2021, chapter 5).

    x, and how often each example's denoiser was asked. In each step the error, root mean square over an example's
    numbers on the circle, stays under atol + rtol |y|. Every example has its own steps: it does not depend on its
    batch, which takes as long as its slowest. From clock ends[0], where x is `start` (drawn from the prior when absent;
    then ends[0] must be 1), to ends[1]: ends=(0, 1) takes data to noise.
    Raises UserError without diffrax, for a tolerance that is not positive, and where 4096 steps do not reach the end.
    """
    _check(noise, rtol, atol, ends, start)
    _diffrax()
    arguments = (checked_denoiser(noise, denoise), cond, rtol, atol, jnp.asarray(ends, float))
    x, evaluations, reached = _solve(keys, start, *arguments, noise=noise, shape=tuple(shape))
    if not isinstance(reached, Tracer) and not bool(jnp.all(reached)):
        raise UserError(f"rtol: {rtol:g} was not reached in {_MAX_STEPS} steps; use a larger one, or float64")
    return x, evaluations


@closure_jit(static_argnames=("noise", "shape"))
def _solve(
    keys: Keys,
    start: Any,
    denoise: Any,
    cond: PyTree,
    rtol: Any,
    atol: Any,
    ends: Array,
    *,
    noise: Any,
    shape: Any,
) -> tuple[Array, Array, Array]:
    if start is None:
        noise.check_prior()
        start = jax.vmap(lambda key: noise.prior(key, shape))(fold(keys, KeyUse.PRIOR))
    one = functools.partial(_solve_one, noise, denoise, rtol, atol, ends.astype(start.dtype))
    return jax.vmap(one)(start, cond)


def _solve_one(
    noise: Any, denoise: Any, rtol: Any, atol: Any, ends: Array, x: Array, cond: PyTree
) -> tuple[Array, Array, Array]:
    """The solution of one example, its evaluations, and whether the end was reached; infinite where not."""
    diffrax, (first, last), length = _diffrax(), noise.level(ends) * jnp.pi / 2, _length(noise, ends)

    def slope(phi: Array, y: Array, cond: PyTree) -> Array:
        t = jnp.where(phi == first, ends[0], jnp.where(phi == last, ends[1], _clock(noise, phi)))
        return _velocity(noise, denoise, jax.tree.map(lambda leaf: leaf[None], cond), y[None], t)[0]

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        diffrax.Tsit5(),
        first,
        last,
        (last - first) / 1000,  # short enough to be accepted, so that evaluations are counted exactly
        x / length[0],
        args=cond,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=_MAX_STEPS,
        throw=False,
    )
    reached = solution.result == diffrax.RESULTS.successful
    evaluations = 6 * solution.stats["num_steps"] + 1  # the last slope of a step is the first of the next
    return length[1] * solution.ys[0], evaluations, reached


def _velocity(noise: Gaussian, denoise: Any, cond: PyTree, y: Array, t: Array) -> Array:
    """dy/dphi at clock t."""
    m, length = noise.coefficients(t), _length(noise, t)
    level = jnp.full((len(y),) + (1,) * (y.ndim - 1), t)
    x0 = denoise(length * y, level, cond)
    return (m.alpha * noise.eps(length * y, x0, level) - m.sigma * x0) / length


def _clock(noise: Gaussian, phi: Array) -> Array:
    """The time at which sigma/alpha = tan(phi)."""
    tiny = jnp.finfo(phi.dtype).tiny
    return noise.time(2 * (jnp.log(jnp.maximum(jnp.cos(phi), tiny)) - jnp.log(jnp.maximum(jnp.sin(phi), tiny))))


def _length(noise: Gaussian, t: Array) -> Array:
    return jnp.hypot(*noise.schedule(t))


def _check(noise: Noise, rtol: float, atol: float, ends: tuple[float, float], start: Any) -> None:
    """Raise UserError where there is nothing to solve, or no tolerance."""
    if not isinstance(noise, GaussianNoise):
        raise UserError(f"noise: {type(noise).__name__} has no probability-flow ODE; use Gaussian")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value > 0:
            raise UserError(f"{name}: expected a positive number, got {value}")
    if not all(0 <= end <= 1 for end in ends) or ends[0] == ends[1]:
        raise UserError(f"ends: expected two clock values in [0, 1], from where and to where, got {ends}")
    if start is None and ends[0] != 1:
        raise UserError(f"ends: starts at {ends[0]:g}, and only at 1 is nothing known; give start=, the state there")


def _diffrax() -> Any:
    try:
        return importlib.import_module("diffrax")
    except ImportError:
        raise UserError("adaptive needs diffrax; run: pip install 'diffjax[ode]'") from None
