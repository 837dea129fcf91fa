"""Orthonormal changes of basis of one example, each its own inverse, and made once for equal arguments.

Blocks and channels are reflected: I - 2 v vᵀ/|v|² with v = q - e swaps the unit vectors e = (1, 0, …) and q
(Householder 1958), so that the first coordinate is the component along q. Pictures are turned into waves by the Hartley
transform.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array


@functools.cache
def block_basis(factor: int) -> Partial:
    """Of every block of `factor` positions a side: first, in its first corner, the sum over the root of its size."""

    def turn(x: Array) -> Array:
        places = x.ndim - 1
        cut = x.reshape(*(size for side in x.shape[:-1] for size in (side // factor, factor)), x.shape[-1])
        within = tuple(range(1, 2 * places, 2))
        parts = jnp.moveaxis(cut, within, tuple(range(-places, 0)))
        flat = parts.reshape(*parts.shape[:-places], factor**places)
        turned = _reflect(flat, (factor**places) ** -0.5 * np.ones(factor**places))
        return jnp.moveaxis(turned.reshape(parts.shape), tuple(range(-places, 0)), within).reshape(x.shape)

    return Partial(turn)


@functools.cache
def channel_basis(weights: tuple[float, ...]) -> Partial:
    """Of every position: first Σ_c weights_c x_c / |weights|."""

    def turn(x: Array) -> Array:
        return _reflect(x, np.array(weights) / np.linalg.norm(weights))

    return Partial(turn)


def hartley(x: Array) -> Array:
    """The Hartley transform over all axes but the last, Σ_n x_n (cos + sin)(2π Σ_i k_i n_i / N_i) / √N.

    It is real, and convolution with a symmetric kernel multiplies each coordinate by the kernel's (Bracewell 1983).
    """
    axes = tuple(range(x.ndim - 1))
    f = jnp.fft.fftn(x, axes=axes, norm="ortho")
    return (jnp.real(f) - jnp.imag(f)).astype(x.dtype)


def _reflect(x: Array, q: Any) -> Array:
    """Along the last axis, the reflection that swaps q and (1, 0, …)."""
    v = q - np.eye(len(q))[0]
    size = float(v @ v)
    v = jnp.asarray(v, x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
    return x - (2 / size if size else 0.0) * jnp.sum(x * v, axis=-1, keepdims=True) * v
