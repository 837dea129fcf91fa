"""Adaptive sampling: the probability-flow ODE on the circle (`steps.circle`), with steps chosen by their error."""

import functools
import importlib
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import checked_denoiser
from diffjax.errors import UserError
from diffjax.protocols import Cond, Denoise, GaussianNoise, Keys, Noise
from diffjax.sampling.arguments import Inputs
from diffjax.steps import circle
from diffjax.utils.closures import closure_jit
from diffjax.utils.prng import KeyUse, fold

__all__ = ["adaptive"]

Values = Float[Array, "b *shape"]
Example = Float[Array, "*shape"]
Evaluations = Int[Array, " b"]
_MAX_STEPS = 4096


@validate_arguments
def adaptive(
    keys: Keys,
    noise: Noise,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    cond: Cond = None,
    rtol: float = 1e-4,
    atol: float = 1e-4,
    ends: tuple[float, float] = (1.0, 0.0),
    start: Values | None = None,
) -> tuple[Values, Evaluations]:
    """One example per key and its NFE, by Tsitouras' method of order 5(4) with a PID controller (Kidger 2021, ch. 5).

    In each step the error, root mean square over an example's numbers on the circle, stays under atol + rtol |y|. Every
    example has its own steps, so it does not depend on its batch, which takes as long as its slowest. From clock value
    ends[0], where x is `start` (by default from the prior; then ends[0] must be 1), to ends[1]: ends=(0, 1) takes data
    to noise. Raises UserError without diffrax, for a tolerance that is not positive, and where 4096 steps do not reach
    the end.
    """
    gaussian = _checked_noise(noise, rtol, atol, ends, start)
    _diffrax()
    inputs = Inputs(keys, checked_denoiser(noise, denoise), cond)
    arguments = (inputs, start, Tolerance(rtol, atol), jnp.asarray(ends, float))
    x, evaluations, reached = _solve(*arguments, noise=gaussian, shape=tuple(shape))
    if not isinstance(reached, Tracer) and not bool(jnp.all(reached)):
        raise UserError(f"rtol: {rtol:g} was not reached in {_MAX_STEPS} steps; use a larger one, or float64")
    return x, evaluations


class Tolerance(NamedTuple):
    """Relative and absolute error of a step."""

    rtol: Float[Array, ""] | float
    atol: Float[Array, ""] | float


@closure_jit(static_argnames=("noise", "shape"))
def _solve(
    inputs: Inputs,
    start: Values | None,
    tolerance: Tolerance,
    ends: Float[Array, "2"],
    *,
    noise: GaussianNoise,
    shape: tuple[int, ...],
) -> tuple[Values, Evaluations, Bool[Array, " b"]]:
    if start is None:
        noise.check_prior()
        start = jax.vmap(lambda key: noise.prior(key, shape))(fold(inputs.keys, KeyUse.PRIOR))
    one = functools.partial(_solve_one, noise, inputs.denoise, tolerance, ends.astype(start.dtype))
    return jax.vmap(one)(start, inputs.cond)


def _solve_one(
    noise: GaussianNoise, denoise: Denoise, tolerance: Tolerance, ends: Float[Array, "2"], x: Example, cond: Cond
) -> tuple[Example, Int[Array, ""], Bool[Array, ""]]:
    """The solution of one example (infinite where the end is not reached), its NFE, and whether the end is reached."""
    diffrax = _diffrax()
    first, last = circle.angle(noise, ends)
    radius = _radius(noise, ends)

    def slope(phi: Array, y: Array, cond: Cond) -> Array:
        t = jnp.where(phi == first, ends[0], jnp.where(phi == last, ends[1], circle.clock(noise, phi)))
        batch_cond = jax.tree.map(lambda leaf: leaf[None], cond)
        return circle.velocity(noise, denoise, batch_cond, y[None], t, _radius(noise, t))[0]

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        diffrax.Tsit5(),
        first,
        last,
        (last - first) / 1000,  # short enough to be accepted, so that evaluations are counted exactly
        x / radius[0],
        args=cond,
        stepsize_controller=diffrax.PIDController(rtol=tolerance.rtol, atol=tolerance.atol),
        max_steps=_MAX_STEPS,
        throw=False,
    )
    reached = solution.result == diffrax.RESULTS.successful
    evaluations = 6 * solution.stats["num_steps"] + 1  # the last slope of a step is the first of the next
    return radius[1] * solution.ys[0], evaluations, reached


def _radius(noise: GaussianNoise, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """√(alpha² + sigma²)."""
    return jnp.hypot(*noise.schedule(t))


def _checked_noise(
    noise: Noise, rtol: float, atol: float, ends: tuple[float, float], start: Values | None
) -> GaussianNoise:
    """The noise. Raises UserError for another noise than Gaussian, and for invalid tolerances, ends or start."""
    if not isinstance(noise, GaussianNoise):
        raise UserError(f"noise: {type(noise).__name__} has no probability-flow ODE; use Gaussian")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value > 0:
            raise UserError(f"{name}: expected a positive number, got {value}")
    if not all(0 <= end <= 1 for end in ends) or ends[0] == ends[1]:
        raise UserError(f"ends: expected two clock values in [0, 1], from where and to where, got {ends}")
    if start is None and ends[0] != 1:
        raise UserError(f"ends: starts at {ends[0]:g}, and only at 1 is nothing known; give start=, the state there")
    return noise


def _diffrax() -> ModuleType:
    try:
        return importlib.import_module("diffrax")
    except ImportError:
        raise UserError("adaptive needs diffrax; run: pip install 'diffjax[ode]'") from None
