"""The U-Net of Dhariwal & Nichol 2021 ("ADM") with the parameters of its published weights, under their names.

Residual blocks are modulated by level and class, and halve and double the sides; `nets.UNet` is the net to train anew.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.nets.condition_embedding import check_encoders
from diffjax.nets.diffusers_blocks import double_sides
from diffjax.nets.dot_product import attend
from diffjax.nets.layers import Dropout, check_fields, require_scalar_level
from diffjax.nets.sinusoids import published_sinusoids
from diffjax.protocols import Keys
from diffjax.traits import NetTraits

GROUPS = 32  # of channels, in each norm
EPSILON = 1e-5  # of a norm's variance
EMBEDDING = 4  # channels of the embedding, as a multiple of `width`

State = Float[Array, "b _ _ _"]  # of any sides and channels
Embedded = Float[Array, "b e"]


def halve(x: State) -> State:
    """The means of 2 × 2 pixels."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def keep_sides(x: State) -> State:
    """x itself."""
    return x


class ResidualBlock(nn.Module):
    """Norm, silu, convolution, twice, beside a skip connection; `resize` acts on both before the first convolution.

    `scale_shift`: the second norm's output times 1 + scale, plus shift, both linear in the embedding (adaptive group
    normalization, Dhariwal & Nichol 2021, section 3); else only a shift before that norm (Ho et al. 2020).
    """

    features: int
    scale_shift: bool = True
    dropout: float = 0.0
    resize: Callable[[State], State] = keep_sides

    @nn.compact
    def __call__(self, x: State, embedding: Embedded, keys: Keys | None) -> State:
        h = self.resize(nn.silu(_norm("in_layers.0")(x)))
        h = _convolution(self.features, "in_layers.2")(h)
        count = 2 if self.scale_shift else 1
        terms = jnp.split(nn.Dense(count * self.features, name="emb_layers.1")(embedding)[:, None, None], count, -1)
        norm = _norm("out_layers.0")
        h = norm(h) * (1 + terms[0]) + terms[1] if self.scale_shift else norm(h + terms[0])
        h = Dropout(self.dropout)(nn.silu(h), keys)
        h = _convolution(self.features, "out_layers.3", nn.initializers.zeros)(h)
        x = self.resize(x)
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1, 1), name="skip_connection")(x)
        return x + h


class AttentionBlock(nn.Module):
    """x plus self-attention over all positions.

    The channels of q, k and v lie as (q|k|v, head, channel), or `heads_outside` as (head, q|k|v, channel).
    """

    heads: int
    heads_outside: bool

    @nn.compact
    def __call__(self, x: State) -> State:
        b, h, w, c = x.shape
        qkv = nn.Conv(3 * c, (1,), name="qkv")(_norm("norm")(x).reshape(b, h * w, c))
        axes = (self.heads, 3) if self.heads_outside else (3, self.heads)
        query, key, value = jnp.moveaxis(qkv.reshape(b, h * w, *axes, -1), 3 if self.heads_outside else 2, 0)
        mixed = attend(query, key, value).reshape(b, h * w, c)
        out = nn.Conv(c, (1,), kernel_init=nn.initializers.zeros, name="proj_out")(mixed)
        return x + out.reshape(x.shape)


