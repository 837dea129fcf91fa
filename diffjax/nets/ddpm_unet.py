"""The U-Net of Ho et al. 2020 in the layout of diffusers' UNet2DModel, whose names its modules have."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.nets.condition_embedding import check_encoders, extract_label, null_condition
from diffjax.nets.convolution import convolve
from diffjax.nets.dot_product import attend
from diffjax.nets.layers import Dropout, check_fields, dense_dot_general, require_scalar_level
from diffjax.nets.sinusoids import published_sinusoids
from diffjax.protocols import Keys
from diffjax.traits import NetTraits

EMBEDDING_FACTOR = 4  # the width of the level's embedding over that of the first depth

State = Float[Array, "b _ _ _"]
Vector = Float[Array, "b _"]


class ResidualBlock(nn.Module):
    """GroupNorm, silu, convolution of side 3, twice; the embedding is added between, or modulates the second norm.

    (x + h) / output_divisor, x by a 1×1 convolution where its channels are others.
    """

    features: int
    groups: int
    epsilon: float
    scale_shift: bool
    dropout: float
    output_divisor: float = 1.0

    @nn.compact
    def __call__(self, x: State, embedding: Vector, keys: Keys | None) -> State:
        h = _convolution(self.features, "conv1")(nn.silu(_group_norm(self.groups, self.epsilon, "norm1")(x)))
        term = nn.Dense(self.features * (1 + self.scale_shift), name="time_emb_proj")(nn.silu(embedding))
        term = term[:, None, None]
        norm = _group_norm(self.groups, self.epsilon, "norm2")
        if self.scale_shift:
            scale, shift = jnp.split(term, 2, axis=-1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + term)
        h = _convolution(self.features, "conv2")(Dropout(self.dropout)(nn.silu(h), keys))
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1, 1), name="conv_shortcut")(x)
        return (x + h) / self.output_divisor


class AttentionBlock(nn.Module):
    """(x + self-attention over all positions) / output_divisor, in heads of `head_width`; without norm for 0 groups."""

    head_width: int
    groups: int
    epsilon: float
    output_divisor: float = 1.0

    @nn.compact
    def __call__(self, x: State) -> State:
        b, _, _, c = x.shape
        h = (_group_norm(self.groups, self.epsilon, "group_norm")(x) if self.groups else x).reshape(b, -1, c)
        heads = b, h.shape[1], c // self.head_width, self.head_width
        query, key, value = (
            nn.Dense(c, dot_general=dense_dot_general, name=name)(h).reshape(heads) for name in ("to_q", "to_k", "to_v")
        )
        mixed = attend(query, key, value).reshape(b, -1, c)
        out = nn.Dense(c, dot_general=dense_dot_general, name="to_out.0")(mixed)
        return (x + out.reshape(x.shape)) / self.output_divisor


class DDPMUNet(nn.Module):
    """A U-Net of images for weights of diffusers' UNet2DModel, whose sides divide by 2 at each depth but the last.

    On the way down each depth has `blocks` residual blocks, on the way up one more, each of which also receives a state
    of the way down. The null label adds nothing to the embedding of the level.
    """

    widths: tuple[int, ...] = (128, 256, 256, 256)
    """Channels at each depth; 0 is full resolution. Range: each in [1, 65536], a multiple of `groups`."""
    blocks: int = 2
    down_attention: tuple[int, ...] = (1,)
    """Depths whose blocks on the way down have attention. Range: each in [0, depths)."""
    up_attention: tuple[int, ...] = (1,)
    """Depths whose blocks on the way up have attention. Range: each in [0, depths)."""
    middle_attention: bool = True
    head_width: int = 0
    """Channels of a head of attention; 0: one head. Range: a divisor of the channels."""
    groups: int = 32
    """Groups of channels in normalization. Range: a divisor of each of `widths`."""
    middle_groups: int = 32
    """`groups` of the attention in the middle; 0: it has no normalization."""
    middle_divisor: float = 1.0
    """What the sums of the residual blocks in the middle are divided by. Range: positive."""
    epsilon: float = 1e-6
    """What normalization adds to the variance."""
    scale_shift: bool = False
    """Whether the embedding modulates the second norm of a block; False: it is added before it."""
    corner_padding: bool = True
    """Whether zeros are added at the bottom and right alone before the sides are halved; False: on all sides."""
    sin_first: bool = True
    """Whether sines of the level come before cosines."""
    frequency_shift: int = 1
    """`shift` of `published_sinusoids`: 1 where the last rate is 1/10000. Range: 0 or 1."""
    centered: bool = False
    """Whether the net sees 2 x - 1."""
    classes: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_fields("float32", self.dropout, depths=len(self.widths), blocks=self.blocks, groups=self.groups)
        for width in self.widths:
            check_fields("float32", self.dropout, width=width)
        check_encoders((), self.classes)
        self._check_channels()
        if not 0 < self.epsilon < 1 or not 0 < self.middle_divisor < float("inf"):
            raise UserError("net: epsilon must be in (0, 1), and middle_divisor positive and finite")
        if self.frequency_shift not in (0, 1) or self.widths[0] % 2 or self.widths[0] < 4:
            raise UserError("net: frequency_shift must be 0 or 1, and the first of widths even and at least 4")
        super().__post_init__()

    def _check_channels(self) -> None:
        """Raise UserError where groups or heads do not divide the channels."""
        depths = range(len(self.widths))
        if not {*self.down_attention, *self.up_attention} <= {*depths}:
            raise UserError(f"net: down_attention and up_attention must name depths, of 0 … {len(depths) - 1}")
        if any(width % self.groups for width in self.widths):
            raise UserError(f"net: groups must divide each of widths, got {self.groups} of {self.widths}")
        if self.middle_groups < 0 or (self.middle_groups and self.widths[-1] % self.middle_groups):
            raise UserError(f"net: middle_groups must be 0 or divide {self.widths[-1]}, got {self.middle_groups}")
        attending = {*self.down_attention, *self.up_attention, *(depths[-1:] if self.middle_attention else ())}
        if self.head_width < 0 or (self.head_width and any(self.widths[i] % self.head_width for i in attending)):
            raise UserError(f"net: head_width must be 0 or divide the channels {self.widths}, got {self.head_width}")

    @property
    def traits(self) -> NetTraits:
        """Convolutional, of any size."""
        return NetTraits(convolutional=True, any_size=True)

    @property
    def null_cond(self) -> PyTree:
        """The null label, one past the last class; None without classes."""
        return null_condition(self.classes, ())

    @nn.compact
    def __call__(self, x: State, level: Float[Array, "b ..."], cond: PyTree = None, keys: Keys | None = None) -> State:
        """The output, of the shape of x; the level is the index of a step, 0 … T - 1."""
        self._check_sides(x)
        embedding = self._embed(require_scalar_level(x, level), extract_label((), self.classes, cond))
        h = _convolution(self.widths[0], "conv_in")(2 * x - 1 if self.centered else x)
        states = self._go_down(h, embedding, keys)
        h = self._residual("mid_block.resnets.0", -1, self.middle_divisor)(states[-1], embedding, keys)
        if self.middle_attention:
            h = self._attention("mid_block.attentions.0", -1, self.middle_groups, self.middle_divisor)(h)
        h = self._residual("mid_block.resnets.1", -1, self.middle_divisor)(h, embedding, keys)
        h = self._go_up(h, states, embedding, keys)
        h = nn.silu(_group_norm(self.groups, self.epsilon, "conv_norm_out")(h))
        return _convolution(x.shape[-1], "conv_out")(h).astype(jnp.float32)

    def _check_sides(self, x: Array) -> None:
        divisor = 2 ** (len(self.widths) - 1)
        if x.ndim != 4 or any(side % divisor for side in x.shape[1:-1]):
            raise UserError(f"net: expected images [b, h, w, c] of sides that divide by {divisor}, got {x.shape}")

    def _embed(self, level: Float[Array, " b"], label: Array | None) -> Vector:
        """MLP(sinusoids(level)) + table[label]."""
        if label is not None and not self.classes:
            raise UserError("net: it is unconditional, and cond is a label; give cond=None")
        width = EMBEDDING_FACTOR * self.widths[0]
        waves = published_sinusoids(level, self.widths[0], shift=self.frequency_shift, sin_first=self.sin_first)
        hidden = nn.Dense(width, name="time_embedding.linear_1")(waves)
        embedding = nn.Dense(width, name="time_embedding.linear_2")(nn.silu(hidden))
        if not self.classes:
            return embedding
        label = jnp.full(len(level), self.classes) if label is None else label
        row = nn.Embed(self.classes, width, name="class_embedding")(jnp.minimum(label, self.classes - 1))
        return embedding + jnp.where((label < self.classes)[:, None], row, 0)

    def _go_down(self, h: State, embedding: Vector, keys: Keys | None) -> list[State]:
        """The states along the way, of which the way up takes the last first."""
        states = [h]
        for depth in range(len(self.widths)):
            place = f"down_blocks.{depth}"
            for i in range(self.blocks):
                h = self._residual(f"{place}.resnets.{i}", depth)(h, embedding, keys)
                if depth in self.down_attention:
                    h = self._attention(f"{place}.attentions.{i}", depth, self.groups)(h)
                states.append(h)
            if depth < len(self.widths) - 1:
                sides = ((0, 1),) * 2 if self.corner_padding else ((1, 1),) * 2
                h = nn.Conv(h.shape[-1], (3, 3), strides=2, padding=sides, name=f"{place}.downsamplers.0.conv")(h)
                states.append(h)
        return states

    def _go_up(self, h: State, states: list[State], embedding: Vector, keys: Keys | None) -> State:
        states = list(states)
        for depth in reversed(range(len(self.widths))):
            place = f"up_blocks.{len(self.widths) - 1 - depth}"
            for i in range(self.blocks + 1):
                h = jnp.concatenate([h, states.pop()], axis=-1)
                h = self._residual(f"{place}.resnets.{i}", depth)(h, embedding, keys)
                if depth in self.up_attention:
                    h = self._attention(f"{place}.attentions.{i}", depth, self.groups)(h)
            if depth:
                h = _convolution(h.shape[-1], f"{place}.upsamplers.0.conv")(_double(h))
        return h

    def _residual(self, name: str, depth: int, divisor: float = 1.0) -> ResidualBlock:
        width = self.widths[depth]
        return ResidualBlock(width, self.groups, self.epsilon, self.scale_shift, self.dropout, divisor, name=name)

    def _attention(self, name: str, depth: int, groups: int, divisor: float = 1.0) -> AttentionBlock:
        head_width = self.head_width or self.widths[depth]
        return AttentionBlock(head_width, groups, self.epsilon, divisor, name=name)


def _group_norm(groups: int, epsilon: float, name: str) -> nn.GroupNorm:
    return nn.GroupNorm(groups, epsilon=epsilon, use_fast_variance=False, name=name)


def _convolution(features: int, name: str) -> nn.Conv:
    """A convolution of side 3 that keeps the sides, with zeros beyond them."""
    return nn.Conv(features, (3, 3), conv_general_dilated=convolve, name=name)


def _double(x: State) -> State:
    """Nearest-neighbour upsampling by 2."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
