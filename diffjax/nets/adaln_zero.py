"""The parts of the published diffusion transformer (Peebles & Xie 2023, section 3.2 and appendix A)."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from diffjax.errors import UserError
from diffjax.nets.attention import Attention, Cache, CrossAttention, Tokens
from diffjax.nets.block_parts import MLPS, NORMS, XAVIER
from diffjax.nets.layers import Dropout, dense_dot_general, dense_float32
from diffjax.protocols import Keys

ZEROS = nn.initializers.zeros


def sincos_positions(sides: tuple[int, ...], features: int) -> Float[Array, "n features"]:
    """Fixed position embedding of a grid of these sides in raster order, float32: features of the last axis first.

    Each axis has an equal, even number of features, and what is left over is 0: of r axes the features of one are
    sin(p ω_i), then cos(p ω_i), with ω_i = 10000^(-i / n) for i < n = features // 2r, in float64 before rounding.
    Raises UserError for fewer than two features an axis.
    """
    count = features // (2 * len(sides))
    if not count:
        raise UserError(f"net: width must be at least {2 * len(sides)} for positions of {len(sides)} axes")
    frequencies = 10_000.0 ** -(np.arange(count) / count)

    def along(positions: np.ndarray) -> np.ndarray:
        angles = np.outer(positions, frequencies)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    places = np.indices(sides).reshape(len(sides), -1)
    table = np.concatenate([along(axis) for axis in reversed(places)], axis=1)
    return jnp.asarray(np.pad(table, ((0, 0), (0, features - table.shape[1]))), jnp.float32)


def modulate(x: Tokens, shift: Array, scale: Array, norm: str = "layer") -> Tokens:
    """The norm of this name in NORMS, then x (1 + scale) + shift; these two are [b, 1, width] or [b, n, width]."""
    return NORMS[norm](x.dtype)(x) * (1 + scale) + shift


class Conditioning(nn.Module):
    """`count` vectors of `width`, linear in the embedding and 0 at the start: each [b, 1, width] or [b, n, width]."""

    count: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, embedding: Float[Array, "b *n e"], width: int) -> list[Array]:
        layer = nn.Dense(self.count * width, kernel_init=ZEROS, dtype=self.dtype, dot_general=dense_dot_general)
        vectors = layer(embedding)
        return jnp.split(vectors.reshape(len(vectors), -1, self.count * width), self.count, axis=-1)


class AdaLNZeroBlock(nn.Module):
    """h + gate attention(norm(h)), then h + gate MLP(norm(h)); norms and gates are given by the embedding.

    Gates are 0 at the start, where the block is the identity. With `tokens` of a condition, there is residual
    cross-attention between the two. `norm` and `mlp` are names in NORMS and MLPS; `qk_norm` and `rotary` are those of
    `Attention`.
    """

    heads: int
    dropout: float
    dtype: DTypeLike
    perturbed: bool = False
    attention_kernel: str = "xla"
    norm: str = "layer"
    mlp: str = "gelu"
    qk_norm: bool = False
    rotary: tuple[int, ...] = ()

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
        six = Conditioning(6, self.dtype)(embedding, width)
        shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp = six
        attention = Attention(
            self.heads, self.dtype, self.perturbed, self.attention_kernel, XAVIER, XAVIER, self.qk_norm, self.rotary
        )
        mixed, cache = attention(modulate(h, shift_attention, scale_attention, self.norm), causal, cache)
        h += gate_attention * Dropout(self.dropout)(mixed, keys)
        if tokens is not None and token_mask is not None:
            h += CrossAttention(self.heads, self.dtype)(h, tokens, token_mask)
        inner = MLPS[self.mlp](modulate(h, shift_mlp, scale_mlp, self.norm), self.dtype)
        return h + gate_mlp * Dropout(self.dropout)(inner, keys), cache


class FinalLayer(nn.Module):
    """The modulated norm and a linear layer to `features` outputs, 0 at the start; accumulated in float32."""

    features: int
    dtype: DTypeLike
    norm: str = "layer"

    @nn.compact
    def __call__(self, h: Tokens, embedding: Float[Array, "b *n e"]) -> Float[Array, "b n features"]:
        shift, scale = Conditioning(2, self.dtype)(embedding, h.shape[-1])
        out = nn.Dense(self.features, kernel_init=ZEROS, dtype=self.dtype, dot_general=dense_float32)
        return out(modulate(h, shift, scale, self.norm))
