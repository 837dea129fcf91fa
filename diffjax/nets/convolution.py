"""Convolutions of width 3 whose gradient in the kernel is fast on processors where XLA's own is not."""

import functools
from itertools import product
from math import log, prod
from typing import Literal

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float32, PyTree

from diffjax.utils.processor import lacks_avx512

ROWS = 1_024  # positions of a product: what it reads and writes stays in the cache
MOST_AXES = 5  # of x: three of space
FEWEST_CHANNELS = 16  # of the input, below which a product has too few columns to be fast


def convolve(x: Array, kernel: Array, strides: tuple[int, ...], padding: Literal["SAME"], **options: PyTree) -> Array:
    """`jax.lax.conv_general_dilated` of stride 1 for `nn.Conv`, x [b, *n, c] and kernel [3, …, 3, c, d].

    On x86-64 processors without AVX-512, XLA's gradient in the kernel runs at 0.3 to 0.6 of the rate of the convolution
    itself. There it becomes products of x with the shifted gradients of the output, 1.2 to 2.5 times as fast. With
    AVX-512 XLA's is as fast as the convolution, and stays; so it does on other devices, which is decided as the program
    is lowered for one.
    """
    few_axes = x.ndim <= MOST_AXES
    if not (lacks_avx512() and few_axes and x.dtype == jnp.float32 and x.shape[-1] >= FEWEST_CHANNELS):
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    return _convolve(x, kernel)


def _plain(x: Float32[Array, "b *n c"], kernel: Float32[Array, "*k c d"]) -> Float32[Array, "b *n d"]:
    space = "DHW"[5 - x.ndim :]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    return jax.lax.conv_general_dilated(x, kernel, (1,) * len(space), "SAME", dimension_numbers=numbers)


_convolve = jax.custom_jvp(_plain)


@functools.partial(_convolve.defjvp, symbolic_zeros=True)
def _jvp(
    primals: tuple[Array, Array], tangents: tuple[Array | SymbolicZero, Array | SymbolicZero]
) -> tuple[Array, Array]:
    """The convolution is linear in x and in the kernel, so its derivatives are made of two more."""
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    out = _convolve(x, kernel)
    terms = []
    if not isinstance(x_dot, SymbolicZero):
        terms.append(_convolve(x_dot, kernel))
    if not isinstance(kernel_dot, SymbolicZero):
        terms.append(jax.lax.platform_dependent(x, kernel_dot, cpu=by_products, default=_plain))
    return out, functools.reduce(jnp.add, terms)


def by_products(x: Float32[Array, "b *n c"], kernel: Float32[Array, "*k c d"]) -> Float32[Array, "b *n d"]:
    """The same convolution as the sum of products with each place of the kernel, shifted after the product.

    Slower than XLA's; but its transpose in the kernel is the product of x with the shifted cotangents, side by side.
    """
    groups = _groups(len(x), prod(x.shape[1:-1]))
    if groups == 1:
        return _shifted_products(x, kernel)
    parts = x.reshape(groups, -1, *x.shape[1:])
    return jax.lax.map(lambda part: _shifted_products(part, kernel), parts).reshape(*x.shape[:-1], kernel.shape[-1])


def _shifted_products(x: Float32[Array, "b *n c"], kernel: Float32[Array, "*k c d"]) -> Float32[Array, "b *n d"]:
    rank = x.ndim - 2
    places = kernel.reshape(-1, *kernel.shape[-2:])  # [k, c, d]
    matrix = jnp.moveaxis(places, 0, 1).reshape(x.shape[-1], -1)  # [c, k d]
    products = jnp.split((x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1), len(places), axis=-1)
    zero = jnp.zeros((), x.dtype)
    shifts = product((1, 0, -1), repeat=rank)
    shifted = (
        jax.lax.pad(term, zero, [(0, 0, 0), *((by, -by, 0) for by in shift), (0, 0, 0)])
        for term, shift in zip(products, shifts, strict=True)
    )
    return functools.reduce(jnp.add, shifted)


def _groups(examples: int, positions: int) -> int:
    """Into how many equal groups of examples a product is divided: the nearest to `ROWS` positions each."""
    divisors = [n for n in range(1, examples + 1) if examples % n == 0]
    return min(divisors, key=lambda groups: abs(log(examples // groups * positions / ROWS)))
