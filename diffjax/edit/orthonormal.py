"""Orthonormal changes of basis of one example, each its own inverse and one object for equal arguments.

Blocks and channels are reflected by I - 2 v vᵀ/|v|² with v = q - e, which swaps the unit vectors e = (1, 0, …) and q
(Householder 1958), so that the first coordinate is the component along q.
"""

import functools
from collections.abc import Sequence
from itertools import product
from math import prod

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float


@functools.cache
def block_basis(factor: int) -> Partial:
    """Of every block of `factor` positions a side the first coordinate is the sum over the root of its size.

    Where a side does not divide by `factor`, the blocks at its end are shorter.
    """

    def reflect_blocks(x: Array) -> Array:
        regions = list(product(*(_whole_and_rest(side, factor) for side in x.shape[:-1])))
        for spans in regions:
            at = tuple(slice(start, stop) for start, stop, _ in spans)
            reflected = _reflect_blocks(x[at] if regions[1:] else x, [length for _, _, length in spans])
            x = x.at[at].set(reflected) if regions[1:] else reflected
        return x

    return Partial(reflect_blocks)


def _whole_and_rest(side: int, factor: int) -> list[tuple[int, int, int]]:
    """Start, stop and length of the blocks of a side: of those that are whole, and of a last one that is shorter."""
    whole = side - side % factor
    spans = [(0, whole, factor), (whole, side, side - whole)]
    return [span for span in spans if span[0] < span[1]]


def _reflect_blocks(x: Array, lengths: Sequence[int]) -> Array:
    """The reflection of every block of these sides, which divide those of x."""
    axes = x.ndim - 1
    pairs = zip(x.shape[:-1], lengths, strict=True)
    split = x.reshape(*(size for side, length in pairs for size in (side // length, length)), x.shape[-1])
    within = tuple(range(1, 2 * axes, 2))
    last = tuple(range(-axes, 0))
    blocks = jnp.moveaxis(split, within, last)
    count = prod(lengths)
    reflected = _reflect(blocks.reshape(*blocks.shape[:-axes], count), count**-0.5 * np.ones(count))
    return jnp.moveaxis(reflected.reshape(blocks.shape), last, within).reshape(x.shape)


@functools.cache
def channel_basis(weights: tuple[float, ...]) -> Partial:
    """At every position the first coordinate is Σ_c weights_c x_c / |weights|."""

    def reflect_channels(x: Array) -> Array:
        return _reflect(x, np.array(weights) / np.linalg.norm(weights))

    return Partial(reflect_channels)


def hartley(x: Array) -> Array:
    """The Hartley transform over all axes but the last, Σ_n x_n (cos + sin)(2π Σ_i k_i n_i / N_i) / √N.

    It is real, and diagonalizes convolution with a symmetric kernel (Bracewell 1983).
    """
    f = jnp.fft.fftn(x, axes=tuple(range(x.ndim - 1)), norm="ortho")
    return (jnp.real(f) - jnp.imag(f)).astype(x.dtype)


def _reflect(x: Array, q: Float[np.ndarray, " n"]) -> Array:
    """The reflection along the last axis that swaps q and (1, 0, …)."""
    v = q - np.eye(len(q))[0]
    square = float(v @ v)
    v = jnp.asarray(v, x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
    return x - (2 / square if square else 0.0) * jnp.sum(x * v, axis=-1, keepdims=True) * v
