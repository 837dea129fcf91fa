"""The block that the transformers share: attention and a two-layer MLP, each modulated by level and class."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.nets.layers import Dropout, Modulation, by_rows
from diffjax.protocols import Keys

Tokens = Float[Array, "b n width"]


class Cache(NamedTuple):
    """The keys and values of the tokens that a block has seen, `filled` of them, in arrays of their full length."""

    key: Float[Array, "b length heads d"]
    value: Float[Array, "b length heads d"]
    filled: Int[Array, ""]


class Attention(nn.Module):
    """Softmax attention over all tokens, or of one token over those in a cache.

    `causal` blocks of so many tokens see themselves and those before: 1, each token those up to it; 0, all see all.
    """

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, h: Tokens, causal: int, cache: Cache | None = None) -> tuple[Tokens, Cache | None]:
        b, n, width = h.shape
        qkv = nn.Dense(3 * width, dtype=self.dtype, dot_general=by_rows)(h)
        query, key, value = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, width // self.heads), 2, 0)
        seen = None
        if causal > 1:
            block = jnp.arange(n) // causal
            seen = (block[:, None] >= block[None])[None, None]
        if cache is not None:
            key = jax.lax.dynamic_update_slice_in_dim(cache.key, key, cache.filled, axis=1)
            value = jax.lax.dynamic_update_slice_in_dim(cache.value, value, cache.filled, axis=1)
            seen = (jnp.arange(key.shape[1]) <= cache.filled)[None, None, None]
            cache = Cache(key, value, cache.filled + 1)
        mixed = jax.nn.dot_product_attention(query, key, value, mask=seen, is_causal=causal == 1)
        out = nn.Dense(width, kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=by_rows)
        return out(mixed.reshape(b, n, width)), cache


class Block(nn.Module):
    """h + attention(norm(h)), then h + MLP(norm(h)), both norms modulated (Peebles & Xie 2023); starts as identity."""

    heads: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        h: Tokens,
        embedding: Float[Array, "b *n e"],
        keys: Keys | None,
        causal: int,
        cache: Cache | None = None,
    ) -> tuple[Tokens, Cache | None]:
        width = h.shape[-1]
        inner = Modulation(self.dtype)(nn.LayerNorm(dtype=self.dtype)(h), embedding)
        mixed, cache = Attention(self.heads, self.dtype)(inner, causal, cache)
        h += Dropout(self.dropout)(mixed, keys)
        inner = Modulation(self.dtype)(nn.LayerNorm(dtype=self.dtype)(h), embedding)
        inner = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, dot_general=by_rows)(inner))
        inner = nn.Dense(width, kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=by_rows)(inner)
        return h + Dropout(self.dropout)(inner, keys), cache


def check_heads(width: int, heads: int) -> None:
    """Raise UserError where the width does not divide by the heads."""
    if width % heads:
        raise UserError(f"net: width must divide by heads, got width {width} and {heads} heads")
