"""Random masks of the hidden positions of an example, for training nets that are given the others."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key


def sample_hidden_mask(
    key: Key[Array, ""], share: float, positions: tuple[int, ...], channel_axes: int
) -> Bool[Array, "..."]:
    """What is hidden of one example: a part with probability `share`, else everything; [*positions, 1…]."""
    which, part = jax.random.split(key)
    hidden = random_or_cut_mask(part, positions) | ~jax.random.bernoulli(which, share)
    return hidden.reshape(positions + (1,) * channel_axes)


def random_fraction_mask(key: Key[Array, ""], max_share: float, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """Independent Bernoulli variables, whose probability is drawn from U(0, max_share)."""
    share_key, key = jax.random.split(key)
    return jax.random.bernoulli(key, max_share * jax.random.uniform(share_key), shape)


def random_or_cut_mask(key: Key[Array, ""], positions: tuple[int, ...]) -> Bool[Array, "..."]:
    """With probability ½ independent positions of a uniform fraction, else all on one side of a cut across an axis.

    A net that learns it may be given scattered pixels, halves, strips, and all but strips.
    """
    kind, share, axis, position_key = jax.random.split(key, 4)
    scattered = jax.random.uniform(position_key, positions) < jax.random.uniform(share)
    axis_keys = jax.random.split(position_key, len(positions))
    cuts = jnp.stack([_cut_mask(axis_key, number, positions) for number, axis_key in enumerate(axis_keys)])
    cut = cuts[jax.random.randint(axis, (), 0, len(positions))]
    return jnp.where(jax.random.bernoulli(kind), scattered, cut)


def _cut_mask(key: Key[Array, ""], axis: int, positions: tuple[int, ...]) -> Bool[Array, "..."]:
    """The positions on a random side of a random cut across that axis, at least one row."""
    where, side = jax.random.split(key)
    n = positions[axis]
    row = jnp.arange(n)
    row = jnp.where(jax.random.bernoulli(side), row, row[::-1])
    beyond = row >= jax.random.randint(where, (), 0, n)
    return jnp.broadcast_to(beyond.reshape((n,) + (1,) * (len(positions) - axis - 1)), positions)
