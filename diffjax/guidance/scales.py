"""Guidance scales: a number, an array, or a function `t -> w` of the noise level, which broadcasts like t."""

from collections.abc import Callable
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import PerExample
from diffjax.errors import UserError
from diffjax.protocols import GaussianNoise, Noise
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import bind
from diffjax.utils.shape_checks import require_array

Level = Float[Array, "..."]
Scale = ArrayLike | PerExample | Callable[[Array], ArrayLike]


@validate_arguments
def interval(scale: object, low: float, high: float) -> Partial:
    """`scale` at positions with low <= t <= high, and 1 elsewhere (Kynkäänniemi et al. 2024, in the noise level t).

    `scale` may itself be a function of t. Raises UserError unless 0 <= low <= high <= 1.
    """
    valid = validate_scale("interval", scale)
    if is_concrete(low) and is_concrete(high) and not 0 <= low <= high <= 1:
        raise UserError(f"interval: expected clock levels 0 <= low <= high <= 1, got low={low} and high={high}")
    return Partial(_interval, valid, low, high)


def _interval(scale: Scale, low: ArrayLike, high: ArrayLike, t: Level) -> Array:
    return jnp.where((low <= t) & (t <= high), weight(scale, t, t.ndim), 1.0)


def plus_plus(strength: object, noise: Noise, grid: Float[Array, " stops"]) -> Partial:
    """w = strength / (1 - rho), rho = alpha_t sigma_s / (alpha_s sigma_t), s the grid point below t: CFG++.

    A step of CFG++ (Chung et al. 2024, algorithm 2) is DDIM's with x0 = d(null) + strength (d(cond) - d(null)) and the
    eps of d(null): x_s = alpha_s x0 + sigma_s/sigma_t (x_t - alpha_t d(null)). Collecting d(cond) - d(null), that is
    `cfg` at this w under `ddim()` and `order.together`, on this grid. `strength` in [0, 1]: 0 is d(null), and w grows
    with the number of steps. Raises UserError for other strengths, and for tokens.
    """
    valid = validate_scale("plus_plus", strength)
    if not isinstance(noise, GaussianNoise):
        raise UserError(f"plus_plus: noise must be Gaussian, got {type(noise).__name__}; tokens take a plain scale")
    if is_concrete(strength) and not np.all((np.asarray(strength) >= 0) & (np.asarray(strength) <= 1)):
        raise UserError(f"plus_plus: expected a strength in [0, 1], got {strength}; 0.6 is high, 0.2 is low")
    return Partial(bind(_plus_plus, noise), valid, jnp.sort(jnp.asarray(grid)))


def _plus_plus(noise: GaussianNoise, strength: Scale, stops: Array, t: Level) -> ArrayLike:
    below = jnp.searchsorted(stops.astype(t.dtype), t)
    s = jnp.where(below > 0, stops.astype(t.dtype)[jnp.maximum(below - 1, 0)], t)
    still = below == 0  # at the last stop nothing moves
    left = jnp.where(still, 1, 1 - noise.noise_correlation(t, s))
    return weight(strength, t, t.ndim) / left


def weight(scale: Scale, t: Level, axes: int) -> ArrayLike:
    """The scale at t, with `axes` axes: [b] is for each example, [b, n] for each token.

    Raises UserError unless it is one number, or one for each example of the batch.
    """
    w = scale(t) if callable(scale) else scale
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


def is_concrete(value: object) -> bool:
    """Whether it is a number or an array whose value is known now."""
    return not callable(value) and not isinstance(value, Tracer)


def validate_scale(name: str, scale: Any) -> Scale:
    """The scale as a pytree, in which values of single examples are marked. Raises UserError unless it is finite."""
    if isinstance(scale, str | list | tuple | dict | None):
        raise UserError(f"{name}: scale must be a number, an array or a function of t, got {scale!r}; 1 is no guidance")
    if callable(scale):
        return cast(Scale, as_pytree(scale))
    if is_concrete(scale) and not np.all(np.isfinite(np.asarray(scale))):
        raise UserError(f"{name}: scale must be finite, got {scale}; 1 is no guidance")
    return PerExample(jnp.asarray(scale)) if jnp.ndim(scale) else scale
