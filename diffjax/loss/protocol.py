"""What training minimises, `loss(keys, apply, x0, cond) -> [b]`, and sums over the positions of an example.

`apply(x_t, level, cond, keys) -> out` is the network with its variables bound. It receives what networks see,
`noise.feed` and `noise.level`, and one key per example for dropout. A causal network receives each position's rank too.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from diffjax.protocols import Keys, Noise, Sample

Losses = Float[Array, " b"]
Apply = Callable[..., Any]
Loss = Callable[[Keys, Apply, Sample, PyTree], Losses]


def position_shape(noise: Noise, x0: Sample) -> tuple[int, ...]:
    """The shape of an example without its channels."""
    return x0.shape[1 : x0.ndim - noise.channel_axes]


def sum_per_example(nats: Array) -> Losses:
    """The sum over all but the first axis."""
    return jnp.sum(nats.reshape(len(nats), -1), axis=1)
