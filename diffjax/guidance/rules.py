"""Guidance rules `(unconditional, conditional, w, x_t, t) -> prediction`, w with as many axes as the predictions.

`linear` commutes with the parameterization of the net, and applies to tokens. The others apply to predictions of x0 and
use statistics of each example.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.guidance.scales import Scale, is_concrete, weight
from diffjax.predict import velocity
from diffjax.protocols import GaussianNoise, Noise, Prediction
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import bind
from diffjax.utils.shape_checks import require_like

Rule = Callable[[Array, Array, ArrayLike, Array, Array], Array]


def linear(unconditional: Array, conditional: Array, w: ArrayLike, x_t: Array, t: Array) -> Array:
    """(1 - w) unconditional + w conditional; exactly one of the two at w = 1, w = 0 and where they are equal.

    For logits, a token that is impossible (-inf) under the condition stays so. One that is impossible only without it
    stays so for w < 1, and has its conditional logit from there on, where the ratio of both is infinite.
    """
    never = jnp.isneginf(conditional)
    only_conditional = jnp.isneginf(unconditional) & ~never
    a, b = (jnp.where(never | only_conditional, 0, pred) for pred in (unconditional, conditional))
    mixed = jnp.where(w == 0, a + w * (b - a), b + (1 - w) * (a - b))
    mixed = jnp.where(only_conditional, jnp.where(jnp.less(w, 1), -jnp.inf, conditional), mixed)
    return jnp.where(never, jnp.where(w == 0, unconditional, -jnp.inf), mixed)


def apply_rule(
    rule: Rule,
    scale: Scale,
    unconditional: PyTree,
    conditional: PyTree,
    x_t: Array,
    t: Array,
) -> PyTree:
    """The rule's prediction. Raises UserError unless both predictions have the shape and kind of `conditional`.

    Of two `Prediction` it is that of the means, with the conditional one's variance.
    """
    if isinstance(conditional, Prediction):
        x0 = apply_rule(rule, scale, unconditional.x0, conditional.x0, x_t, t)
        return conditional._replace(x0=x0)
    t = jnp.broadcast_to(t, (len(x_t), *t.shape[1:]))
    unconditional = require_like("guidance: the prediction without the condition", unconditional, conditional)
    pred = rule(unconditional, conditional, weight(scale, t, conditional.ndim), x_t, t)
    return require_like("guidance rule", pred, conditional)


@validate_arguments
def rescaled(phi: float = 0.7, rule: Rule = linear) -> Partial:
    """phi x0 std(conditional)/std(x0) + (1 - phi) x0, for x0 by `rule` (Lin et al. 2024, eq. 15 and 16).

    The standard deviation is over all values of an example. (The paper rescales v; here it is x0.) Neutral at w = 1.
    """
    if is_concrete(phi) and not 0 <= phi <= 1:
        raise UserError(f"rescaled: phi must be in [0, 1], got {phi}; 0 rescales nothing, 0.7 is the paper's")
    return Partial(_rescaled, phi, as_pytree(rule))


def _rescaled(
    phi: ArrayLike, rule: Rule, unconditional: Array, conditional: Array, w: ArrayLike, x_t: Array, t: Array
) -> Array:
    _require_numbers("rescaled", x_t)
    x0 = rule(unconditional, conditional, w, x_t, t)
    std = _std(x0)
    varies = std > 8 * jnp.finfo(x0.dtype).eps * jnp.max(jnp.abs(x0), axis=_example_axes(x0), keepdims=True)
    ratio = jnp.where(varies, _std(conditional) / jnp.where(varies, std, 1), 1)  # a constant's deviation is rounding
    return x0 * (1 + phi * (ratio - 1))


@validate_arguments
def thresholded(percentile: float = 99.5, limit: float = 1.0, rule: Rule = linear) -> Partial:
    """clip(x0, -s, s) limit/s, s the percentile of |x0| in each example, at least `limit` (Saharia et al. 2022, 2.3).

    `limit` is the largest value of the data. Neutral at w = 1 where no prediction exceeds it.
    """
    if is_concrete(percentile) and not 0 < percentile <= 100:
        raise UserError(f"thresholded: percentile must be in (0, 100], got {percentile}; the paper has 99.5")
    if is_concrete(limit) and not limit > 0:
        raise UserError(f"thresholded: limit must be positive, the largest value of the data, got {limit}")
    return Partial(_thresholded, (percentile, limit), as_pytree(rule))


def _thresholded(
    bounds: tuple[ArrayLike, ArrayLike],
    rule: Rule,
    unconditional: Array,
    conditional: Array,
    w: ArrayLike,
    x_t: Array,
    t: Array,
) -> Array:
    _require_numbers("thresholded", x_t)
    percentile, limit = bounds
    x0 = rule(unconditional, conditional, w, x_t, t)
    s = jnp.maximum(jnp.percentile(jnp.abs(x0), percentile, axis=_example_axes(x0), keepdims=True), limit)
    return jnp.clip(x0, -s, s) * (limit / s)


@validate_arguments
def apg(eta: float = 0.0, norm: float | None = None) -> Partial:
    """conditional + (w - 1) (orthogonal + eta parallel): adaptive projected guidance (Sadat et al. 2024, algorithm 1).

    The difference conditional - unconditional, cut to the length `norm` over all values of an example (None: any), is
    split into the part parallel to `conditional`, which only raises contrast and saturation, and the rest. eta=1
    without norm is `linear`. Their reverse momentum is `momentum(step, scale, beta=-0.5, rule=apg(...))`.
    """
    if is_concrete(eta) and not -1e6 < eta < 1e6:
        raise UserError(f"apg: eta must be finite, got {eta}; 0 leaves the parallel part out, 1 keeps it")
    if norm is not None and is_concrete(norm) and not norm > 0:
        raise UserError(f"apg: norm must be positive, or None for no limit, got {norm}")
    return Partial(_apg, eta, norm)


def _apg(
    eta: ArrayLike,
    norm: ArrayLike | None,
    unconditional: Array,
    conditional: Array,
    w: ArrayLike,
    x_t: Array,
    t: Array,
) -> Array:
    _require_numbers("apg", x_t)
    difference = conditional - unconditional
    if norm is not None:
        square = _dot(difference, difference)
        long = square > norm**2
        difference = difference * jnp.where(long, norm / jnp.sqrt(jnp.where(long, square, 1)), 1)
    square = _dot(conditional, conditional)
    along = jnp.where(square > 0, _dot(difference, conditional) / jnp.where(square > 0, square, 1), 0) * conditional
    return conditional + (w - 1) * (difference - along + eta * along)


def zero_star(noise: Noise, share: float = 0.04) -> Partial:
    """(1 - w) s v(null) + w v(cond), v = alpha' x0 + sigma' eps: CFG-Zero* (Fan et al. 2025, algorithm 1).

    s = <v(cond), v(null)> / |v(null)|² in each example, over the positions above level 0. For t > 1 - share, v = 0:
    there a net's velocity is worse than none. At w = 1 everything is neutral. Raises UserError for tokens.
    """
    if not isinstance(noise, GaussianNoise):
        raise UserError(f"zero_star: noise must be Gaussian, got {type(noise).__name__}; tokens have no velocity")
    if is_concrete(share) and not 0 <= share < 1:
        raise UserError(f"zero_star: share must be in [0, 1), got {share}; 0 begins with no zeros, 0.04 is the paper's")
    return Partial(bind(_zero_star, noise), share)


def _zero_star(
    noise: GaussianNoise, share: ArrayLike, unconditional: Array, conditional: Array, w: ArrayLike, x_t: Array, t: Array
) -> Array:
    """With x0 = skip x_t + scale v, s v is the x0 skip x_t + s (x0 - skip x_t); scale cancels in s."""
    m = noise.coefficients(t)
    still = velocity.solution(m, noise.data_std)[0] * x_t  # the x0 of v = 0
    moves = m.sigma > 0
    ahead, behind = (jnp.where(moves, pred - still, 0) for pred in (conditional, unconditional))
    square = _dot(behind, behind)
    s = jnp.where(square > 0, _dot(ahead, behind) / jnp.where(square > 0, square, 1), 1)
    x0 = linear(s * unconditional + (1 - s) * still, conditional, w, x_t, t)
    return jnp.where((t > 1 - share) & (w != 1), still, x0)


def _example_axes(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim))


def _dot(one: Array, other: Array) -> Array:
    return jnp.sum(one * other, axis=_example_axes(one), keepdims=True)


def _std(x: Array) -> Array:
    """Of each example; its slope at 0 is 0."""
    square = jnp.var(x, axis=_example_axes(x), keepdims=True)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _require_numbers(name: str, x_t: Array) -> None:
    if not jnp.issubdtype(x_t.dtype, jnp.floating):
        raise UserError(f"{name}: this rule is for real numbers, and x holds tokens; use rule=linear")
