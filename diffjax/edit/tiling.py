"""Denoisers of examples larger than a net was trained on: by overlapping tiles, all sampled together.

At every level each tile is denoised by itself, and the predictions are averaged where tiles overlap (Bar-Tal et al.
2023, MultiDiffusion, eq. 5, whose average of x_s is that of E[x0|x_t] for rules that are linear in it). All tiles share
one x_t, so there are no seams to be joined afterwards; what is lost is what a tile cannot see. Being a denoiser and not
a hook, it goes with every step rule, guidance, edit and likelihood.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float64, Int, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import is_causal, repeat_per_example
from diffjax.errors import UserError
from diffjax.protocols import Cond, ConditionPart, Denoise, Level, Sample
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import bind

Starts = Int[np.ndarray, " tiles"]


@dataclass(frozen=True)
class Tiling:
    """The arguments of `tiled`."""

    sizes: tuple[int, ...]
    overlaps: tuple[int, ...]
    pictures: tuple[str, ...]
    tiles_per_call: int


class Layout(NamedTuple):
    """The tiles of examples of these sides: along each axis, the size of a tile and the first position of each."""

    sides: tuple[int, ...]
    sizes: tuple[int, ...]
    starts: tuple[Starts, ...]

    @property
    def tiles(self) -> int:
        """The number of tiles."""
        return prod(map(len, self.starts))

    def scaled_down(self, factor: int) -> "Layout":
        """The layout of a picture that is smaller by that factor."""
        sides = tuple(side // factor for side in self.sides)
        sizes = tuple(size // factor for size in self.sizes)
        return Layout(sides, sizes, tuple(starts // factor for starts in self.starts))


@validate_arguments
def tiled(
    denoise: Denoise,
    tile: int | tuple[int, ...],
    overlap: int | tuple[int, ...],
    *,
    pictures: Sequence[str] = (),
    tiles_per_call: int = 0,
) -> Partial:
    """E[x0|x_t] for x [b, *n, c] of any size, from a denoiser of tiles: the mean of predictions where they overlap.

    `tile` and `overlap` are positions along each axis, one number for all or one for each. Tiles are spaced evenly and
    share `overlap` positions or more; an axis no longer than a tile has one. The weight of a prediction falls linearly
    to the edges of its tile. Parts of the condition that `pictures` names describe the whole example, as `low_res`
    does: each tile receives what lies beside it. `tiles_per_call` bounds the memory; 0 is all at once. Raises UserError
    for numbers that do not fit, for causal nets, and where a picture is no whole factor smaller than x.
    """
    sizes = tile if isinstance(tile, tuple) else (tile,)
    overlaps = overlap if isinstance(overlap, tuple) else (overlap,) * len(sizes)
    if not sizes or len(overlaps) != len(sizes):
        raise UserError(f"tiled: expected one overlap for each axis of the tile, got tile {tile}, overlap {overlap}")
    for size, shared in zip(sizes, overlaps, strict=True):
        if not 0 <= shared < size:
            raise UserError(f"tiled: overlap must be in [0, {size}) for tiles of {size} positions, got {shared}")
    if tiles_per_call < 0:
        raise UserError(f"tiled: tiles_per_call must be at least 0, got {tiles_per_call}")
    if is_causal(denoise):
        raise UserError("tiled: a causal net predicts all positions in one order; use a net with causal=False")
    tiling = Tiling(sizes, overlaps, tuple(pictures), tiles_per_call)
    return Partial(bind(_tiled, tiling), as_pytree(denoise))


def tile_starts(side: int, size: int, overlap: int, factor: int = 1) -> Starts:
    """The first position of each tile along an axis: evenly spaced multiples of `factor`, the last tile at the end."""
    count = 1 if side <= size else -(-(side - overlap) // (size - overlap))
    return (np.arange(count) * (side - size) // max(count - 1, 1)) // factor * factor


def tile_weights(starts: Starts, size: int) -> Float64[np.ndarray, "tiles size"]:
    """The weight of each tile at each of its positions: falling linearly to its edges, 1 in all at each position."""
    tent = np.minimum(np.arange(1.0, size + 1), np.arange(size, 0.0, -1))
    places = starts[:, None] + np.arange(size)
    total = np.bincount(places.ravel(), np.tile(tent, len(starts)))
    return tent / total[places]


def cut(x: Array, layout: Layout) -> Array:
    """The tiles of x [b, *sides, c], [tiles, b, *sizes, c]."""
    rank = len(layout.sides)
    for axis, (starts, size) in enumerate(zip(layout.starts, layout.sizes, strict=True)):
        x = jnp.take(x, starts[:, None] + np.arange(size), axis=1 + 2 * axis)  # [b, tiles, size, …]
    x = jnp.moveaxis(x, range(1, 1 + 2 * rank, 2), range(rank))
    return x.reshape(-1, *x.shape[rank:])


def join(tiles: Array, layout: Layout) -> Array:
    """The weighted mean at each position of tiles [tiles, b, *sizes, c], [b, *sides, c]."""
    x = tiles.reshape(*map(len, layout.starts), *tiles.shape[1:])
    for axis in reversed(range(len(layout.sides))):
        x = _join_axis(x, axis, layout)
    return x


def _join_axis(x: Array, axis: int, layout: Layout) -> Array:
    """[tiles of axes 0 … axis, b, positions of each axis, c], the tiles of the last of these axes joined."""
    place = 2 * axis + 1  # of this axis' positions in the result
    before = (1,) * place
    behind = (1,) * (x.ndim - 2 - place)
    parts = jnp.moveaxis(x, axis, 0)
    total = jnp.zeros((*parts.shape[1 : 1 + place], layout.sides[axis], *parts.shape[2 + place :]), x.dtype)
    weights = tile_weights(layout.starts[axis], layout.sizes[axis])
    for part, start, weight in zip(parts, layout.starts[axis].tolist(), weights, strict=True):
        region = *(slice(None),) * place, slice(start, start + len(weight))
        total = total.at[region].add(part * jnp.asarray(weight.reshape(*before, -1, *behind), x.dtype))
    return total


def _tiled(tiling: Tiling, denoise: Denoise, x_t: Sample, t: Level, cond: Cond) -> Array:
    sides = x_t.shape[1:-1]
    factors = _picture_factors(tiling.pictures, sides, cond)
    layout = _layout(tiling, sides, lcm(*factors.values()))
    if t.size > len(x_t):
        levels = cut(jnp.broadcast_to(t, (*x_t.shape[:-1], 1)), layout)
    else:
        levels = _repeat(jnp.broadcast_to(t, (len(x_t), *t.shape[1:])), layout.tiles)
    tiles = (cut(x_t, layout), levels, _condition_tiles(cond, layout, factors))
    return join(_predict(denoise, tiles, tiling.tiles_per_call), layout)


def _layout(tiling: Tiling, sides: tuple[int, ...], factor: int) -> Layout:
    """Raises UserError where tiles are of another rank, or do not begin and end with the positions of a picture."""
    repeats = len(sides) if len(tiling.sizes) == 1 else 1
    if len(tiling.sizes) * repeats != len(sides):
        raise UserError(f"tiled: tiles of {tiling.sizes} positions are not for examples of {sides} positions")
    sizes = tuple(map(min, sides, tiling.sizes * repeats))
    if any(size % factor for size in sizes):
        raise UserError(f"tiled: a picture of the condition is {factor} times smaller; give a tile that divides by it")
    axes = zip(sides, sizes, tiling.overlaps * repeats, strict=True)
    return Layout(sides, sizes, tuple(tile_starts(*numbers, factor) for numbers in axes))


def _picture_factors(pictures: tuple[str, ...], sides: tuple[int, ...], cond: Cond) -> dict[str, int]:
    """How many times smaller than x each picture of the condition is."""
    factors = {}
    for name in pictures:
        if not isinstance(cond, Mapping) or not isinstance(cond.get(name), ConditionPart):
            raise UserError(f"tiled: pictures names {name!r}, which is no part of the condition")
        small = cond[name].value.shape[1:-1]
        factors[name] = factor = sides[0] // max(small[0], 1)
        if tuple(factor * side for side in small) != sides:
            raise UserError(f"tiled: {name} has {small} positions, which {sides} are no whole multiple of")
    return factors


def _condition_tiles(cond: Cond, layout: Layout, factors: Mapping[str, int]) -> Cond:
    """The condition of each tile, [tiles, b, …]."""
    if not factors:
        return jax.tree.map(lambda leaf: _repeat(leaf, layout.tiles), cond)
    parts = {name: _condition_tiles(part, layout, {}) for name, part in cond.items() if name not in factors}
    for name, factor in factors.items():
        value = cut(cond[name].value, layout.scaled_down(factor))
        parts[name] = ConditionPart(value, _repeat(cond[name].present, layout.tiles))
    return parts


def _repeat(leaf: Array, count: int) -> Array:
    """The array `count` times, along a new first axis."""
    return jnp.broadcast_to(leaf[None], (count, *leaf.shape))


def _predict(denoise: Denoise, tiles: PyTree, tiles_per_call: int) -> Array:
    """The predictions of tiles, whose leaves are [tiles, b, …], so many of them a call."""
    count, batch = tiles[0].shape[:2]
    calls = -(-count // tiles_per_call) if tiles_per_call else 1
    if calls == 1:
        return _predict_at_once(denoise, tiles)
    size = -(-count // calls)
    places = np.minimum(np.arange(calls * size), count - 1).reshape(calls, size)
    chosen = jax.lax.map(lambda at: _predict_at_once(denoise, jax.tree.map(lambda leaf: leaf[at], tiles)), places)
    return chosen.reshape(-1, batch, *chosen.shape[3:])[:count]


def _predict_at_once(denoise: Denoise, tiles: PyTree) -> Array:
    """The tiles of an example stand side by side, and so on one device."""
    count, batch = tiles[0].shape[:2]
    flat = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1).reshape(batch * count, *leaf.shape[2:]), tiles)
    prediction = repeat_per_example(denoise, count)(*flat)
    return jnp.moveaxis(prediction.reshape(batch, count, *prediction.shape[1:]), 1, 0)
