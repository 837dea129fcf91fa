"""The U-Net of Ho et al. 2020 in the layout of diffusers' UNet2DModel, whose names its modules have."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.nets.condition_embedding import check_encoders, extract_label, null_condition
from diffjax.nets.diffusers_blocks import AttentionBlock, ResidualBlock, State, Vector, convolution, group_norm
from diffjax.nets.diffusers_layout import (
    EMBEDDING_FACTOR,
    Block,
    check_embedding,
    check_layout,
    check_sides,
    embed_level,
    go_down,
    go_up,
)
from diffjax.nets.layers import check_fields, require_scalar_level
from diffjax.protocols import Keys
from diffjax.traits import NetTraits


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
        check_fields("float32", self.dropout)
        check_encoders((), self.classes)
        check_layout(self.widths, self.blocks, self.groups, (*self.down_attention, *self.up_attention))
        check_embedding(self.widths[0], self.epsilon, self.frequency_shift)
        self._check_middle()
        super().__post_init__()

    def _check_middle(self) -> None:
        """Raise UserError where the groups of the middle or the heads do not divide the channels."""
        if not 0 < self.middle_divisor < float("inf"):
            raise UserError(f"net: middle_divisor must be positive and finite, got {self.middle_divisor}")
        if self.middle_groups < 0 or (self.middle_groups and self.widths[-1] % self.middle_groups):
            raise UserError(f"net: middle_groups must be 0 or divide {self.widths[-1]}, got {self.middle_groups}")
        attending = {*self.down_attention, *self.up_attention, *((len(self.widths) - 1,) * self.middle_attention)}
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
        depths = len(self.widths)
        check_sides(x, depths)
        embedding = self._embed(require_scalar_level(x, level), extract_label((), self.classes, cond))
        h = convolution(self.widths[0], "conv_in")(2 * x - 1 if self.centered else x)
        down, up = (self._block(at, embedding, keys) for at in (self.down_attention, self.up_attention))
        states = go_down(h, depths, self.blocks, down, self.corner_padding)
        h = self._residual("mid_block.resnets.0", -1, self.middle_divisor)(states[-1], embedding, keys)
        if self.middle_attention:
            h = self._attention("mid_block.attentions.0", -1, self.middle_groups, self.middle_divisor)(h)
        h = self._residual("mid_block.resnets.1", -1, self.middle_divisor)(h, embedding, keys)
        h = go_up(h, states, depths, self.blocks, up)
        h = nn.silu(group_norm(self.groups, self.epsilon, "conv_norm_out")(h))
        return convolution(x.shape[-1], "conv_out")(h).astype(jnp.float32)

    def _embed(self, level: Float[Array, " b"], label: Array | None) -> Vector:
        """MLP(sinusoids(level)) + table[label]."""
        if label is not None and not self.classes:
            raise UserError("net: it is unconditional, and cond is a label; give cond=None")
        embedding = embed_level(level, self.widths[0], self.frequency_shift, self.sin_first)
        if not self.classes:
            return embedding
        label = jnp.full(len(level), self.classes) if label is None else label
        table = nn.Embed(self.classes, EMBEDDING_FACTOR * self.widths[0], name="class_embedding")
        return embedding + jnp.where((label < self.classes)[:, None], table(jnp.minimum(label, self.classes - 1)), 0)

    def _block(self, attention: tuple[int, ...], embedding: Vector, keys: Keys | None) -> Block:
        """A residual block, with attention at these depths."""

        def block(h: State, place: str, i: int, depth: int) -> State:
            h = self._residual(f"{place}.resnets.{i}", depth)(h, embedding, keys)
            return self._attention(f"{place}.attentions.{i}", depth, self.groups)(h) if depth in attention else h

        return block

    def _residual(self, name: str, depth: int, divisor: float = 1.0) -> ResidualBlock:
        width = self.widths[depth]
        return ResidualBlock(width, self.groups, self.epsilon, self.scale_shift, self.dropout, divisor, name=name)

    def _attention(self, name: str, depth: int, groups: int, divisor: float = 1.0) -> AttentionBlock:
        head_width = self.head_width or self.widths[depth]
        return AttentionBlock(head_width, groups, self.epsilon, divisor, name=name)
