"""Interpolation of two images: both are inverted to noise, and points between the latents are sampled.

(Song et al. 2021, DDIM, section 5.3; spherical, since noise has almost constant norm: White 2016.) Between two
conditions the predictions are mixed, which at every level is the score of p(x|first)^(1-w) p(x|second)^w, a product of
experts (Liu et al. 2022; Du et al. 2023, "Reduce, reuse, recycle", section 3); no embedding space is needed. As with
guidance, the products of different levels are not the noised versions of one distribution, except at w = 0 and 1.
"""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.core import eval_context
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree, Real, Shaped

from diffjax.arguments.checked import validate_arguments
from diffjax.arguments.expected import as_array, require_count
from diffjax.edit.sdedit import CLEANEST, NOISIEST, SampleOptions
from diffjax.errors import UserError
from diffjax.grids import Grid
from diffjax.guidance.classifier_free import batched_predictions
from diffjax.guidance.rules import linear
from diffjax.order import Order
from diffjax.protocols import Cond, Denoise, GaussianNoise, Keys, Level, Noise, Sample
from diffjax.sampling.loop import invert, sample
from diffjax.steps import midpoint
from diffjax.steps.ancestral import square_root
from diffjax.utils.closures import as_pytree
from diffjax.utils.values import describe_value

Weight = float | Real[Array, "..."]  # one for all examples, or [b]


class MixedCondition(NamedTuple):
    """Two conditions of one tree and the weight [b] in [0, 1] of the second: the condition of a `mixed` denoiser."""

    first: Cond
    second: Cond
    share: Float[Array, " b"]


def mixed(denoise: Denoise) -> Partial:
    """The denoiser (1 - w) d(first) + w d(second) of a `MixedCondition`; of logits too.

    Both predictions are one call at twice the batch. At w = 0 and 1 it is one of them, up to rounding.
    """
    return Partial(_mixed, as_pytree(denoise))


def _mixed(denoise: Denoise, x_t: Sample, t: Level, cond: MixedCondition) -> Sample:
    first, second = batched_predictions(denoise, x_t, t, cond.first, cond.second)
    return linear(first, second, _broadcast_weight(cond.share, first), x_t, t)


def _broadcast_weight(weight: Weight, x: Real[Array, "b ..."]) -> Real[Array, "b ..."]:
    """The weight as [b, 1, …], to broadcast against x."""
    return jnp.broadcast_to(jnp.asarray(weight, x.dtype), (len(x),)).reshape(len(x), *(1,) * (x.ndim - 1))


@jax.jit
def slerp(a: Float[Array, "b *shape"], b: Float[Array, "b *shape"], share: Weight) -> Float[Array, "b *shape"]:
    """Spherical interpolation from a to b, each example as one vector (Shoemake 1985), with linear norms.

    Between opposite vectors the arc goes through the axis along which a is smallest.
    """
    start = a.reshape(len(a), -1)
    end = b.reshape(len(b), -1)
    w = _broadcast_weight(share, start)
    u, start_norm = _normalize(start)
    v, end_norm = _normalize(end)
    cosine = jnp.sum(u * v, axis=1, keepdims=True)
    orthogonal, sine = _normalize(v - cosine * u)
    angle = jnp.arctan2(sine, cosine)
    axis = jax.nn.one_hot(jnp.argmin(jnp.abs(u), axis=1), u.shape[1], dtype=u.dtype)
    axis_orthogonal, _ = _normalize(axis - jnp.sum(axis * u, axis=1, keepdims=True) * u)
    orthogonal = jnp.where(sine > 1e-6, orthogonal, axis_orthogonal)
    direction = jnp.cos(w * angle) * u + jnp.sin(w * angle) * orthogonal
    point = jnp.where(w == 0, start, jnp.where(w == 1, end, ((1 - w) * start_norm + w * end_norm) * direction))
    return point.reshape(a.shape)


