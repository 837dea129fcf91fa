"""How much guidance, and when: a number, an array, or a function of the level, `t -> w`, which broadcasts like t."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jaxtyping import Array, Float

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import PerExample
from diffjax.errors import UserError
from diffjax.protocols import GaussianNoise
from diffjax.utils.closures import as_pytree
from diffjax.utils.shape_checks import require_array

Level = Float[Array, "..."]


@validate_arguments
def interval(scale: Any, low: float, high: float) -> Partial:
    """`scale` where low <= t <= high, and 1 outside (Kynkäänniemi et al. 2024, on the clock level t).

    Of positions with their own levels, each by its own. `scale` may itself be a function of t.
    """
    scale = validate_scale("interval", scale)
    if is_concrete(low) and is_concrete(high) and not 0 <= low <= high <= 1:
        raise UserError(f"interval: expected clock levels 0 <= low <= high <= 1, got low={low} and high={high}")
    return Partial(_interval, scale, low, high)


def _interval(scale: Any, low: Any, high: Any, t: Level) -> Array:
    return jnp.where((low <= t) & (t <= high), weight(scale, t, t.ndim), 1.0)


def plus_plus(strength: Any, noise: Any, grid: Float[Array, " stops"]) -> Partial:
    """w = strength / (1 - rho), rho = alpha_t sigma_s / (alpha_s sigma_t), s the next stop of `grid` below t: CFG++.

    A step of CFG++ (Chung et al. 2024, algorithm 2) puts x0 = d(null) + strength (d(cond) - d(null)) into DDIM, but
    the eps of d(null): x_s = alpha_s x0 + sigma_s/sigma_t (x_t - alpha_t d(null)). Collecting d(cond) - d(null), that
    is `cfg` at this w under `ddim()`, for `order.together` on this very grid. Strengths lie in [0, 1]: 0 is d(null),
    none is neutral, and w grows with the number of steps.
    """
    strength = validate_scale("plus_plus", strength)
    if not isinstance(noise, GaussianNoise):
        raise UserError(f"plus_plus: noise must be Gaussian, got {type(noise).__name__}; tokens take a plain scale")
    if is_concrete(strength) and not np.all((np.asarray(strength) >= 0) & (np.asarray(strength) <= 1)):
        raise UserError(f"plus_plus: expected a strength in [0, 1], got {strength}; 0.6 is much, 0.2 is little")
    return Partial(_plus_plus(noise), strength, jnp.sort(jnp.asarray(grid)))


@functools.cache
def _plus_plus(noise: Any) -> Callable:
    def scale(strength: Any, stops: Array, t: Level) -> Array:
        below = jnp.searchsorted(stops.astype(t.dtype), t)
        s = jnp.where(below > 0, stops.astype(t.dtype)[jnp.maximum(below - 1, 0)], t)
        still = below == 0  # at the last stop nothing moves
        left = jnp.where(still, 1, 1 - noise.noise_correlation(t, s))
        return weight(strength, t, t.ndim) / left

    return scale


def weight(scale: Any, t: Level, axes: int) -> Any:
    """The scale at t, with as many axes as a prediction has: [b] is one for each example, and [b, n] for each token.

    Raises UserError where it is neither one number nor one for each of the batch.
    """
    w: Any = scale(t) if callable(scale) else scale
    w = w.values if isinstance(w, PerExample) else w
    if jnp.ndim(w) == 0:
        return w
    w = require_array("scale", w)
    if not jnp.issubdtype(w.dtype, jnp.number) or jnp.issubdtype(w.dtype, jnp.complexfloating):
        raise UserError(f"scale: expected real numbers, got {w.dtype}")
    if len(w) not in (1, len(t)) or w.ndim > axes:
        raise UserError(
            f"scale: expected one number, or one for each of the {len(t)} examples of the batch, got {w.shape}"
        )
    return w.reshape(w.shape + (1,) * (axes - w.ndim))


def is_concrete(value: Any) -> bool:
    """Whether it is a number or an array that can be looked at now."""
    return not callable(value) and not isinstance(value, Tracer)


def validate_scale(name: str, scale: Any) -> Any:
    """The scale, once it is known to be finite, as a pytree in which what is of single examples is marked."""
    if isinstance(scale, str | list | tuple | dict | None):
        raise UserError(f"{name}: scale must be a number, an array or a function of t, got {scale!r}; 1 is no guidance")
    if callable(scale):
        return as_pytree(scale)
    if is_concrete(scale) and not np.all(np.isfinite(np.asarray(scale))):
        raise UserError(f"{name}: scale must be finite, got {scale}; 1 is no guidance")
    return PerExample(jnp.asarray(scale)) if jnp.ndim(scale) else scale
