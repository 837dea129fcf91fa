"""Encoders of the named parts of a condition.

A condition of parts is `{"label": [b], part: ConditionPart(value, present), …}`. An encoder turns one part into a
vector, added to the embedding of the level; tokens, for cross-attention; or channels, concatenated to x. A part that is
not present has a learned embedding. `axes` are the possible numbers of axes of one value.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from diffjax.nets.attention import Attention
from diffjax.nets.byte_words import BYTES, hash_bucket, split_words
from diffjax.nets.layers import dense_dot_general
from diffjax.protocols import ConditionPart

__all__ = ["Category", "Embedded", "Number", "Picture", "Style", "Text"]  # choices of a config's model.conditions

SMALLEST_VARIANCE = 1e-4  # added to that of a feature, whose square root has no slope at 0

Features = Float[Array, "b n features"]


class EncoderOutputs(NamedTuple):
    """The outputs of encoders: a vector, tokens with their mask, and the channels of an image."""

    vector: Float[Array, "b features"] | None = None
    tokens: Features | None = None
    token_mask: Bool[Array, "b n"] | None = None
    channels: Float[Array, "b ... _"] | None = None


class Category(nn.Module):
    """One of `vocab` categories, 0 … vocab - 1, as a vector."""

    part: str = "category"
    drop: float = 0.0
    vocab: int = 2
    shape: tuple[int, ...] = ()

    axes: ClassVar[tuple[int, ...]] = (0,)

    @nn.compact
    def __call__(self, condition: ConditionPart, features: int, dtype: DTypeLike) -> EncoderOutputs:
        table = nn.Embed(self.vocab + 1, features, embedding_init=nn.initializers.normal(1.0))
        return EncoderOutputs(vector=table(jnp.where(condition.present, condition.value, self.vocab)))


class Number(nn.Module):
    """A number, or a vector of them, as a vector: an MLP of (value - center) / spread."""

    part: str = "number"
    center: float = 0.0
    """What is subtracted from the value. Unit: of the value. Range: any finite number.
    When: set it to the mean of the values."""
    spread: float = 1.0
    """What the value is divided by then. Unit: of the value. Range: (0, ∞).
    When: set it to their standard deviation."""
    drop: float = 0.0
    shape: tuple[int, ...] = ()

    axes: ClassVar[tuple[int, ...]] = (0, 1)

    @nn.compact
    def __call__(self, condition: ConditionPart, features: int, dtype: DTypeLike) -> EncoderOutputs:
        value = (condition.value.reshape(len(condition.value), -1) - self.center) / self.spread
        hidden = nn.silu(nn.Dense(features, dot_general=dense_dot_general)(value))
        return EncoderOutputs(
            vector=_or_null(self, nn.Dense(features, dot_general=dense_dot_general)(hidden), condition.present)
        )


class Text(nn.Module):
    """Text as tokens, and their mean as a vector: a transformer over tokens 1 … vocab - 1, where 0 is no token.

    Bytes (a vocab of 257, `data.byte_tokenizer`) are pooled into words first (`nets.byte_words`).
    """

    width: int = 64
    """Features of a token of text. Unit: features. Range: [1, 65536]; a multiple of `heads`.
    When: raise it for richer captions."""
    depth: int = 2
    """Transformer blocks. Unit: blocks. Range: [1, 512]. When: raise it for longer captions."""
    heads: int = 2
    """Heads of attention. Unit: heads. Range: [1, 1024]; a divisor of `width`. When: raise it with `width`."""
    part: str = "text"
    table: int = 2048
    """Vectors of beginnings of words, which share them by a hash. Unit: vectors. Range: [1, 65536]; a power of two.
    When: raise it with the number of different words."""
    drop: float = 0.0
    vocab: int = BYTES
    shape: tuple[int, ...] = (64,)

    axes: ClassVar[tuple[int, ...]] = (1,)

    @nn.compact
    def __call__(self, condition: ConditionPart, features: int, dtype: DTypeLike) -> EncoderOutputs:
        h = nn.Embed(self.vocab, self.width, dtype=dtype)(condition.value)
        token_mask = condition.value > 0
        if self.vocab == BYTES:
            h, token_mask = _sum_by_word(h, condition.value, nn.Embed(self.table, self.width, dtype=dtype))
        h += nn.Embed(h.shape[1], self.width, dtype=dtype)(jnp.arange(h.shape[1]))[None]
        for _ in range(self.depth):
            inner = nn.LayerNorm(dtype=dtype)(h)
            h += Attention(self.heads, dtype)(inner, 0, token_mask=token_mask)[0]
            inner = nn.gelu(
                nn.Dense(4 * self.width, dtype=dtype, dot_general=dense_dot_general)(nn.LayerNorm(dtype=dtype)(h))
            )
            h += nn.Dense(self.width, kernel_init=nn.initializers.zeros, dtype=dtype, dot_general=dense_dot_general)(
                inner
            )
        return _encode_tokens(self, nn.LayerNorm(dtype=dtype)(h), token_mask, condition.present, features)


class Embedded(nn.Module):
    """Precomputed embeddings, such as of a text, as tokens, and their mean as a vector; zeros are padding."""

    part: str = "embedding"
    drop: float = 0.0
    shape: tuple[int, ...] = (1, 1)

    axes: ClassVar[tuple[int, ...]] = (2,)

    @nn.compact
    def __call__(self, condition: ConditionPart, features: int, dtype: DTypeLike) -> EncoderOutputs:
        return _encode_tokens(
            self, condition.value.astype(dtype), jnp.any(condition.value != 0, axis=-1), condition.present, features
        )


class Picture(nn.Module):
    """An image as channels beside x, with a channel that is 1 where it is present; resized to x by whole factors.

    Likewise a signal beside signals and a volume beside volumes.
    """

    part: str = "sketch"
    drop: float = 0.0
    shape: tuple[int, ...] = (1, 1, 1)

    axes: ClassVar[tuple[int, ...]] = (2, 3, 4)

    @nn.compact
    def __call__(self, condition: ConditionPart, features: int, dtype: DTypeLike) -> EncoderOutputs:
        present = condition.present.reshape(-1, *(1,) * (condition.value.ndim - 1))
        there = jnp.broadcast_to(present, (*condition.value.shape[:-1], 1))
        both = jnp.concatenate([jnp.where(there, condition.value, 0), there], axis=-1)
        return EncoderOutputs(channels=both.astype(dtype))


class Style(nn.Module):
    """A picture as a vector that says how it looks and not what is where: its colours and textures.

    Mean and standard deviation over all pixels of the features of two convolutions, as style in Huang & Belongie 2017
    (section 3), through `code` numbers. Each feature sees 5×5 pixels.
    """

    part: str = "reference"
    width: int = 32
    """Features of a pixel. Unit: features. Range: [1, 65536]. When: raise it for many different textures."""
    code: int = 16
    """Numbers that pass from a reference to the net. Unit: numbers. Range: [1, 65536].
    When: lower it where samples copy the content of the reference, raise it where they miss its look."""
    drop: float = 0.0
    shape: tuple[int, ...] = (1, 1, 1)

    axes: ClassVar[tuple[int, ...]] = (3,)

    @nn.compact
    def __call__(self, condition: ConditionPart, features: int, dtype: DTypeLike) -> EncoderOutputs:
        h = nn.silu(nn.Conv(self.width, (3, 3), dtype=dtype)(condition.value.astype(dtype)))
        h = nn.Conv(self.width, (3, 3), strides=2, dtype=dtype)(h).astype(jnp.float32)
        mean = jnp.mean(h, axis=(1, 2))
        deviation = jnp.sqrt(jnp.mean((h - mean[:, None, None]) ** 2, axis=(1, 2)) + SMALLEST_VARIANCE)
        statistics = jnp.concatenate([mean, deviation], axis=-1)
        code = nn.Dense(self.code, dot_general=dense_dot_general)(statistics)
        vector = nn.Dense(features, dot_general=dense_dot_general)(nn.silu(code))
        return EncoderOutputs(vector=_or_null(self, vector, condition.present))


Encoder = Category | Number | Text | Embedded | Picture | Style
Encoders = tuple[Encoder, ...]


def _sum_by_word(
    h: Features, tokens: Int[Array, "b n"], table: nn.Embed
) -> tuple[Float[Array, "b m features"], Bool[Array, "b m"]]:
    """For each of (n + 1) // 2 possible words, the sum of the embeddings of its bytes and prefixes; and which exist."""
    word, inside, beginning = split_words(tokens)
    number = jnp.arange((tokens.shape[1] + 1) // 2)
    belongs = inside[:, None] & (word[:, None] == number[None, :, None])
    return jnp.matmul(belongs.astype(h.dtype), h + table(hash_bucket(beginning, table.num_embeddings))), jnp.any(
        belongs, axis=2
    )


def _encode_tokens(
    module: nn.Module, h: Features, token_mask: Bool[Array, "b n"], present: Bool[Array, " b"], features: int
) -> EncoderOutputs:
    """The tokens after a null token, which stands for a part that is not present; and their mean as a vector."""
    token_mask &= present[:, None]
    width = h.shape[-1]
    null_token = module.param("nothing", nn.initializers.normal(1.0), (width,)).astype(h.dtype)
    tokens = jnp.concatenate([jnp.broadcast_to(null_token, (len(h), 1, width)), h], axis=1)
    mean = jnp.sum(h * token_mask[:, :, None], axis=1) / jnp.maximum(jnp.sum(token_mask, axis=1, keepdims=True), 1)
    vector = nn.Dense(features, dot_general=dense_dot_general)(mean.astype(jnp.float32))
    return EncoderOutputs(
        vector=_or_null(module, vector, present),
        tokens=nn.Dense(features, dtype=h.dtype, dot_general=dense_dot_general)(tokens),
        token_mask=jnp.concatenate([~present[:, None], token_mask], axis=1),
    )


def _or_null(module: nn.Module, vector: Float[Array, "b f"], present: Bool[Array, " b"]) -> Float[Array, "b f"]:
    """The vector, or the learned one of a part that is not present."""
    null = module.param("null", nn.initializers.normal(1.0), (vector.shape[1],))
    return jnp.where(present[:, None], vector, null[None])
