"""Layers that keep unit magnitude, the root mean square, from input to output (Karras et al. 2024, EDM2, section 2)."""

from math import prod, sqrt

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-4  # of magnitudes
SILU_MAGNITUDE = 0.596  # root mean square of silu(z), z ~ N(0, 1): eq. 81

Gain = float | Float[Array, ""]


def normalize(x: Float[Array, "..."], axes: tuple[int, ...]) -> Float[Array, "..."]:
    """x / (‖x‖ / √n + ε), with ‖·‖ over these axes, of n numbers together: eq. 47 for weights."""
    square = jnp.sum(x**2, axis=axes, keepdims=True)
    nonzero = square > 0
    norm = jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, square, 1)), 0)  # the slope of √ at 0 is infinite
    count = prod(x.shape[axis] for axis in axes)
    return x / (norm * (1 / sqrt(count)) + EPSILON)


def mp_silu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """silu(x) / 0.596: eq. 81."""
    return nn.silu(x) / SILU_MAGNITUDE


def mp_sum(a: Float[Array, "*n"], b: Float[Array, "*n"], share: float) -> Float[Array, "*n"]:
    """((1 - s) a + s b) / √((1 - s)² + s²), with s the share of b: eq. 88."""
    return (a + share * (b - a)) / sqrt((1 - share) ** 2 + share**2)


def mp_concatenate(a: Float[Array, "*n _"], b: Float[Array, "*n _"], share: float) -> Float[Array, "*n _"]:
    """The channels of a and of b, each scaled so that b contributes as in `mp_sum` whatever their numbers: eq. 103."""
    total = sqrt((a.shape[-1] + b.shape[-1]) / ((1 - share) ** 2 + share**2))
    scale_a, scale_b = (total / sqrt(part.shape[-1]) * weight for part, weight in ((a, 1 - share), (b, share)))
    return jnp.concatenate([scale_a * a, scale_b * b], axis=-1)


class MPFourier(nn.Module):
    """√2 cos(f c + φ) of a number c: eq. 75. Frequencies f ~ N(0, (2π)²) and phases φ in [0, 2π) are not trained."""

    features: int

    @nn.compact
    def __call__(self, level: Float[Array, " b"]) -> Float[Array, "b features"]:
        frequencies = self.param("freqs", nn.initializers.normal(2 * jnp.pi), (self.features,))
        phases = self.param("phases", nn.initializers.uniform(2 * jnp.pi), (self.features,))
        return sqrt(2) * jnp.cos(jnp.multiply.outer(level, frequencies) + phases[None])


class MPConv(nn.Module):
    """A convolution without bias, its weights normalized for each output at every use: eq. 47.

    `sides` of the kernel are odd, and x has zeros beyond its ends; without sides it is a dense layer. In training the
    authors also store the weights normalized before each step (eq. 66), which changes no output.
    """

    features: int
    sides: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Float[Array, "b *n _"], gain: Gain = 1.0) -> Float[Array, "b *n features"]:
        kernel = self.param("kernel", nn.initializers.normal(1.0), (*self.sides, x.shape[-1], self.features))
        inputs = kernel.shape[:-1]
        kernel = normalize(kernel, tuple(range(len(inputs)))) * (gain / sqrt(prod(inputs)))
        if not self.sides:
            return x @ kernel
        padding = [(side // 2, side // 2) for side in self.sides]
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=numbers)
