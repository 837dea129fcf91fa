"""Image to image: a picture is destroyed part of the way, and restored by a model (SDEdit, Meng et al. 2022).

How far is its **strength** in (0, 1], which is told in log-SNR and so means the same under every schedule and clock:
strength w is the log-SNR 10 - 20 w, from 10, where noise is a 150th of the signal, through 0 at one half, where signal
and noise are equal, to -10 at 1, which is the whole way: nothing of the picture is left. For tokens 0 is half of them
hidden. Where an order gives positions levels of their own, it is that moment of the clock.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, PyTree, Real, Shaped

from diffjax import grids
from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.grids import Grid
from diffjax.order import Order, levels
from diffjax.protocols import Denoise, Hook, Keys, Noise, NoiseAwareHook, Sample, Step
from diffjax.sampling.loop import init_state, sample
from diffjax.steps import posterior
from diffjax.utils.host import on_host
from diffjax.utils.prng import KeyUse, fold

CLEANEST, NOISIEST = 10.0, -10.0  # log-SNRs of strength 0 and 1, the ends of grids.log_snr


Strength = float | Real[Array, ""]


@on_host
def strength_to_time(noise: Noise, strength: Strength) -> Strength:
    """The moment of the clock that has this strength: the time of log-SNR 10 - 20 strength, or the schedule's end.

    Raises UserError for a strength out of (0, 1], unless it is traced.
    """
    if not isinstance(strength, Tracer):
        check_strength(float(strength))
    u = jnp.where(jnp.asarray(strength) >= 1, 1.0, noise.time(jnp.asarray(CLEANEST + (NOISIEST - CLEANEST) * strength)))
    return u if isinstance(u, Tracer) else float(u)


def check_strength(strength: float) -> None:
    """Raise UserError for one out of (0, 1]."""
    if not 0 < strength <= 1:
        raise UserError(f"strength: expected a number in (0, 1], 1 being nothing of the picture left, got {strength:g}")


@functools.partial(jax.jit, static_argnames=("noise", "order"))
def noise_to(keys: Keys, noise: Noise, order: Order, x0: Sample, u: float | Real[Array, ""]) -> Sample:
    """x0 at the moment u of the clock, `[b, *shape]`, by the noise and the ranks that `sample` has of these keys.

    At level 1 it is the prior, with no signal at all.
    """
    prior, rank, _ = init_state(keys, None, noise, order, posterior(), x0.shape[1:])
    t = levels(order, jnp.full(len(x0), u), rank)
    x_t = jax.vmap(lambda key, x, t: noise.corrupt(key, x, t)[0])(fold(keys, KeyUse.PRIOR), x0, t)
    return jnp.where(t == 1, prior, x_t)


def truncate_grid(grid: Shaped[Any, " _"], u: Strength) -> Grid:
    """The grid from the moment u on, which becomes its first stop. Raises UserError where it ends before.

    Where u or the grid is traced, the length cannot depend on them: the last stop is repeated at the end instead, where
    nothing happens.
    """
    if isinstance(grid, Tracer) or isinstance(u, Tracer):
        return _truncate_traced(jnp.asarray(grid), u)
    stops = np.asarray(grid)
    first = np.asarray(u, stops.dtype)
    if not stops[-1] < first:
        raise UserError(f"strength: the grid ends at {stops[-1]:g} of the clock, and it begins at {u:g}; give more")
    return jnp.asarray(np.append(first, stops[stops < first]))


def _truncate_traced(stops: Array, u: Any) -> Array:
    before = jnp.sum(stops >= u)  # so many are left out, and one put in
    place = jnp.arange(len(stops) + 1)
    tail = jnp.append(stops, stops[-1])[jnp.minimum(place + jnp.maximum(before, 1) - 1, len(stops))]
    return jnp.where(place == 0, jnp.asarray(u, stops.dtype), tail)


@validate_arguments
def vary(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    x0: Sample,
    *,
    strength: Strength,
    cond: PyTree = None,
    steps: int = 50,
    grid: Grid | None = None,
    step: Step | None = None,
    hook: Hook | NoiseAwareHook | None = None,
) -> Sample:
    """Other pictures like x0, `[b, *shape]`: destroyed to the strength and restored (Meng et al. 2022, algorithm 1).

    Of the grid it goes the part below; of 50 steps over the whole clock there are fewer at a lower strength, and each
    number of them compiles once (`grids.pad_grid` of `truncate_grid`, and a strength that is traced, are of one
    length). Tokens are
    hidden and drawn anew. At strength 1 it is `sample` of the same keys. Raises UserError as `sample` does.
    """
    u = strength_to_time(noise, strength)
    grid = truncate_grid(grids.uniform(noise, steps) if grid is None else grid, u)
    start = noise_to(keys, noise, order, x0, u)
    return sample(
        keys,
        noise,
        order,
        denoise,
        x0.shape[1:],
        cond=cond,
        grid=grid,
        step=step or posterior(),
        start=start,
        hook=hook,
    )


def composite(x0: Sample, strokes: Sample, stroke_mask: Bool[Any, "b *#shape"]) -> Sample:
    """The picture with the strokes over it, where they are drawn."""
    return jnp.where(stroke_mask, strokes, x0)


@validate_arguments
def sketched(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    x0: Sample,
    strokes: Sample,
    stroke_mask: Bool[Any, "b *#shape"],
    **how: Any,
) -> Sample:
    """A picture with strokes drawn over it, made one: `vary` of both together, with its arguments.

    At a low strength the strokes stay as they are, at a high one they are a hint of colours and places. A hook, as
    `inpaint`, keeps what it should not touch.
    """
    return vary(keys, noise, order, denoise, composite(x0, strokes, stroke_mask), **how)
