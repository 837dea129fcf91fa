"""The U-Net of text to image (Rombach et al. 2022) in the layout of diffusers' UNet2DConditionModel."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.nets.condition_embedding import extract_label, null_condition, select_part
from diffjax.nets.condition_encoders import Embedded, Picture
from diffjax.nets.cross_attention import Context, SpatialTransformer
from diffjax.nets.diffusers_blocks import ResidualBlock, State, Vector, convolution, group_norm
from diffjax.nets.diffusers_layout import (
    Block,
    check_embedding,
    check_layout,
    check_sides,
    embed_level,
    go_down,
    go_up,
)
from diffjax.nets.layers import check_fields, require_scalar_level
from diffjax.protocols import ConditionPart, Keys
from diffjax.traits import NetTraits

TEXT = "text"  # parts of the condition
INPAINTING = "inpainting"


class ConditionalUNet(nn.Module):
    """A U-Net of latents and a text, for weights of Stable Diffusion 1 and 2; sides divide by 2 between depths.

    The condition is `{"text": ConditionPart(value, present)}`, values [b, tokens, text_width] of a text encoder. Where
    it is not present, the text is the parameter `null_text`, the empty prompt's.

    With `extra_channels` there is a part "inpainting" as well, values [b, *sides, extra_channels]: a mask, 1 where x is
    to be painted and 0 where it is known, then the latents of the picture whose pixels to be painted are 0. They are
    beside x in the input. Where the part is not present, all is to be painted: the mask is 1 and the latents are 0.
    """

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    """Channels at each depth; 0 is full resolution. Range: each in [1, 65536], a multiple of `groups`."""
    blocks: int = 2
    down_attention: tuple[int, ...] = (0, 1, 2)
    """Depths whose blocks on the way down have a transformer. Range: each in [0, depths)."""
    up_attention: tuple[int, ...] = (0, 1, 2)
    """Depths whose blocks on the way up have a transformer. Range: each in [0, depths)."""
    heads: tuple[int, ...] = (8, 8, 8, 8)
    """Heads of attention at each depth. Range: each in [1, 1024], a divisor of the channels."""
    transformer_depths: tuple[int, ...] = (1, 1, 1, 1)
    """Blocks of a transformer at each depth; that of the last one is also in the middle. Range: each in [1, 512]."""
    tokens: int = 77
    """Tokens of a text, with padding. Range: [1, 65536]."""
    text_width: int = 768
    """Features of a token of text. Range: [1, 65536]."""
    extra_channels: int = 0
    """Channels of the part "inpainting"; 0: there is none. Range: 0, or one more than those of x."""
    sides: tuple[int, int] = (64, 64)
    """Height and width of x, for the part "inpainting" alone."""
    groups: int = 32
    """Groups of channels in normalization. Range: a divisor of each of `widths`."""
    epsilon: float = 1e-5
    """What normalization in residual blocks adds to the variance."""
    sin_first: bool = False
    """Whether sines of the level come before cosines."""
    frequency_shift: int = 0
    """`shift` of `published_sinusoids`: 1 where the last rate is 1/10000. Range: 0 or 1."""

    def __post_init__(self) -> None:
        check_layout(self.widths, self.blocks, self.groups, (*self.down_attention, *self.up_attention))
        check_embedding(self.widths[0], self.epsilon, self.frequency_shift)
        check_fields("float32", 0.0, tokens=self.tokens, text_width=self.text_width)
        if not len(self.heads) == len(self.transformer_depths) == len(self.widths):
            raise UserError("net: heads and transformer_depths must have an entry for each of widths")
        for width, heads, depth in zip(self.widths, self.heads, self.transformer_depths, strict=True):
            check_fields("float32", 0.0, heads=heads, depth=depth)
            if width % heads:
                raise UserError(f"net: heads must divide widths, got {self.heads} and {self.widths}")
        if self.extra_channels:
            height, width = self.sides
            check_fields("float32", 0.0, extra_channels=self.extra_channels, height=height, width=width)
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """Convolutional, of any size, and with encoders that say what the parts are; the net itself encodes them."""
        return NetTraits(convolutional=True, any_size=True, conditions=self._parts)

    @property
    def null_cond(self) -> dict[str, ConditionPart]:
        """No text, and all to be painted."""
        return null_condition(0, self._parts)

    @property
    def _parts(self) -> tuple[Embedded | Picture, ...]:
        text = Embedded(TEXT, shape=(self.tokens, self.text_width), parent=None)
        if not self.extra_channels:
            return (text,)
        return text, Picture(INPAINTING, shape=(*self.sides, self.extra_channels), parent=None)

    @nn.compact
    def __call__(self, x: State, level: Float[Array, "b ..."], cond: PyTree = None, keys: Keys | None = None) -> State:
        """The output, of the shape of x; the level is the index of a step, 0 … T - 1."""
        depths = len(self.widths)
        check_sides(x, depths)
        if extract_label(self._parts, 0, cond) is not None:
            raise UserError("net: its condition is of parts, and cond is a label; give {'text': ConditionPart(…)}")
        embedding = embed_level(
            require_scalar_level(x, level), self.widths[0], self.frequency_shift, sin_first=self.sin_first
        )
        text = self._text(cond, len(x))
        h = convolution(self.widths[0], "conv_in")(self._beside_known(x, cond))
        down, up = (self._block(at, embedding, text) for at in (self.down_attention, self.up_attention))
        states = go_down(h, depths, self.blocks, down)
        h = self._residual("mid_block.resnets.0", -1)(states[-1], embedding)
        h = self._transformer("mid_block.attentions.0", -1)(h, text)
        h = self._residual("mid_block.resnets.1", -1)(h, embedding)
        h = go_up(h, states, depths, self.blocks, up)
        h = nn.silu(group_norm(self.groups, self.epsilon, "conv_norm_out")(h))
        return convolution(x.shape[-1], "conv_out")(h).astype(jnp.float32)

    def _text(self, cond: PyTree, batch: int) -> Context:
        """The text of each example, or the empty one."""
        null_text = self.param("null_text", nn.initializers.zeros, (self.tokens, self.text_width))
        value, present = select_part(self._parts[0], cond, batch)
        return jnp.where(present[:, None, None], value.astype(jnp.float32), null_text)

    def _beside_known(self, x: State, cond: PyTree) -> State:
        """x with the channels of the part "inpainting"."""
        if not self.extra_channels:
            return x
        value, present = select_part(self._parts[1], cond, len(x))
        if self.extra_channels != 1 + x.shape[-1] or self.sides != x.shape[1:-1]:
            problem = f"extra_channels {self.extra_channels} and sides {self.sides} do not fit x {x.shape}"
            raise UserError(f"net: {problem}; expected channels 1 + {x.shape[-1]} and the sides of x")
        nothing_known = jnp.zeros(self.extra_channels).at[0].set(1)
        known = jnp.where(present[:, None, None, None], value.astype(jnp.float32), nothing_known)
        return jnp.concatenate([x, known], axis=-1)

    def _block(self, attention: tuple[int, ...], embedding: Vector, text: Context) -> Block:
        """A residual block, with a transformer at these depths."""

        def block(h: State, place: str, i: int, depth: int) -> State:
            h = self._residual(f"{place}.resnets.{i}", depth)(h, embedding)
            return self._transformer(f"{place}.attentions.{i}", depth)(h, text) if depth in attention else h

        return block

    def _residual(self, name: str, depth: int) -> ResidualBlock:
        return ResidualBlock(self.widths[depth], self.groups, self.epsilon, name=name)

    def _transformer(self, name: str, depth: int) -> SpatialTransformer:
        return SpatialTransformer(self.heads[depth], self.transformer_depths[depth], self.groups, name=name)
