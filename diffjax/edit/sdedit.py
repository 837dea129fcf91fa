"""Image to image (SDEdit, Meng et al. 2022): an image is noised part of the way and denoised by the model.

The **strength** w in (0, 1] is the log-SNR 10 - 20 w, so it is the same noise under every schedule: at 0.5 signal and
noise are equal (half of all tokens are masked), and at 1 sampling starts from the prior. Under an order of width below
1 it is the clock value of that log-SNR.
"""

import functools
from typing import TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Real, Shaped

from diffjax import grids
from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.grids import Grid
from diffjax.order import Order, levels
from diffjax.protocols import Cond, Denoise, Hook, Keys, Noise, NoiseAwareHook, Sample, Step
from diffjax.sampling.loop import init_state, sample
from diffjax.steps import posterior
from diffjax.utils.host import on_host
from diffjax.utils.prng import KeyUse, fold

CLEANEST = 10.0  # log-SNRs of strength 0 and 1, the ends of grids.log_snr
NOISIEST = -10.0

Strength = float | Real[Array, ""]


@on_host
def strength_to_time(noise: Noise, strength: Strength) -> Strength:
    """The clock value of a strength: the time of log-SNR 10 - 20 strength, or the schedule's end.

    Raises UserError for a strength out of (0, 1], unless it is traced.
    """
    if not isinstance(strength, Tracer):
        check_strength(float(strength))
    u = jnp.where(jnp.asarray(strength) >= 1, 1.0, noise.time(jnp.asarray(CLEANEST + (NOISIEST - CLEANEST) * strength)))
    return u if isinstance(u, Tracer) else float(u)


def check_strength(strength: float) -> None:
    """Raise UserError for a strength out of (0, 1]."""
    if not 0 < strength <= 1:
        raise UserError(f"strength: expected a number in (0, 1], where 1 discards the image, got {strength:g}")


@functools.partial(jax.jit, static_argnames=("noise", "order"))
def noise_to(keys: Keys, noise: Noise, order: Order, x0: Sample, u: Strength) -> Sample:
    """x0 noised to clock value u, `[b, *shape]`, with the ranks that `sample` has for these keys.

    At level 1 it is the draw from the prior that `sample` starts from.
    """
    prior, rank, _ = init_state(keys, None, noise, order, posterior(), x0.shape[1:])
    t = levels(order, jnp.full(len(x0), u), rank)
    x_t = jax.vmap(lambda key, x, t: noise.corrupt(key, x, t)[0])(fold(keys, KeyUse.PRIOR), x0, t)
    return jnp.where(t == 1, prior, x_t)


def truncate_grid(grid: Shaped[Array | np.ndarray, " _"], u: Strength) -> Grid:
    """The part of the grid below clock value u, which becomes its first point.

    Where u or the grid is traced the length cannot depend on them: the last point is repeated instead, which changes
    nothing. Raises UserError where the grid ends above u.
    """
    if isinstance(grid, Tracer) or isinstance(u, Tracer):
        return _truncate_traced(jnp.asarray(grid), u)
    points = np.asarray(grid)
    first = np.asarray(u, points.dtype)
    if not points[-1] < first:
        raise UserError(f"strength: the grid ends at clock value {points[-1]:g}, and sampling starts at {u:g}")
    return jnp.asarray(np.append(first, points[points < first]))


def _truncate_traced(points: Float[Array, " n"], u: Strength) -> Float[Array, " n+1"]:
    skipped = jnp.maximum(jnp.sum(points >= u), 1)
    index = jnp.arange(len(points) + 1)
    tail = jnp.append(points, points[-1])[jnp.minimum(index + skipped - 1, len(points))]
    return jnp.where(index == 0, jnp.asarray(u, points.dtype), tail)


class SampleOptions(TypedDict, total=False):
    """Options of `dj.sample` that the functions of this package take, with its defaults."""

    cond: Cond
    steps: int
    grid: Grid | None
    step: Step | None


class VaryOptions(SampleOptions, total=False):
    """Options of `vary`."""

    hook: Hook | NoiseAwareHook | None


@validate_arguments
def vary(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    x0: Sample,
    *,
    strength: Strength,
    **options: Unpack[VaryOptions],
) -> Sample:
    """Variations of x0, `[b, *shape]`: noised to the strength and denoised (Meng et al. 2022, algorithm 1).

    The options are those of `dj.sample`. Of the grid, by default `steps` (50) even steps, only the part below the
    strength is sampled; each length compiles once (`grids.pad_grid` of `truncate_grid`, or a traced strength, have one
    length). Tokens are masked and sampled anew. At strength 1 it is `sample` of the same keys. Raises UserError as
    `sample` does.
    """
    u = strength_to_time(noise, strength)
    steps = options.pop("steps", 50)
    grid = options.get("grid")
    options["grid"] = truncate_grid(grids.uniform(noise, steps) if grid is None else grid, u)
    return sample(keys, noise, order, denoise, x0.shape[1:], start=noise_to(keys, noise, order, x0, u), **options)
