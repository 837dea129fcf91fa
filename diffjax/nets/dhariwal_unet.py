"""The U-Net of Dhariwal & Nichol 2021 (ADM, section 3) in the form that EDM trains.

Its modules have the names of the published weights (Karras et al. 2022); `nets.edm_unet` is their other net.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.nets.condition_embedding import check_encoders, null_condition
from diffjax.nets.edm_layers import BlockForm, UNetBlock, Vectors, convolution, group_norm
from diffjax.nets.edm_layout import (
    channels_by_side,
    check_inputs,
    check_layout,
    class_vectors,
    decoder_places,
    encoder_places,
)
from diffjax.nets.layers import check_fields, require_scalar_level
from diffjax.nets.sinusoids import published_sinusoids
from diffjax.protocols import Keys
from diffjax.traits import NetTraits

EPSILON = 1e-5  # of the variance in norms
HEAD_CHANNELS = 64


class DhariwalUNet(nn.Module):
    """A U-Net of images whose blocks are modulated by level and class, with heads of 64 channels.

    The level is ln(sigma)/4. Sides must divide by 2 for each depth but the first.
    """

    resolution: int = 64
    """The side of the images that it was trained on, by which its modules are named."""
    width: int = 192
    multipliers: tuple[int, ...] = (1, 2, 3, 4)
    """Channels at each depth, as multiples of `width`."""
    blocks: int = 3
    """Residual blocks at each depth on the way down; one more on the way up."""
    attention: tuple[int, ...] = (32, 16, 8)
    """Depths with attention, by their side at `resolution`; one block between down and up always has it."""
    classes: int = 0
    embedding_multiplier: int = 4
    """Features of the embedding of level and class, as a multiple of `width`."""
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = {"width": self.width, "blocks": self.blocks, "embedding_multiplier": self.embedding_multiplier}
        check_layout(self.resolution, self.multipliers, self.attention, **sizes)
        check_fields("float32", self.dropout)
        check_encoders((), self.classes)
        if self.width % 2:
            raise UserError(f"net: width must be even, got {self.width}")
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """Convolutional, of any size."""
        return NetTraits(convolutional=True, any_size=True)

    @property
    def null_cond(self) -> Int[Array, ""] | None:
        """The label one past the last class."""
        return null_condition(self.classes, ())

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *sides c"],
        level: Float[Array, "_ ... 1"],
        cond: Int[Array, " b"] | None = None,
        keys: Keys | None = None,
    ) -> Float[Array, "b *sides c"]:
        """F of Karras et al. 2022, eq. 7."""
        check_inputs(x, len(self.multipliers), self.classes, cond)
        embedding = self._embed(require_scalar_level(x, level), cond)
        form = BlockForm(
            EPSILON,
            gain=1.0,
            modulates=True,
            projects_skip=False,
            head_channels=HEAD_CHANNELS,
            resample_filter=(1, 1),
            dropout=self.dropout,
        )
        channels = channels_by_side(self.resolution, self.width, self.multipliers)
        h = convolution(channels[self.resolution], 3, f"enc.{self.resolution}x{self.resolution}_conv")(x)
        skips = [h]
        for place in encoder_places(channels, self.blocks, self.attention):
            h = UNetBlock(form, place, name=place.name)(h, embedding, keys)
            skips.append(h)
        for place in decoder_places(channels, self.blocks, self.attention, only_last=False):
            joined = jnp.concatenate([h, skips.pop()], axis=-1) if place.joins_skip else h
            h = UNetBlock(form, place, name=place.name)(joined, embedding, keys)
        h = nn.silu(group_norm(h.shape[-1], EPSILON, "out_norm")(h))
        return convolution(x.shape[-1], 3, "out_conv")(h)

    def _embed(self, level: Float[Array, " b"], cond: Int[Array, " b"] | None) -> Vectors:
        features = self.width * self.embedding_multiplier
        hidden = nn.silu(nn.Dense(features, name="map_layer0")(published_sinusoids(level, self.width)))
        hidden = nn.Dense(features, name="map_layer1")(hidden)
        if self.classes:
            classes = class_vectors(self.classes, cond, len(level))
            hidden += nn.Dense(features, use_bias=False, name="map_label")(classes)
        return nn.silu(hidden)
