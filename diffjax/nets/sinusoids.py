"""Sines and cosines of a noise level, as the input of its embedding."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def sinusoids(level: Float[Array, "*b"], features: int) -> Float[Array, "*b features"]:
    """sin and cos of level times rates 1 to 1000, evenly in the logarithm, float32 (after Vaswani et al. 2017)."""
    angles = jnp.multiply.outer(level, 1000.0 ** jnp.linspace(0.0, 1.0, features // 2))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def published_sinusoids(
    level: Float[Array, "*b"], features: int, *, shift: int = 0, sin_first: bool = False
) -> Float[Array, "*b features"]:
    """cos and sin of level times rates 10000^(-i / (n - shift)), i < n = features / 2 (Ho et al. 2020).

    Levels are 0 … 1000. `sin_first`: sines, then cosines. The exponents are rounded to float32, as where published
    weights were trained: at level 999 it moves the angles.
    """
    count = features // 2
    exponents = np.float32(-np.log(10_000.0)) * np.arange(count, dtype=np.float32) / np.float32(count - shift)
    angles = jnp.multiply.outer(level, np.exp(exponents.astype(np.float64)).astype(np.float32))
    parts = [jnp.cos(angles), jnp.sin(angles)]
    return jnp.concatenate(parts[::-1] if sin_first else parts, axis=-1)
