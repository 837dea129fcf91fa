"""The U-Net of Ho et al. 2020 in the form of Dhariwal & Nichol 2021: residual blocks modulated by level and class,
attention at chosen depths, skip connections by concatenation."""

from math import gcd
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.nets.layers import (
    Dropout,
    Embedding,
    Modulation,
    check_fields,
    null_label,
    one_level,
    remembered,
)
from diffjax.protocols import Keys

Picture = Float[Array, "b _ _ _"]


class Block(nn.Module):
    """GroupNorm, silu, 3×3 convolution, twice; modulation at the second norm; the last convolution starts at 0."""

    features: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Picture, embedding: Float[Array, "b e"], keys: Keys | None) -> Picture:
        h = nn.Conv(self.features, (3, 3), dtype=self.dtype)(nn.silu(_norm(x.shape[-1], self.dtype)(x)))
        h = nn.silu(Modulation(self.dtype)(_norm(self.features, self.dtype)(h), embedding))
        h = Dropout(self.dropout)(h, keys)
        h = nn.Conv(self.features, (3, 3), kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, dtype=self.dtype)(x)
        return x + h


class Attention(nn.Module):
    """Self-attention over all pixels, added to its input; starts at 0."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Picture) -> Picture:
        b, h, w, c = x.shape
        tokens = _norm(c, self.dtype)(x).reshape(b, h * w, c)
        qkv = nn.DenseGeneral((3, self.heads, c // self.heads), dtype=self.dtype)(tokens)
        mixed = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        out = nn.Dense(c, kernel_init=nn.initializers.zeros, dtype=self.dtype)(mixed.reshape(b, h * w, c))
        return x + out.reshape(x.shape)


class UNet(nn.Module):
    """A U-Net over pictures whose sides divide by 2^(depths - 1).

    `multipliers` gives the channels at each depth as multiples of `width`; each depth has `blocks` residual blocks on
    the way down and as many on the way up, the deepest one block, attention, one block. `attention` names further
    depths (0 is full resolution) that attend. Parameters and output are float32, computation is `dtype`; `remat` saves
    memory in training: each block is computed once more going back.
    """

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[int, ...] = ()
    heads: int = 4
    classes: int = 0
    dropout: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    convolutional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        depths = len(self.multipliers)
        check_fields(self.dtype, self.dropout, width=self.width, depths=depths, blocks=self.blocks, heads=self.heads)
        for multiplier in self.multipliers:
            check_fields(self.dtype, self.dropout, multiplier=multiplier)
        if len(self.attention) > depths or not {*self.attention} <= {*range(depths)}:
            raise UserError(f"UNet: attention must name depths, of 0 … {depths - 1}, got {self.attention[:9]}")
        for depth in {*self.attention, depths - 1}:
            if self.width * self.multipliers[depth] % self.heads:
                raise UserError(
                    f"UNet: attention at depth {depth} needs channels there that divide by {self.heads} heads"
                )
        super().__post_init__()

    @property
    def null_cond(self) -> Array | None:
        """The label that says nothing."""
        return null_label(self.classes)

    @nn.compact
    def __call__(
        self,
        x: Picture,
        level: Float[Array, "b *levels"],
        cond: Int[Array, " b"] | None = None,
        keys: Keys | None = None,
    ) -> Picture:
        self._check(x)
        embedding = Embedding(2 * self.width, self.classes, self.dtype)(one_level(x, level), cond)
        channels = [self.width * multiplier for multiplier in self.multipliers]
        h = nn.Conv(channels[0], (3, 3), dtype=self.dtype)(x)
        skips = []
        for depth, deeper in enumerate(channels[1:]):
            h = self._blocks(h, embedding, depth, keys)
            skips.append(h)
            h = nn.Conv(deeper, (2, 2), strides=2, dtype=self.dtype)(h)
        block, attention = (remembered(kind, self.remat) for kind in (Block, Attention))
        h = block(channels[-1], self.dropout, self.dtype)(h, embedding, keys)
        h = attention(self.heads, self.dtype)(h)
        h = block(channels[-1], self.dropout, self.dtype)(h, embedding, keys)
        for depth in reversed(range(len(skips))):
            h = _twice_as_large(nn.Dense(channels[depth], dtype=self.dtype)(h))
            h = self._blocks(jnp.concatenate([h, skips[depth]], axis=-1), embedding, depth, keys)
        h = nn.silu(_norm(channels[0], jnp.float32)(h))  # the last layer, of few channels, in float32
        return nn.Conv(x.shape[-1], (3, 3), kernel_init=nn.initializers.zeros)(h)

    def _blocks(self, h: Picture, embedding: Float[Array, "b e"], depth: int, keys: Keys | None) -> Picture:
        block, attention = (remembered(kind, self.remat) for kind in (Block, Attention))
        for _ in range(self.blocks):
            h = block(self.width * self.multipliers[depth], self.dropout, self.dtype)(h, embedding, keys)
            if depth in self.attention:
                h = attention(self.heads, self.dtype)(h)
        return h

    def _check(self, x: Picture) -> None:
        factor = 2 ** (len(self.multipliers) - 1)
        if x.ndim != 4 or x.shape[1] % factor or x.shape[2] % factor:
            raise UserError(f"UNet: expected pictures [b, h, w, c] with sides that divide by {factor}, got {x.shape}")


def _twice_as_large(x: Picture) -> Picture:
    """Each pixel becomes a square of four."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def _norm(channels: int, dtype: Any) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(8, channels), dtype=dtype)
