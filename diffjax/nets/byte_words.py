"""Bytes pooled into words, each a sum over its prefixes, which are hashed into a table.

A word is the sum of its bytes and of one vector for each prefix ("s", "se", "sev", …), the row of a table at the hash
of those bytes, as for the n-grams of Pagnoni et al. 2024 (section 3.2.1): no vocabulary is needed, and unseen words
share the prefixes of seen ones. There are at most half as many words as bytes to attend to.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt32

BYTES = 257  # tokens of a text in bytes: padding, and a byte b as b + 1
_SPACE = 1 + ord(" ")
_PRIME = 0x01000193
_SPREAD = 0x9E3779B1  # odd, so that both have inverses modulo 2**32


class WordIndex(NamedTuple):
    """For each byte: the number of its word, 0 … (n - 1) // 2, whether it is in one, and the hash of its prefix."""

    word: Int[Array, "b n"]
    inside: Bool[Array, "b n"]
    beginning: UInt32[Array, "b n"]


def split_words(tokens: Int[Array, "b n"]) -> WordIndex:
    """The words of texts, separated by spaces."""
    n = tokens.shape[1]
    inside = (tokens > 0) & (tokens != _SPACE)
    first = inside & ~jnp.pad(inside, ((0, 0), (1, 0)))[:, :-1]
    powers = np.array([pow(_PRIME, i, 2**32) for i in range(n)], np.uint32)
    inverses = np.array([pow(_PRIME, -i, 2**32) for i in range(n)], np.uint32)
    sums = jnp.cumsum(tokens.astype(jnp.uint32) * inverses[None], axis=1, dtype=jnp.uint32)
    start = jax.lax.cummax(jnp.where(first, jnp.arange(n)[None], 0), axis=1)
    before = jnp.take_along_axis(jnp.pad(sums, ((0, 0), (1, 0))), start, axis=1)
    return WordIndex(jnp.cumsum(first, axis=1) - 1, inside, (sums - before) * powers[None])


def hash_bucket(beginning: UInt32[Array, "b n"], count: int) -> Int[Array, "b n"]:
    """The row of a hash in a table of `count` rows, a power of two (Fibonacci hashing)."""
    return ((beginning * np.uint32(_SPREAD)) >> np.uint32(33 - count.bit_length())).astype(jnp.int32)
