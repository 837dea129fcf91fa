"""Words of texts in bytes, and the hashes of their beginnings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.data import byte_tokenizer
from diffjax.nets.byte_words import hash_bucket, split_words
from diffjax.nets.condition_encoders import Text
from diffjax.protocols import ConditionPart

SAID = ["a bold three, leaning left", "three bold", "ünï cödé three,", "x"]
LENGTH = 30


def heads() -> list[list[tuple[str, int]]]:
    """Of each text: every beginning of every word with its hash, found letter by letter."""
    tokens = byte_tokenizer.encode(SAID, LENGTH)
    word, inside, beginning = (np.asarray(part) for part in jax.jit(split_words)(jnp.asarray(tokens)))
    found = []
    for row in range(len(SAID)):
        parts: dict[int, list[int]] = {}
        for k in np.flatnonzero(inside[row]):
            parts.setdefault(int(word[row, k]), []).append(int(k))
        assert [
            byte_tokenizer.decode(tokens[row, ks][None])[0] for ks in parts.values()
        ] == byte_tokenizer.normalize_text(SAID[row]).split()
        found.append(
            [(str(tokens[row, ks[: i + 1]]), int(beginning[row, k])) for ks in parts.values() for i, k in enumerate(ks)]
        )
    return found


def test_words_are_what_stands_between_spaces_and_beginnings_have_one_hash_wherever_they_stand() -> None:
    told = [pair for row in heads() for pair in row]
    assert len(dict(told)) == len(set(told)), "one beginning, one hash"
    assert len({number for _, number in told}) == len(dict(told)), "and of another beginning another"


def test_buckets_are_spread_over_the_table() -> None:
    numbers = jnp.asarray(np.random.default_rng(0).integers(0, 2**32, (1, 20_000)), jnp.uint32)
    counts = np.bincount(np.asarray(hash_bucket(numbers, 64))[0], minlength=64)
    assert len(counts) == 64
    assert abs(counts - 20_000 / 64).max() < 5 * (20_000 / 64) ** 0.5


def test_an_encoder_hears_words_however_they_are_padded_and_their_order() -> None:
    encoder, there = Text(width=8, depth=1, heads=2, shape=(LENGTH,)), jnp.ones(len(SAID), bool)
    tokens = jnp.asarray(byte_tokenizer.encode(SAID, LENGTH))
    variables = jax.jit(lambda *given: encoder.init(*given, 8, jnp.float32))(
        jax.random.key(0), ConditionPart(tokens, there)
    )
    told: Any = encoder.apply(variables, ConditionPart(tokens, there), 8, jnp.float32)
    assert told.tokens.shape == (len(SAID), 1 + (LENGTH + 1) // 2, 8)
    np.testing.assert_array_equal(np.asarray(told.token_mask).sum(axis=1), [5, 2, 3, 1])
    turned = jnp.asarray(byte_tokenizer.encode(["bold three"], LENGTH))
    other: Any = encoder.apply(variables, ConditionPart(turned, jnp.ones(1, bool)), 8, jnp.float32)
    assert np.abs(np.asarray(other.tokens[0, 1:3]) - np.asarray(told.tokens[1, 1:3])).max() > 0.1
