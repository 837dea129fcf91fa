"""Losses as functions `loss(keys, apply, x0, cond) -> [b]`, and reductions over the positions of an example.

`apply(x_t, level, cond, keys) -> out` is the network with its variables bound. Its inputs are `noise.feed` and
`noise.level`, and one key per example for dropout. A causal network also receives each position's rank.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from diffjax.protocols import Keys, Noise, Sample

Losses = Float[Array, " b"]
Apply = Callable[..., Array]
Loss = Callable[[Keys, Apply, Sample, PyTree], Losses]


def position_shape(noise: Noise, x0: Sample) -> tuple[int, ...]:
    """The shape of an example without its channels."""
    return x0.shape[1 : x0.ndim - noise.channel_axes]


def sum_per_example(values: Array) -> Losses:
    """The sum over all but the first axis."""
    return jnp.sum(values.reshape(len(values), -1), axis=1)


def mean_per_example(values: Array) -> Losses:
    """The mean over all but the first axis."""
    return jnp.mean(values.reshape(len(values), -1), axis=1)
