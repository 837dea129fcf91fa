"""The block that the transformers share: attention and a two-layer MLP, each modulated by level and class."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from diffjax.errors import UserError
from diffjax.nets.block_parts import rms_norm
from diffjax.nets.dot_product import attend
from diffjax.nets.layers import Dropout, Modulation, dense_dot_general
from diffjax.nets.rotary import rotate
from diffjax.protocols import Keys

Tokens = Float[Array, "b n width"]


class Cache(NamedTuple):
    """The keys and values of the first `filled` tokens, in arrays of the full length."""

    key: Float[Array, "b length heads d"]
    value: Float[Array, "b length heads d"]
    filled: Int[Array, ""]


class Attention(nn.Module):
    """Softmax attention over all tokens, or of one token over those in a cache.

    `causal`: blocks of so many tokens, counted from the last one, attend to themselves and earlier blocks; 1 is causal
    attention, 0 attention to all tokens of `token_mask`. `perturbed`: the attention matrix is the identity (Ahn et al.
    2024, eq. 15). `attention_kernel`: one of `dot_product.KERNELS`.
    `qk_norm`: queries and keys are normalized in each head by `rms_norm`, so that |q · k| / √d is at most √d times the
    largest products of their scales (after Dehghani et al. 2023, section 2, whose norm is LayerNorm). `rotary`: the
    sides of the grid whose positions turn queries and keys (`rotary.rotate`), of all tokens, or of those after some
    that have no position; not with a cache.
    """

    heads: int
    dtype: DTypeLike
    perturbed: bool = False
    attention_kernel: str = "xla"
    kernel_init: nn.initializers.Initializer = nn.linear.default_kernel_init
    out_init: nn.initializers.Initializer = nn.initializers.zeros
    qk_norm: bool = False
    rotary: tuple[int, ...] = ()

    @nn.compact
    def __call__(
        self, h: Tokens, causal: int, cache: Cache | None = None, token_mask: Bool[Array, "..."] | None = None
    ) -> tuple[Tokens, Cache | None]:
        b, n, width = h.shape
        qkv = nn.Dense(3 * width, kernel_init=self.kernel_init, dtype=self.dtype, dot_general=dense_dot_general)(h)
        query, key, value = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, width // self.heads), 2, 0)
        if self.qk_norm:
            query = rms_norm(self.dtype, "QueryNorm")(query)
            key = rms_norm(self.dtype, "KeyNorm")(key)
        if self.rotary:
            query = rotate(query, self.rotary)
            key = rotate(key, self.rotary)
        token_value = value
        token_mask = None if token_mask is None else token_mask[:, None, None]
        if causal > 1:
            block = (jnp.arange(n) - n) // causal
            token_mask = (block[:, None] >= block[None])[None, None]
        if cache is not None:
            key = jax.lax.dynamic_update_slice_in_dim(cache.key, key, cache.filled, axis=1)
            value = jax.lax.dynamic_update_slice_in_dim(cache.value, value, cache.filled, axis=1)
            token_mask = (jnp.arange(key.shape[1]) <= cache.filled)[None, None, None]
            cache = Cache(key, value, cache.filled + 1)
        if self.perturbed:
            mixed = token_value
        else:
            mixed = attend(query, key, value, token_mask, causal == 1, self.attention_kernel)
        out = nn.Dense(width, kernel_init=self.out_init, dtype=self.dtype, dot_general=dense_dot_general)
        return out(mixed.reshape(b, n, width)), cache


class CrossAttention(nn.Module):
    """Cross-attention of h to `tokens` where `token_mask`; 0 at the start (Rombach et al. 2022, eq. 2)."""

    heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, h: Tokens, tokens: Float[Array, "b m _"], token_mask: Bool[Array, "b m"]) -> Tokens:
        b, n, width = h.shape
        inner = nn.LayerNorm(dtype=self.dtype)(h)
        query = nn.Dense(width, dtype=self.dtype, dot_general=dense_dot_general)(inner)
        pair = nn.Dense(2 * width, dtype=self.dtype, dot_general=dense_dot_general)(tokens)
        key, value = jnp.moveaxis(pair.reshape(b, -1, 2, self.heads, width // self.heads), 2, 0)
        query = query.reshape(b, n, self.heads, -1)
        mixed = attend(query, key, value, token_mask[:, None, None])
        out = nn.Dense(width, kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=dense_dot_general)
        return out(mixed.reshape(b, n, width))


class Block(nn.Module):
    """h + attention(norm(h)), then h + MLP(norm(h)), both norms modulated (Peebles & Xie 2023); starts as identity.

    With `tokens` of a condition, residual cross-attention between the two.
    """

    heads: int
    dropout: float
    dtype: DTypeLike
    perturbed: bool = False
    attention_kernel: str = "xla"

    @nn.compact
    def __call__(
        self,
        h: Tokens,
        embedding: Float[Array, "b *n e"],
        keys: Keys | None,
        causal: int,
        cache: Cache | None = None,
        tokens: Float[Array, "b m _"] | None = None,
        token_mask: Bool[Array, "b m"] | None = None,
    ) -> tuple[Tokens, Cache | None]:
        width = h.shape[-1]
        inner = Modulation(self.dtype)(nn.LayerNorm(dtype=self.dtype)(h), embedding)
        attention = Attention(self.heads, self.dtype, self.perturbed, self.attention_kernel)
        mixed, cache = attention(inner, causal, cache)
        h += Dropout(self.dropout)(mixed, keys)
        if tokens is not None and token_mask is not None:
            h += CrossAttention(self.heads, self.dtype)(h, tokens, token_mask)
        inner = Modulation(self.dtype)(nn.LayerNorm(dtype=self.dtype)(h), embedding)
        inner = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, dot_general=dense_dot_general)(inner))
        inner = nn.Dense(width, kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=dense_dot_general)(
            inner
        )
        return h + Dropout(self.dropout)(inner, keys), cache


def check_heads(width: int, heads: int) -> None:
    """Raise UserError where the width does not divide by the heads."""
    if width % heads:
        raise UserError(f"net: width must divide by heads, got width {width} and {heads} heads")


def check_blocks(blocks: tuple[int, ...], depth: int) -> None:
    """Raise UserError for a perturbed block outside 0 … depth - 1."""
    if not {*blocks} <= {*range(depth)}:
        raise UserError(f"net: perturbed must name blocks, of 0 … {depth - 1}, got {blocks[:9]}")
