"""Rotary position embedding of grids (Su et al. 2021): queries and keys turned by angles of their positions.

A query at position p and a key at q then have a product that depends on q - p alone.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffjax.errors import UserError

BASE = 10_000.0  # of the frequencies


def rotation_angles(sides: tuple[int, ...], features: int) -> np.ndarray:
    """The angle [n, features / 2] of each pair of features at each place of a grid in raster order, in float64.

    Of r axes each has m = features // 2r pairs, those of the first axis first, at angles p ω_i with
    ω_i = 10000^(-i / m) for i < m (Su et al. 2021, eq. 15, along each axis); pairs that are left over have angle 0.
    Raises UserError where features are odd, or fewer than two for each axis.
    """
    axes = len(sides)
    pairs = features // 2
    count = pairs // axes
    if features % 2 or not count:
        raise UserError(
            f"net: rotary needs heads of an even number of features, two or more for each of {axes} axes; "
            f"width / heads is {features}"
        )
    frequencies = BASE ** -(np.arange(count) / count)
    places = np.indices(sides).reshape(axes, -1)
    angles = np.concatenate([np.outer(along, frequencies) for along in places], axis=1)
    return np.pad(angles, ((0, 0), (0, pairs - angles.shape[1])))


def rotate(x: Float[Array, "b n heads d"], sides: tuple[int, ...]) -> Float[Array, "b n heads d"]:
    """(x_2j + i x_2j+1) e^(iθ_j) at the angles θ of the grid (Su et al. 2021, eq. 12), computed in float32.

    Tokens that come before those of the grid are not turned.
    """
    angles = rotation_angles(sides, x.shape[-1])
    angles = np.pad(angles, ((x.shape[1] - len(angles), 0), (0, 0)))[None, :, None]
    kind = jnp.promote_types(x.dtype, jnp.float32)
    cos, sin = jnp.asarray(np.cos(angles), kind), jnp.asarray(np.sin(angles), kind)
    real, imaginary = jnp.moveaxis(x.astype(kind).reshape(*x.shape[:-1], -1, 2), -1, 0)
    turned = jnp.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)
