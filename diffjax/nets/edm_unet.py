"""The U-Net of Song et al. 2021 (score SDE, appendix H) in the forms that EDM trains: DDPM++ and NCSN++.

Its modules have the names of the published weights (Karras et al. 2022); `nets.dhariwal_unet` is their other net.
"""

from math import sqrt

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.nets.condition_embedding import check_encoders, null_condition
from diffjax.nets.edm_layers import (
    BlockForm,
    Filter,
    OtherImage,
    UNetBlock,
    Vectors,
    convolution,
    downsample,
    group_norm,
)
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

EPSILON = 1e-6  # of the variance in norms
FOURIER_SCALE = 16.0  # the standard deviation of the random frequencies
MAX_FILTER = 16  # weights


class SongUNet(nn.Module):
    """A U-Net of images whose residual sums are scaled by √½, with one head of attention.

    DDPM++ as it stands; NCSN++ with `fourier`, `residual_inputs`, noise_multiplier=2 and resample_filter=(1, 3, 3, 1).
    The level is ln(sigma)/4. Sides must divide by 2 for each depth but the first.
    """

    resolution: int = 32
    """The side of the images that it was trained on, by which its modules are named."""
    width: int = 128
    multipliers: tuple[int, ...] = (2, 2, 2)
    """Channels at each depth, as multiples of `width`."""
    blocks: int = 4
    """Residual blocks at each depth on the way down; one more on the way up."""
    attention: tuple[int, ...] = (16,)
    """Depths with attention, by their side at `resolution`; one block between down and up always has it."""
    classes: int = 0
    fourier: bool = False
    """Whether the level is embedded by fixed random frequencies, and not by DDPM's."""
    residual_inputs: bool = False
    """Whether the image, halved by convolutions, is added at each depth but the first on the way down."""
    resample_filter: Filter = (1, 1)
    noise_multiplier: int = 1
    """Sinusoids of the level, as a multiple of `width`."""
    embedding_multiplier: int = 4
    """Features of the embedding of level and class, as a multiple of `width`."""
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = {"width": self.width, "blocks": self.blocks, "noise_multiplier": self.noise_multiplier}
        sizes["embedding_multiplier"] = self.embedding_multiplier
        check_layout(self.resolution, self.multipliers, self.attention, **sizes)
        check_fields("float32", self.dropout)
        check_encoders((), self.classes)
        weights = self.resample_filter
        if not 0 < len(weights) <= MAX_FILTER or len(weights) % 2 or not sum(weights) > 0:
            problem = f"resample_filter must be an even number of weights, at most {MAX_FILTER}, of positive sum"
            raise UserError(f"net: {problem}, got {weights[:9]}")
        if self.width * self.noise_multiplier % 2:
            raise UserError(f"net: width times noise_multiplier must be even, got {self.width * self.noise_multiplier}")
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """Convolutional, of any size; random frequencies are not trained."""
        fixed = ("map_noise/freqs",) if self.fourier else ()
        return NetTraits(convolutional=True, any_size=True, fixed=fixed)

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
            gain=sqrt(0.5),
            modulates=False,
            projects_skip=True,
            head_channels=0,
            resample_filter=self.resample_filter,
            dropout=self.dropout,
        )
        channels = channels_by_side(self.resolution, self.width, self.multipliers)
        h = convolution(self.width, 3, f"enc.{self.resolution}x{self.resolution}_conv")(x)
        image, skips = x, [h]
        for place in encoder_places(channels, self.blocks, self.attention):
            h = UNetBlock(form, place, name=place.name)(h, embedding, keys)
            if self.residual_inputs and place.resampling == "down":
                name = place.name.replace("_down", "_aux_residual")
                h = image = (h + self._halve(image, place.features, name)) / sqrt(2)
            skips.append(h)
        for place in decoder_places(channels, self.blocks, self.attention, only_last=True):
            joined = jnp.concatenate([h, skips.pop()], axis=-1) if place.joins_skip else h
            h = UNetBlock(form, place, name=place.name)(joined, embedding, keys)
        name = f"dec.{self.resolution}x{self.resolution}_aux"
        h = nn.silu(group_norm(h.shape[-1], EPSILON, f"{name}_norm")(h))
        return convolution(x.shape[-1], 3, f"{name}_conv")(h)

    def _embed(self, level: Float[Array, " b"], cond: Int[Array, " b"] | None) -> Vectors:
        sinusoids, features = self.width * self.noise_multiplier, self.width * self.embedding_multiplier
        if self.fourier:
            hidden = FourierSinusoids(sinusoids, name="map_noise")(level)
        else:
            hidden = published_sinusoids(level, sinusoids, shift=1, sin_first=True)
        if self.classes:
            classes = class_vectors(self.classes, cond, len(level)) * sqrt(self.classes)
            hidden += nn.Dense(sinusoids, name="map_label")(classes)
        hidden = nn.silu(nn.Dense(features, name="map_layer0")(hidden))
        return nn.silu(nn.Dense(features, name="map_layer1")(hidden))

    def _halve(self, image: OtherImage, features: int, name: str) -> OtherImage:
        """A convolution, then every second value of it filtered: the zeros that both need are around the image."""
        padding = len(self.resample_filter) // 2
        h = nn.Conv(features, (3, 3), padding=padding, name=name)(image)
        return downsample(h, self.resample_filter, padding=0)


class FourierSinusoids(nn.Module):
    """sin and cos of 2π times the level times fixed random frequencies (Tancik et al. 2020, section 6.1)."""

    features: int

    @nn.compact
    def __call__(self, level: Float[Array, " b"]) -> Vectors:
        freqs = self.param("freqs", nn.initializers.normal(FOURIER_SCALE), (self.features // 2,))
        angles = jnp.multiply.outer(level, 2 * jnp.pi * freqs)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
