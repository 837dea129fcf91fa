"""One key per example, folded from the example's global index: never from a device's."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Integer, Key

from diffjax.protocols import Keys


def keys(seed: int | Key[Array, ""], count: int, start: int = 0) -> Keys:
    """Keys of examples start … start + count - 1; example i has the same key in every batch it can be part of."""
    root = jax.random.key(seed) if isinstance(seed, int) else seed
    return keys_of(root, start + jnp.arange(count))


def keys_of(root: Key[Array, ""], index: Integer[Array, " b"]) -> Keys:
    """Keys of the examples with these global indices."""
    return jax.vmap(jax.random.fold_in, (None, 0))(root, index)


def fold(keys: Keys, number: int | Int[Array, ""]) -> Keys:
    """New keys for another purpose or step: `number` folded into each."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
