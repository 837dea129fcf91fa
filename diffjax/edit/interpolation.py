"""From one picture to another: both are inverted to noise, and what lies between is sampled back.

(Song et al. 2021, DDIM, section 5.3; White 2016 on why spherically: noise has nearly one norm, and a straight line
leaves it.) A condition goes from one to the other as the law does: at share w the law is p(x|first)^(1-w) p(x|second)^w
at every level, a product of experts, since its score is the mean of both scores, and so is the prediction (Du et al.
2023, "Reduce, reuse, recycle", section 3; Liu et al. 2022). It needs no space in which conditions lie, so labels, words
and drawings are mixed alike. As under guidance, laws are mixed at each level and not first and then destroyed: between
0 and 1 it is no denoiser of any data.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import eval_context
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree, Real, Shaped

from diffjax.arguments.checked import validate_arguments
from diffjax.arguments.expected import as_array, require_count
from diffjax.edit.sdedit import CLEANEST, NOISIEST
from diffjax.errors import UserError
from diffjax.grids import Grid
from diffjax.guidance.classifier_free import batched_predictions
from diffjax.guidance.rules import linear
from diffjax.order import Order
from diffjax.protocols import Denoise, GaussianNoise, Keys, Noise, Sample, Step
from diffjax.sampling.loop import invert, sample
from diffjax.steps import midpoint
from diffjax.utils.closures import as_pytree


class MixedCondition(NamedTuple):
    """A condition at a share of the way from the first to the second, for `mixed`."""

    first: Any  # [b, ...]
    second: Any  # the same tree
    share: Any  # [b] in [0, 1]


def mixed(denoise: Denoise) -> Partial:
    """(1 - w) d(first) + w d(second), of a condition that is `MixedCondition`; of logits too, whose laws it multiplies.

    Both are one call of twice the batch. At share 0 and 1 it is the one or the other, to rounding.
    """
    return Partial(_mixed, as_pytree(denoise))


def _mixed(denoise: Any, x_t: Array, t: Array, cond: MixedCondition) -> Array:
    first, second = batched_predictions(denoise, x_t, t, cond.first, cond.second)
    return linear(first, second, broadcast_weight(cond.share, first), x_t, t)


def broadcast_weight(share: Real[Any, "..."], x: Real[Array, "b ..."]) -> Real[Array, "b ..."]:
    """A number for all examples, or for each, with axes to broadcast against x."""
    return jnp.broadcast_to(jnp.asarray(share, x.dtype), (len(x),)).reshape(len(x), *(1,) * (x.ndim - 1))


@jax.jit
def slerp(
    a: Float[Array, "b *shape"], b: Float[Array, "b *shape"], share: Real[Any, "..."]
) -> Float[Array, "b *shape"]:
    """The point at a share [b], or one for all, of the arc from a to b, each example one vector (Shoemake 1985).

    Directions turn evenly, norms change evenly. Along opposite vectors any half circle would do, and it is the one
    through the axis that a lies least along.
    """
    from_, to, w = a.reshape(len(a), -1), b.reshape(len(b), -1), broadcast_weight(share, a.reshape(len(a), -1))
    (u, r), (v, s) = _polar(from_), _polar(to)
    along = jnp.sum(u * v, axis=1, keepdims=True)
    aside, sine = _polar(v - along * u)
    angle = jnp.arctan2(sine, along)
    axis = jax.nn.one_hot(jnp.argmin(jnp.abs(u), axis=1), u.shape[1], dtype=u.dtype)
    other, _ = _polar(axis - jnp.sum(axis * u, axis=1, keepdims=True) * u)
    aside = jnp.where(sine > 1e-6, aside, other)
    turned = jnp.cos(w * angle) * u + jnp.sin(w * angle) * aside
    point = jnp.where(w == 0, from_, jnp.where(w == 1, to, ((1 - w) * r + w * s) * turned))
    return point.reshape(a.shape)


def _polar(x: Float[Array, "b n"]) -> tuple[Float[Array, "b n"], Float[Array, "b 1"]]:
    """Direction and norm; 0 has no direction."""
    square = jnp.sum(x**2, axis=1, keepdims=True)
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return x / jnp.where(norm > 0, norm, 1), norm


@validate_arguments
def inversion_grid(noise: Noise, steps: int) -> Grid:
    """Stops on which a rule goes to noise and comes back: even log-SNRs from -10, or the schedule's end, to 10.

    It ends with a little noise, a 150th of the signal, which the picture is taken to have: from and to none at all a
    rule steps as if nothing were known of the noise, which on digits leaves ten times the error.
    """
    if steps < 1:
        raise UserError(f"steps must be at least 1, got {steps}")
    with eval_context():
        low = jnp.maximum(NOISIEST, noise.log_snr(jnp.ones(())))
        return noise.time(jnp.linspace(low, CLEANEST, steps + 1))


@validate_arguments
def interpolate(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    a: Sample,
    b: Sample,
    shares: Float[Array, " k"],
    *,
    cond: PyTree = None,
    cond_b: PyTree = None,
    steps: int = 50,
    grid: Grid | None = None,
    step: Step | None = None,
) -> Shaped[Array, "k b *shape"]:
    """Pictures at these shares of the way from a to b: inverted, `slerp`, and sampled under the condition between.

    `cond` is that of a, and `cond_b` that of b, by default the same. `step` is midpoint() and the grid
    `inversion_grid` by
    default; at shares 0 and 1 it is a and b as inversion and back leave them. All are one batch of k b examples. Raises
    UserError for a rule that is stochastic, and for tokens, between which there is nothing.
    """
    check_numbers(noise)
    a, b = (as_array(name, image) for name, image in (("a", a), ("b", b)))
    require_count(len(keys), "keys", {"a": a, "b": b})
    shares = as_array("shares", shares)
    if not shares.ndim:
        raise UserError(f"shares: expected an array of shares of the way, [k], got {shares}")
    step, grid = step or midpoint(), inversion_grid(noise, steps) if grid is None else grid
    settings, k = {"grid": grid, "step": step}, len(shares)
    cond_end = cond if cond_b is None else cond_b
    starts = [
        invert(keys, noise, order, denoise, x, cond=condition, **settings)
        for x, condition in ((a, cond), (b, cond_end))
    ]
    all_keys, (from_, to, first, second) = _tile(k, keys), (_tile(k, tree) for tree in (*starts, cond, cond_end))
    w = jnp.repeat(shares, len(a))
    options = {} if cond is None else {"cond": MixedCondition(first, second, w)}
    mixed_denoise = denoise if cond is None else mixed(denoise)
    images = sample(
        all_keys, noise, order, mixed_denoise, a.shape[1:], start=slerp(from_, to, w), **options, **settings
    )
    return images.reshape(k, *a.shape)


def check_numbers(noise: Noise) -> None:
    """Raise UserError for tokens."""
    if not isinstance(noise, GaussianNoise):
        kind = type(noise).__name__
        raise UserError(f"interpolate: {kind} hides tokens, and between two of them is nothing to go through; use vary")


def _tile(k: int, tree: PyTree) -> PyTree:
    """k copies of a batch, one after the other."""
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf] * k), tree)