class ADMUNet(nn.Module):
    """A U-Net over images whose sides divide by 2 for each depth but the last, for levels 0 … 999 of an example.

    Published class-conditional weights were trained with a label on every image and know no null label. Here it is
    `classes`, and adds nothing to the embedding of the level: training with dropped labels can begin with it, but
    published weights have no unconditional prediction. Guidance with those takes the unconditional model of another
    file as the weak denoiser of `guidance.autoguidance`, called without the label.
    """

    width: int = 192
    """Sinusoids of the level; its embedding has four times as many channels. Range: [2, 65536], even."""
    channels: tuple[int, ...] = (192, 384, 576, 768)
    """Channels at each depth, 0 being full resolution. Range: multiples of 32."""
    blocks: int = 3
    """Residual blocks at each depth on the way down; there is one more on the way up. Range: [1, 64]."""
    attention: tuple[int, ...] = (1, 2, 3)
    """Depths with attention after each block, beside that at the deepest point."""
    classes: int = 0
    heads: int = 0
    """Heads of each attention; 0: one for every `head_width` channels."""
    head_width: int = 64
    heads_outside: bool = True
    """Whether the channels of q, k and v lie as (head, q|k|v, channel), and not as (q|k|v, head, channel)."""
    scale_shift: bool = True
    residual_resizing: bool = True
    """Whether residual blocks halve and double the sides; else convolutions, one of stride 2 and one after doubling."""
    learned_variance: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_fields("float32", self.dropout, width=self.width, blocks=self.blocks, depths=len(self.channels))
        check_fields("float32", 0.0, heads=self.heads or 1, head_width=self.head_width)
        check_encoders((), self.classes)
        depths = range(len(self.channels))
        if not {*self.attention} <= {*depths}:
            raise UserError(f"net: attention must name depths, of 0 … {depths[-1]}, got {self.attention[:9]}")
        if self.width % 2:
            raise UserError(f"net: width must be even, for sines and cosines, got {self.width}")
        for features in self.channels:
            check_fields("float32", 0.0, channels=features)
            if features % GROUPS:
                raise UserError(f"net: channels must divide by the {GROUPS} groups of the norms, got {features}")
        for depth in {*self.attention, depths[-1]}:
            features = self.channels[depth]
            if features % (self.heads or self.head_width):
                unit = f"{self.heads} heads" if self.heads else f"heads of {self.head_width}"
                raise UserError(f"net: {features} channels at depth {depth} do not divide into {unit}")
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """Convolutional, of any size."""
        return NetTraits(convolutional=True, any_size=True, learned_variance=self.learned_variance)

    @property
    def null_cond(self) -> Array | None:
        """The label that adds nothing, which published weights do not know; None for a net without classes."""
        return jnp.asarray(self.classes, jnp.int32) if self.classes else None

    @nn.compact
    def __call__(
        self,
        x: State,
        level: Float[Array, "b 1 1 1"],
        cond: Int[Array, " b"] | None = None,
        keys: Keys | None = None,
    ) -> State:
        """The output, and with `learned_variance` as many channels again for the variance of the posterior."""
        self._check_sides(x)
        embedding = nn.silu(self._embed(require_scalar_level(x, level), cond))
        h, skips = self._descend(x.astype(jnp.float32), embedding, keys)
        h = self._block("middle_block.0", self.channels[-1])(h, embedding, keys)
        h = self._attention("middle_block.1", self.channels[-1])(h)
        h = self._block("middle_block.2", self.channels[-1])(h, embedding, keys)
        h = self._ascend(h, skips, embedding, keys)
        h = nn.silu(_norm("out.0")(h))
        return _convolution(x.shape[-1] * (1 + self.learned_variance), "out.2", nn.initializers.zeros)(h)

    def _check_sides(self, x: Array) -> None:
        unit = 2 ** (len(self.channels) - 1)
        if x.ndim != 4 or any(side % unit for side in x.shape[1:3]):
            problem = f"expected images [b, h, w, c] with sides that divide by {unit}, got {x.shape}"
            raise UserError(f"net: {problem}; pad or crop them, as the sides are halved {len(self.channels) - 1} times")

    def _embed(self, level: Float[Array, " b"], label: Int[Array, " b"] | None) -> Embedded:
        """MLP(sinusoids(level)) + table[label], before its silu; a label that is no class adds nothing."""
        features = EMBEDDING * self.width
        hidden = nn.Dense(features, name="time_embed.0")(published_sinusoids(level, self.width))
        hidden = nn.Dense(features, name="time_embed.2")(nn.silu(hidden))
        if not self.classes:
            if label is not None:
                problem = "this net is unconditional, and cond is a label"
                raise UserError(f"net: {problem}; give cond=None, or load a class-conditional file")
            return hidden
        if label is None:
            problem = f"this net knows classes 0 … {self.classes - 1}, and no label was passed"
            raise UserError(f"net: {problem}; give cond=labels, or load the unconditional model")
        is_class = (label >= 0) & (label < self.classes)
        rows = nn.Embed(self.classes, features, name="label_emb")(jnp.where(is_class, label, 0))
        return hidden + jnp.where(is_class[:, None], rows, 0)

    def _descend(self, x: State, embedding: Embedded, keys: Keys | None) -> tuple[State, list[State]]:
        """The state at the deepest depth, and the states after all stages, for the skip connections."""
        states = [_convolution(self.channels[0], "input_blocks.0.0")(x)]
        for depth, features in enumerate(self.channels):
            for _ in range(self.blocks):
                name = f"input_blocks.{len(states)}"
                h = self._block(f"{name}.0", features)(states[-1], embedding, keys)
                states.append(self._attention(f"{name}.1", features)(h) if depth in self.attention else h)
            if depth < len(self.channels) - 1:
                name = f"input_blocks.{len(states)}.0"
                states.append(self._halve(name, states[-1], embedding, keys))
        return states[-1], states

    def _ascend(self, h: State, skips: list[State], embedding: Embedded, keys: Keys | None) -> State:
        for stage, skip in enumerate(reversed(skips)):
            depth = len(self.channels) - 1 - stage // (self.blocks + 1)
            name = f"output_blocks.{stage}"
            features, attends = self.channels[depth], depth in self.attention
            h = self._block(f"{name}.0", features)(jnp.concatenate([h, skip], axis=-1), embedding, keys)
            if attends:
                h = self._attention(f"{name}.1", features)(h)
            if depth and stage % (self.blocks + 1) == self.blocks:
                h = self._double(f"{name}.{1 + attends}", h, embedding, keys)
        return h

    def _halve(self, name: str, h: State, embedding: Embedded, keys: Keys | None) -> State:
        if self.residual_resizing:
            return self._block(name, h.shape[-1], halve)(h, embedding, keys)
        return nn.Conv(h.shape[-1], (3, 3), strides=2, padding=1, name=f"{name}.op")(h)

    def _double(self, name: str, h: State, embedding: Embedded, keys: Keys | None) -> State:
        if self.residual_resizing:
            return self._block(name, h.shape[-1], double_sides)(h, embedding, keys)
        return nn.Conv(h.shape[-1], (3, 3), padding=1, name=f"{name}.conv")(double_sides(h))

    def _block(self, name: str, features: int, resize: Callable[[State], State] = keep_sides) -> ResidualBlock:
        return ResidualBlock(features, self.scale_shift, self.dropout, resize, name=name)

    def _attention(self, name: str, features: int) -> AttentionBlock:
        return AttentionBlock(self.heads or features // self.head_width, self.heads_outside, name=name)


def _norm(name: str) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, epsilon=EPSILON, use_fast_variance=False, name=name)


def _convolution(
    features: int, name: str, kernel_init: nn.initializers.Initializer = nn.linear.default_kernel_init
) -> nn.Conv:
    return nn.Conv(features, (3, 3), padding=1, kernel_init=kernel_init, name=name)
