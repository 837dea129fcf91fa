"""The U-Net of EDM2 (Karras et al. 2024, figure 21), whose layers preserve magnitudes."""

from math import sqrt
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from diffjax.errors import UserError
from diffjax.nets.condition_embedding import check_encoders, extract_label
from diffjax.nets.dot_product import attend
from diffjax.nets.layers import Dropout, check_fields, require_scalar_level
from diffjax.nets.magnitude_preserving import MPConv, MPFourier, mp_concatenate, mp_silu, mp_sum, normalize
from diffjax.protocols import Keys
from diffjax.traits import NetTraits

HEAD_WIDTH = 64  # channels of a head of attention
RESIDUAL_SHARE = 0.3  # of a residual branch in the sum with its input
ATTENTION_SHARE = 0.3  # of attention
LABEL_SHARE = 0.5  # of the class in the embedding
SKIP_SHARE = 0.5  # of a skip connection
MAX_ACTIVATION = 256.0  # of a block's output, beyond which it is clipped

State = Float[Array, "b _ _ _"]
Resampling = Literal["none", "down", "up"]


class Block(nn.Module):
    """Two convolutions of silu around a modulation by the embedding, then attention; figure 21.

    An encoder's block resamples, changes the channels and normalizes each pixel before its residual branch; a decoder's
    changes the channels after it.
    """

    features: int
    decoder: bool
    attends: bool = False
    resampling: Resampling = "none"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: State, embedding: Float[Array, "b e"], keys: Keys | None) -> State:
        x = _resample(x, self.resampling)
        if not self.decoder:
            x = normalize(self._change_channels(x), axes=(3,))
        gain = self.param("emb_gain", nn.initializers.zeros, ())
        h = MPConv(self.features, (3, 3), name="conv_res0")(mp_silu(x))
        modulation = MPConv(self.features, name="emb_linear")(embedding, gain) + 1
        h = Dropout(self.dropout)(mp_silu(h * modulation[:, None, None]), keys)
        h = MPConv(self.features, (3, 3), name="conv_res1")(h)
        if self.decoder:
            x = self._change_channels(x)
        x = mp_sum(x, h, RESIDUAL_SHARE)
        if self.attends:
            x = mp_sum(x, self._attend(x), ATTENTION_SHARE)
        return jnp.clip(x, -MAX_ACTIVATION, MAX_ACTIVATION)

    def _change_channels(self, x: State) -> State:
        return x if x.shape[-1] == self.features else MPConv(self.features, (1, 1), name="conv_skip")(x)

    def _attend(self, x: State) -> State:
        """Cosine attention: queries, keys and values of each head are normalized; they are the last axis of qkv."""
        b, h, w, c = x.shape
        qkv = MPConv(3 * c, (1, 1), name="attn_qkv")(x).reshape(b, h * w, c // HEAD_WIDTH, HEAD_WIDTH, 3)
        query, key, value = jnp.moveaxis(normalize(qkv, axes=(3,)), 4, 0)
        return MPConv(c, (1, 1), name="attn_proj")(attend(query, key, value).reshape(x.shape))


class EDM2UNet(nn.Module):
    """The U-Net of EDM2 over images [b, h, w, c], with ln(sigma)/4 as its level and zeros as the null class.

    It halves the sides once for each depth but the first, so they must divide. Parameters have the published names, in
    which `size` stands: `enc.64x64_block0`.
    """

    size: int = 64
    """Side in the names of the parameters, that of the images of training. Unit: pixels. Range: [1, 65536]; its
    halvings are whole. When: that of the data."""
    widths: tuple[int, ...] = (128, 256, 384, 512)
    """Channels at each depth, from full resolution on. Unit: channels. Range: each in [1, 65536]; where there is
    attention, as at the deepest, multiples of 64. When: one more depth for each doubling of the image's sides."""
    blocks: int = 3
    """Residual blocks at each depth on the way down, and one more on the way up. Unit: blocks. Range: [1, 64].
    When: raise it with `widths`."""
    attention: tuple[int, ...] = (2, 3)
    """Depths whose blocks attend; 0 is full resolution. Range: each in [0, depths).
    When: distant parts of an image must fit together."""
    classes: int = 0
    frequencies: int = 0
    """Fourier features of the level; 0: the channels at full resolution. Unit: features. Range: [0, 65536].
    When: published weights of another number."""
    embedding: int = 0
    """Features of the embedding of level and class; 0: the most channels of a depth. Unit: features.
    Range: [0, 65536]. When: published weights of another number."""
    dropout: float = 0.0

    def __post_init__(self) -> None:
        depths = len(self.widths)
        check_fields("float32", self.dropout, depths=depths, blocks=self.blocks, size=self.size)
        for width in self.widths:
            check_fields("float32", self.dropout, width=width)
        check_fields("float32", self.dropout, frequencies=self.frequencies or 1, embedding=self.embedding or 1)
        if not {*self.attention} <= {*range(depths)}:
            raise UserError(f"net: attention must name depths, of 0 … {depths - 1}, got {self.attention[:9]}")
        for depth in {*self.attention, depths - 1}:
            if self.widths[depth] % HEAD_WIDTH:
                problem = f"depth {depth} attends, so its width must be a multiple of {HEAD_WIDTH}"
                raise UserError(f"net: {problem}, got widths={self.widths[:9]}")
        self._require_divisible((self.size, self.size))
        check_encoders((), self.classes)
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """Convolutional, of any size that divides, and with Fourier features that are not trained."""
        return NetTraits(convolutional=True, any_size=True, fixed=("emb_fourier/*",))

    @property
    def null_cond(self) -> Int[Array, ""] | None:
        """The null class, one past the last; None for an unconditional net."""
        return jnp.asarray(self.classes, jnp.int32) if self.classes else None

    @nn.compact
    def __call__(
        self, x: State, level: Float[Array, "_ ... 1"], cond: PyTree = None, keys: Keys | None = None
    ) -> State:
        """The output F of Karras et al. 2022, eq. 7, for x of unit variance."""
        self._require_divisible(x.shape[1:3])
        embedding = self._embed(require_scalar_level(x, level), extract_label((), self.classes, cond))
        h = self._decode(self._encode(x, embedding, keys), embedding, keys)
        gain = self.param("out_gain", nn.initializers.zeros, ())
        return MPConv(x.shape[-1], (3, 3), name="out_conv")(h, gain)

    def _embed(self, level: Float[Array, " b"], label: Int[Array, " b"] | None) -> Float[Array, "b e"]:
        waves = MPFourier(self.frequencies or self.widths[0], name="emb_fourier")(level)
        features = self.embedding or max(self.widths)
        embedding = MPConv(features, name="emb_noise")(waves)
        if self.classes:
            label = jnp.full(len(level), self.classes) if label is None else label
            one_hot = sqrt(self.classes) * jax.nn.one_hot(label, self.classes)  # zeros for the null class
            embedding = mp_sum(embedding, MPConv(features, name="emb_label")(one_hot), LABEL_SHARE)
        elif label is not None:
            raise UserError("this net is unconditional, and cond is a label: build it with classes=, or give cond=None")
        return mp_silu(embedding)

    def _encode(self, x: State, embedding: Float[Array, "b e"], keys: Keys | None) -> list[State]:
        """The outputs of all layers, from full resolution on."""
        with_ones = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)  # the ones are the layers' bias
        states = [MPConv(self.widths[0], (3, 3), name=self._name("enc", 0, "conv"))(with_ones)]
        for depth, width in enumerate(self.widths):
            if depth:
                down = self._block("enc", depth, "down", self.widths[depth - 1], resampling="down")
                states.append(down(states[-1], embedding, keys))
            for i in range(self.blocks):
                block = self._block("enc", depth, f"block{i}", width, depth in self.attention)
                states.append(block(states[-1], embedding, keys))
        return states

    def _decode(self, states: list[State], embedding: Float[Array, "b e"], keys: Keys | None) -> State:
        deepest = len(self.widths) - 1
        h = states[-1]
        for depth in range(deepest, -1, -1):
            if depth == deepest:
                h = self._block("dec", depth, "in0", self.widths[depth], True)(h, embedding, keys)
                h = self._block("dec", depth, "in1", self.widths[depth])(h, embedding, keys)
            else:
                h = self._block("dec", depth, "up", self.widths[depth + 1], resampling="up")(h, embedding, keys)
            for i in range(self.blocks + 1):
                block = self._block("dec", depth, f"block{i}", self.widths[depth], depth in self.attention)
                h = block(mp_concatenate(h, states.pop(), SKIP_SHARE), embedding, keys)
        return h

    def _block(
        self,
        half: Literal["enc", "dec"],
        depth: int,
        role: str,
        features: int,
        attends: bool = False,
        resampling: Resampling = "none",
    ) -> Block:
        name = self._name(half, depth, role)
        return Block(features, half == "dec", attends, resampling, self.dropout, name=name)

    def _name(self, half: str, depth: int, role: str) -> str:
        side = self.size >> depth
        return f"{half}.{side}x{side}_{role}"

    def _require_divisible(self, sides: tuple[int, ...]) -> None:
        """Raise UserError for a side that cannot be halved at each depth but the first."""
        divisor = 2 ** (len(self.widths) - 1)
        if any(side % divisor for side in sides):
            depths = f"a U-Net of {len(self.widths)} depths"
            raise UserError(f"net: sides must be multiples of {divisor} in {depths}, got {tuple(sides)}")


def _resample(x: State, resampling: Resampling) -> State:
    """x, or the means of squares of 2 x 2 pixels, or each pixel as such a square."""
    b, h, w, c = x.shape
    if resampling == "down":
        return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
    if resampling == "up":
        squares = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
        return squares.reshape(b, 2 * h, 2 * w, c)
    return x
