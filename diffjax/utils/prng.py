"""One key per example, folded from the example's global index: never from a device's."""

from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer, Key

from diffjax.errors import UserError
from diffjax.utils.kinds import matches_type
from diffjax.utils.values import describe_value, python_scalar

Keys = Key[Array, " b"]  # one key per example


class KeyUse(IntEnum):
    """What a key is for: the number that `fold` mixes into it. A key serves one group of these, and no number twice.

    Two groups may share a number, and then a name is an alias of the other. The numbers are what a seed means: they
    never change.
    """

    # An example in a loss, a likelihood and the diagnostics by noise level.
    TIME = 0
    RANK = 1  # in sampling, too
    CORRUPT = 2
    DROPOUT = 3
    BOUNDARY = 3  # of a variational bound, which has no dropout
    CONDITION_DROPOUT = 4
    KNOWN_MASK = 5
    POSITION_TIME = 5  # where positions have independent times, none is known
    DEQUANTIZE = 5  # of data whose likelihood is asked for

    # An example that is sampled or edited.
    PRIOR = 0
    STEP = 2
    HOOK = 3
    LABEL = 4
    CONDITION_NOISE = 5
    TIME_TRAVEL = 16

    # A step of a rule for tokens.
    TOKEN = 0
    POSITION = 1
    REMASK = 2

    # An example drawn by a particle filter.
    PARTICLE_PRIOR = 0
    PARTICLE_STEP = 1
    RESAMPLE = 2
    PARTICLE = 3

    # An example of a diagnostic or of a check in the laboratory.
    FORWARD = 0
    CHAIN = 1
    START = 0
    TRAJECTORY = 1
    TRUTH = 0
    MEASUREMENT = 1
    POSTERIOR = 2


def keys(seed: int | Key[Array, ""], count: int, start: int = 0) -> Keys:
    """Keys of examples start … start + count - 1; example i has the same key in every batch it can be part of.

    Raises UserError for a seed that is neither a whole number nor one key, and for a count below 0.
    """
    number = python_scalar(seed)
    count = python_scalar(count)
    root = jax.random.key(number) if matches_type(number, int) else require_key("keys: seed", seed)
    if root.ndim:
        raise UserError(f"keys: seed must be a whole number or one key, got keys of shape {root.shape}")
    if not matches_type(count, int) or count < 0:
        raise UserError(f"keys: count must be a whole number of at least 0, got {count!r}")
    return fold_index(root, start + jnp.arange(count))


def require_key(name: str, value: object) -> Key[Array, "..."]:
    """A key of `jax.random.key`, or several. Raises UserError for numbers and legacy keys."""
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value
    legacy = isinstance(value, jax.Array | np.ndarray) and value.dtype == np.uint32
    hint = "jax.random.wrap_key_data(…) makes keys of legacy ones" if legacy else "make one by jax.random.key(0)"
    raise UserError(
        f"{name}: expected keys of jax.random.key, got {describe_value(value)}; {hint}, and n of it by dj.keys(0, n)"
    )


def fold_index(root: Key[Array, ""], index: Integer[Array, " b"]) -> Keys:
    """Keys of the examples with these global indices."""
    return jax.vmap(jax.random.fold_in, (None, 0))(root, index)


def fold(keys: Keys, number: int | Int[Array, ""]) -> Keys:
    """New keys for another use (`KeyUse`) or step: `number` folded into each."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
