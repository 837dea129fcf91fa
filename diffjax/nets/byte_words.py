"""Text in bytes, gathered into its words: each a sum over its beginnings, found by their hashes.

A word is told by its bytes and by a vector for each of its beginnings ("s", "se", "sev", …), which stands in a table
under a hash of those bytes, as the n-grams of Pagnoni et al. 2024 (section 3.2.1) do: words are known as soon as they
have been seen, others by how they begin, and there is no vocabulary to keep. Word by word there is half as much to
attend to as byte by byte, at the most.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt32

BYTES = 257  # tokens of a text in bytes: padding, and a byte b as b + 1
_SPACE = 1 + ord(" ")
_PRIME, _SPREAD = 0x01000193, 0x9E3779B1  # odd, so that both have inverses modulo 2**32


class WordIndex(NamedTuple):
    """Of each byte: its word, 0 … (n - 1) // 2, if it is in one, and the hash of that word up to here."""

    word: Int[Array, "b n"]
    inside: Bool[Array, "b n"]
    beginning: UInt32[Array, "b n"]


def split_words(tokens: Int[Array, "b n"]) -> WordIndex:
    """The words of texts, which are what stands between spaces."""
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
    """Where in a table of `count` rows, a power of two, a hash is found (Fibonacci hashing)."""
    return ((beginning * np.uint32(_SPREAD)) >> np.uint32(33 - count.bit_length())).astype(jnp.int32)