def _normalize(x: Float[Array, "b n"]) -> tuple[Float[Array, "b n"], Float[Array, "b 1"]]:
    """Direction and norm; the direction of 0 is 0."""
    square = jnp.sum(x**2, axis=1, keepdims=True)
    norm = square_root(square)
    return x / jnp.where(norm > 0, norm, 1), norm


@validate_arguments
def inversion_grid(noise: Noise, steps: int) -> Grid:
    """`steps` even steps of log-SNR from -10, or the schedule's end, to 10: a grid for inversion and back.

    It ends with noise of 1/150 of the signal, at which the image is taken to be: steps to and from no noise at all have
    ten times the error (docs/editing.md). Raises UserError for less than one step.
    """
    if steps < 1:
        raise UserError(f"steps must be at least 1, got {steps}")
    with eval_context():
        low = jnp.maximum(NOISIEST, noise.log_snr(jnp.ones(())))
        return noise.time(jnp.linspace(low, CLEANEST, steps + 1))


class InterpolateOptions(SampleOptions, total=False):
    """Options of `interpolate`; `cond_b` is the condition of the second image."""

    cond_b: Cond


@validate_arguments
def interpolate(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    images: tuple[Sample, Sample],
    shares: Float[Array, " k"],
    **options: Unpack[InterpolateOptions],
) -> Shaped[Array, "k b *shape"]:
    """Images at the k weights `shares` of the second image: inverted, `slerp`, and sampled under the mixed condition.

    `cond` is the condition of the first image and `cond_b`, by default the same, of the second. By default `step` is
    midpoint() and the grid `inversion_grid(noise, steps)` of 50 steps. At 0 and 1 it is an image's reconstruction. All
    are one batch of k b examples. Raises UserError for tokens and for a stochastic step rule.
    """
    check_numbers(noise)
    a, b = _as_pair(images)
    require_count(len(keys), "keys", {"images[0]": a, "images[1]": b})
    shares = as_array("shares", shares)
    if not shares.ndim:
        raise UserError(f"shares: expected an array of weights, [k], got {shares}")
    cond = options.pop("cond", None)
    cond_b = options.pop("cond_b", None)
    cond_b = cond if cond_b is None else cond_b
    steps = options.pop("steps", 50)
    grid = options.pop("grid", None)
    grid = inversion_grid(noise, steps) if grid is None else grid
    step = options.pop("step", None) or midpoint()
    if options:
        raise TypeError(f"interpolate: unexpected arguments {', '.join(options)}")
    start_a = invert(keys, noise, order, denoise, a, cond=cond, grid=grid, step=step)
    start_b = invert(keys, noise, order, denoise, b, cond=cond_b, grid=grid, step=step)
    keys, start_a, start_b, cond, cond_b = _tile(len(shares), (keys, start_a, start_b, cond, cond_b))
    weights = jnp.repeat(shares, len(a))
    if cond is not None:
        denoise = mixed(denoise)
        cond = MixedCondition(cond, cond_b, weights)
    start = slerp(start_a, start_b, weights)
    frames = sample(keys, noise, order, denoise, a.shape[1:], cond=cond, grid=grid, step=step, start=start)
    return frames.reshape(len(shares), *a.shape)


def _as_pair(images: object) -> tuple[Array, Array]:
    if not isinstance(images, tuple) or len(images) != 2:
        raise UserError(f"images: expected two batches, (a, b), got {describe_value(images)}")
    a, b = images
    return as_array("images", a), as_array("images", b)


def check_numbers(noise: Noise) -> None:
    """Raise UserError for tokens."""
    if not isinstance(noise, GaussianNoise):
        kind = type(noise).__name__
        raise UserError(f"interpolate: {kind} is of tokens, which have no continuous latents; use vary")


def _tile(k: int, tree: PyTree) -> PyTree:
    """k copies of a batch, one after the other."""
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf] * k), tree)
