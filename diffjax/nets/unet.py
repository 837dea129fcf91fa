"""The U-Net of Ho et al. 2020 in the form of Dhariwal & Nichol 2021: residual blocks modulated by level and class,
attention at chosen depths, skip connections by concatenation."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PyTree

from diffjax.errors import UserError
from diffjax.nets.attention import CrossAttention, check_blocks
from diffjax.nets.condition_embedding import check_encoders, encode_conditions, extract_label, null_condition, resize_to
from diffjax.nets.condition_encoders import EncoderOutputs, Encoders
from diffjax.nets.convolution import convolve
from diffjax.nets.dot_product import attend
from diffjax.nets.layers import (
    Dropout,
    Embedding,
    GroupNorm,
    Modulation,
    check_fields,
    remat_block,
    require_scalar_level,
    require_spatial_axes,
)
from diffjax.protocols import Keys
from diffjax.traits import NetTraits

State = Float[Array, "b *sides _"]  # with one spatial axis or more
OtherState = Float[Array, "b ... _"]  # of other sides


class Block(nn.Module):
    """GroupNorm, silu, convolution of side 3, twice; modulation at the second norm; the last one starts at 0."""

    features: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: State, embedding: Float[Array, "b e"], keys: Keys | None) -> State:
        h = _convolution(self.features, x, dtype=self.dtype)(nn.silu(GroupNorm(self.dtype)(x)))
        modulation = Modulation(self.dtype).scale_and_shift(embedding, self.features)
        h = nn.silu(GroupNorm(self.dtype)(h, modulation))
        h = Dropout(self.dropout)(h, keys)
        h = _convolution(self.features, x, kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, dtype=self.dtype)(x)
        return x + h


class Attention(nn.Module):
    """Residual self-attention over all positions, then cross-attention to the `tokens` where `token_mask`; starts at 0.

    `perturbed`: the attention matrix is the identity.
    """

    heads: int
    dtype: DTypeLike
    perturbed: bool = False

    @nn.compact
    def __call__(
        self, x: State, tokens: Float[Array, "b m _"] | None = None, token_mask: Bool[Array, "b m"] | None = None
    ) -> State:
        b, *_, c = x.shape
        positions = GroupNorm(self.dtype)(x).reshape(b, -1, c)
        qkv = nn.DenseGeneral((3, self.heads, c // self.heads), dtype=self.dtype)(positions)
        query, key, value = jnp.moveaxis(qkv, 2, 0)
        mixed = value if self.perturbed else attend(query, key, value)
        out = nn.Dense(c, kernel_init=nn.initializers.zeros, dtype=self.dtype)(mixed.reshape(b, -1, c))
        x += out.reshape(x.shape)
        if tokens is not None and token_mask is not None:
            x += CrossAttention(self.heads, self.dtype)(x.reshape(b, -1, c), tokens, token_mask).reshape(x.shape)
        return x


class UNet(nn.Module):
    """A U-Net over images, signals [b, n, c] or volumes [b, d, h, w, c], of any sides.

    Where a side is odd, its last positions are repeated once before it is halved, and cut off after it is doubled.
    Each depth has residual blocks on the way down and as many on the way up, the deepest one block, attention, one
    block. Attention is self-attention and cross-attention to a condition's tokens. With `per_pixel` the level is a
    channel beside x, and the blocks are modulated by its mean.
    """

    width: int = 32
    """Channels at full resolution. Unit: channels. Range: [1, 65536].
    When: raise it where training and validation loss both stay high."""
    multipliers: tuple[int, ...] = (1, 2)
    """Channels at each depth, as multiples of `width`; their number is that of the depths. Range: each in [1, 1024].
    When: one more depth for each doubling of the image's sides."""
    blocks: int = 1
    """Residual blocks at each depth, down and up. Unit: blocks. Range: [1, 64]. When: raise it with `width`."""
    attention: tuple[int, ...] = ()
    """Depths with attention beside the deepest; 0 is full resolution. Range: each in [0, depths).
    When: conditions have tokens (captions), or distant parts of an image must fit together."""
    heads: int = 4
    classes: int = 0
    conditions: Encoders = ()
    dropout: float = 0.0
    perturbed: tuple[int, ...] = ()
    """Depths whose attention matrix is the identity: a weaker net, for guidance. Range: each in [0, depths).
    When: set by `guidance_form=perturbed_attention(…)`; not needed in training."""
    per_pixel: bool = False
    """Whether each pixel may have a noise level of its own.
    When: for `edit.clamp`, and `train.loss=regression(given=…)`."""
    remat: bool | str = False
    dtype: DTypeLike = jnp.float32

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
        check_encoders(self.conditions, self.classes)
        check_blocks(self.perturbed, depths)
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """Convolutional, of any size, with blocks to perturb and to control."""
        return NetTraits(
            convolutional=True, any_size=True, perturbable=True, controllable=True, conditions=self.conditions
        )

    @property
    def null_cond(self) -> PyTree:
        """The null condition, without a batch axis."""
        return null_condition(self.classes, self.conditions)

    @nn.compact
    def __call__(
        self,
        x: State,
        level: Float[Array, "b *levels"],
        cond: PyTree = None,
        keys: Keys | None = None,
        added: Sequence[Array] | None = None,
        inside: bool = False,
    ) -> State | list[Array]:
        """The output, or with `inside` the states h at each depth; `added` is added to these (`nets.control`)."""
        require_spatial_axes(x, "UNet")
        encoded = encode_conditions(self.conditions, cond, len(x), 2 * self.width, self.dtype)
        channels = [self.width * multiplier for multiplier in self.multipliers]
        h, embedding = self._embed(x, level, cond, encoded)
        skips = []
        for depth, deeper in enumerate(channels[1:]):
            h = self._blocks(h, embedding, depth, keys, encoded)
            skips.append(h)
            h = nn.Conv(deeper, (2,) * (x.ndim - 2), strides=2, dtype=self.dtype)(_pad_to_even(h))
        block, attention = (remat_block(kind, self.remat) for kind in (Block, Attention))
        h = block(channels[-1], self.dropout, self.dtype)(h, embedding, keys)
        deepest = len(skips) in self.perturbed
        h = attention(self.heads, self.dtype, deepest)(h, encoded.tokens, encoded.token_mask)
        h = block(channels[-1], self.dropout, self.dtype)(h, embedding, keys)
        if inside:
            return [*skips, h]
        if added is not None:
            *skips, h = (state + more for state, more in zip([*skips, h], added, strict=True))
        for depth in reversed(range(len(skips))):
            h = _upsample(nn.Dense(channels[depth], dtype=self.dtype)(h), skips[depth].shape[1:-1])
            h = self._blocks(jnp.concatenate([h, skips[depth]], axis=-1), embedding, depth, keys, encoded)
        h = nn.silu(GroupNorm()(h))  # the last layer, of few channels, in float32
        return _convolution(x.shape[-1], x, kernel_init=nn.initializers.zeros)(h)

    def _embed(
        self, x: State, level: Float[Array, "b *levels"], cond: PyTree, encoded: EncoderOutputs
    ) -> tuple[State, Float[Array, "b e"]]:
        """The first state, of x, its level and the condition's channels, and the embedding of level and condition."""
        h = _convolution(self.width * self.multipliers[0], x, dtype=self.dtype)(x)
        if self.per_pixel:
            level_channel = jnp.broadcast_to(level, (*x.shape[:-1], 1)).astype(self.dtype)
            h += _convolution(h.shape[-1], x, dtype=self.dtype, name="Levels")(level_channel)
            level = jnp.mean(level, axis=range(1, level.ndim), keepdims=True)
        label = extract_label(self.conditions, self.classes, cond)
        embed = Embedding(2 * self.width, self.classes, self.dtype)
        embedding = embed(require_scalar_level(x, level), label, encoded.vector)
        if (condition_channels := resize_to(encoded.channels, x.shape[1:-1])) is not None:
            h += _convolution(h.shape[-1], x, dtype=self.dtype, name="Shown")(condition_channels)
        return h, embedding

    def _blocks(
        self, h: State, embedding: Float[Array, "b e"], depth: int, keys: Keys | None, encoded: EncoderOutputs
    ) -> State:
        block, attention = (remat_block(kind, self.remat) for kind in (Block, Attention))
        for _ in range(self.blocks):
            h = block(self.width * self.multipliers[depth], self.dropout, self.dtype)(h, embedding, keys)
            if depth in self.attention:
                h = attention(self.heads, self.dtype, depth in self.perturbed)(h, encoded.tokens, encoded.token_mask)
        return h


def _convolution(features: int, x: State, **options: PyTree) -> nn.Conv:
    """A convolution of width 3 along each of the spatial axes of x; options are those of `nn.Conv`."""
    return nn.Conv(features, (3,) * (x.ndim - 2), conv_general_dilated=convolve, **options)


def _pad_to_even(x: OtherState) -> OtherState:
    """x with the last positions of each odd side repeated: edge values have the scale and noise of the others."""
    odd = [side % 2 for side in x.shape[1:-1]]
    return jnp.pad(x, [(0, 0), *((0, more) for more in odd), (0, 0)], mode="edge") if any(odd) else x


def _upsample(x: OtherState, sides: tuple[int, ...]) -> OtherState:
    """Nearest-neighbour upsampling by 2, cut to these sides."""
    b, *halves, c = x.shape
    pairs = jnp.expand_dims(x, [2 * axis for axis in range(1, x.ndim - 1)])
    repeated = jnp.broadcast_to(pairs, (b, *(size for half in halves for size in (half, 2)), c))
    return jax.lax.slice(repeated.reshape(b, *(2 * half for half in halves), c), [0] * x.ndim, (b, *sides, c))
