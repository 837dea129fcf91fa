"""One key per example, folded from the example's global index: never from a device's."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Integer, Key

from diffjax.errors import UserError
from diffjax.expected import one_key
from diffjax.kinds import holds, plain
from diffjax.protocols import Keys


def keys(seed: int | Key[Array, ""], count: int, start: int = 0) -> Keys:
    """Keys of examples start … start + count - 1; example i has the same key in every batch it can be part of.

    Raises UserError for a seed that is neither a whole number nor one key, and for a count below 0.
    """
    number, count = plain(seed), plain(count)
    root = jax.random.key(number) if holds(number, int) else one_key("keys: seed", seed)
    if root.ndim:
        raise UserError(f"keys: seed must be a whole number or one key, got keys of shape {root.shape}")
    if not holds(count, int) or count < 0:
        raise UserError(f"keys: count must be a whole number of at least 0, got {count!r}")
    return keys_of(root, start + jnp.arange(count))


def keys_of(root: Key[Array, ""], index: Integer[Array, " b"]) -> Keys:
    """Keys of the examples with these global indices."""
    return jax.vmap(jax.random.fold_in, (None, 0))(root, index)


def fold(keys: Keys, number: int | Int[Array, ""]) -> Keys:
    """New keys for another purpose or step: `number` folded into each."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
