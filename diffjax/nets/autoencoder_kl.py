"""The autoencoder of latent diffusion (Rombach et al. 2022, section 3.1): images to latents of fewer pixels and back.

Residual blocks at halved sides, in the form of Esser et al. 2021. Modules bear the names of diffusers' files.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from diffjax.errors import UserError
from diffjax.nets.diffusers_blocks import AttentionBlock, ResidualBlock, State, convolution, double_sides, group_norm
from diffjax.nets.layers import check_fields
from diffjax.protocols import Cond, Keys
from diffjax.traits import NetTraits

EPSILON = 1e-6  # of the variance of a group
CHANNELS = 3  # of an image
MAX_SIZES = 16  # of the image, in pixels
LOG_VARIANCES = (-30.0, 20.0)  # smallest and largest


class AutoencoderKL(nn.Module):
    """The moments of q(z | x) = N(mean, diag exp(logvar)) of an image x, and the image of a latent z.

    `encode` and `decode` are for `apply(variables, x, method="encode")`. Images are [b, h, w, 3] in [-1, 1], latents
    [b, h / factor, w / factor, latent_channels] with the sides rounded down. `loss.reconstruction` trains it.
    """

    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Channels at each size of the image, the largest first; between two of them the sides are halved."""
    layers: int = 2
    """Residual blocks of a size in the encoder; the decoder has one more."""
    latent_channels: int = 4
    pointwise: bool = True
    """Whether a linear layer at each position follows the encoder, and one precedes the decoder."""
    middle_attention: bool = True
    encoder_attention: tuple[int, ...] = ()
    """The sizes whose residual blocks are each followed by attention; counted from the first, here of the encoder."""
    decoder_attention: tuple[int, ...] = ()
    groups: int = 32

    def __post_init__(self) -> None:
        check_fields("float32", 0.0, layers=self.layers, latent_channels=self.latent_channels, groups=self.groups)
        if not 1 <= len(self.widths) <= MAX_SIZES:
            raise UserError(f"net: widths must be of 1 to {MAX_SIZES} sizes, got {len(self.widths)}")
        for width in self.widths:
            check_fields("float32", 0.0, width=width)
            if width % self.groups:
                raise UserError(f"net: widths must be multiples of groups={self.groups}, got {width}")
        super().__post_init__()

    @property
    def factor(self) -> int:
        """Pixels along the side of a latent."""
        return 2 ** (len(self.widths) - 1)

    def setup(self) -> None:
        shared = {"layers": self.layers, "middle_attention": self.middle_attention, "groups": self.groups}
        self.encoder = Encoder(self.widths, 2 * self.latent_channels, self.encoder_attention, **shared)
        self.decoder = Decoder(self.widths[::-1], CHANNELS, self.decoder_attention, **shared)
        if self.pointwise:
            self.quant_conv = nn.Conv(2 * self.latent_channels, (1, 1))
            self.post_quant_conv = nn.Conv(self.latent_channels, (1, 1))

    @property
    def traits(self) -> NetTraits:
        """Convolutional, of any size that divides by the factor."""
        return NetTraits(convolutional=True, any_size=True)

    @property
    def null_cond(self) -> None:
        """It is unconditional."""
        return

    def __call__(self, x: Array, level: Array | None = None, cond: Cond = None, keys: Keys | None = None) -> State:
        """The image of a latent of x, and as one more channel KL(q(z | x) | N(0, 1)) in nats per pixel.

        The latent is drawn by the keys, one for each example; without them it is the mean. The level is not used.
        Raises UserError for sides that do not divide by the factor.
        """
        if any(side % self.factor for side in x.shape[1:3]):
            raise UserError(f"net: sides must divide by {self.factor}, got images of shape {x.shape}; set image_size")
        mean, log_variance = self.encode(x)
        z = mean
        if keys is not None:
            noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys)
            z = mean + jnp.exp(log_variance / 2) * noise
        nats = (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(-1, keepdims=True) / 2
        per_pixel = nats.repeat(self.factor, 1).repeat(self.factor, 2) / self.factor**2
        return jnp.concatenate([self.decode(z), per_pixel], axis=-1)

    def encode(self, x: Array) -> tuple[State, State]:
        """Mean and log-variance of the latent of an image. Raises UserError for what is no image."""
        is_image = x.ndim == 4 and x.shape[-1] == CHANNELS and jnp.issubdtype(x.dtype, jnp.floating)
        if not is_image or min(x.shape[1:3]) < self.factor:
            expected = f"images [b, h, w, {CHANNELS}] of floats in [-1, 1], sides of at least {self.factor}"
            raise UserError(f"AutoencoderKL: expected {expected}, got {x.dtype} of shape {x.shape}")
        moments = self.encoder(x)
        mean, log_variance = jnp.split(self.quant_conv(moments) if self.pointwise else moments, 2, axis=-1)
        return mean, jnp.clip(log_variance, *LOG_VARIANCES)

    def decode(self, z: Array) -> State:
        """The image of a latent. Raises UserError for what is no latent."""
        if z.ndim != 4 or z.shape[-1] != self.latent_channels or not z.size:
            raise UserError(f"AutoencoderKL: expected latents [b, h, w, {self.latent_channels}], got shape {z.shape}")
        return self.decoder(self.post_quant_conv(z) if self.pointwise else z)


class Encoder(nn.Module):
    """Residual blocks, the sides halved after those of each width but the last, then the middle."""

    widths: tuple[int, ...]
    features: int
    attention: tuple[int, ...]
    layers: int
    middle_attention: bool
    groups: int

    @nn.compact
    def __call__(self, x: State) -> State:
        h = convolution(self.widths[0], "conv_in")(x)
        for i, width in enumerate(self.widths):
            for j in range(self.layers):
                h = ResidualBlock(width, self.groups, EPSILON, name=f"down_blocks.{i}.resnets.{j}")(h)
                if i in self.attention:
                    h = AttentionBlock(h.shape[-1], self.groups, EPSILON, name=f"down_blocks.{i}.attentions.{j}")(h)
            if i + 1 < len(self.widths):
                # Zeros below and to the right alone: an output has the pixels 2i, 2i + 1 and 2i + 2.
                padding = ((0, 1), (0, 1))
                h = nn.Conv(width, (3, 3), 2, padding=padding, name=f"down_blocks.{i}.downsamplers.0.conv")(h)
        h = _middle(h, self.middle_attention, self.groups)
        return _last_layer(h, self.features, self.groups)


class Decoder(nn.Module):
    """The middle, then residual blocks, the sides doubled after those of each width but the last."""

    widths: tuple[int, ...]
    features: int
    attention: tuple[int, ...]
    layers: int
    middle_attention: bool
    groups: int

    @nn.compact
    def __call__(self, z: State) -> State:
        h = convolution(self.widths[0], "conv_in")(z)
        h = _middle(h, self.middle_attention, self.groups)
        for i, width in enumerate(self.widths):
            for j in range(self.layers + 1):
                h = ResidualBlock(width, self.groups, EPSILON, name=f"up_blocks.{i}.resnets.{j}")(h)
                if i in self.attention:
                    h = AttentionBlock(h.shape[-1], self.groups, EPSILON, name=f"up_blocks.{i}.attentions.{j}")(h)
            if i + 1 < len(self.widths):
                h = convolution(width, f"up_blocks.{i}.upsamplers.0.conv")(double_sides(h))
        return _last_layer(h, self.features, self.groups)


def _middle(x: State, has_attention: bool, groups: int) -> State:
    """Two residual blocks, with attention between them, as modules of the caller."""
    h = ResidualBlock(x.shape[-1], groups, EPSILON, name="mid_block.resnets.0")(x)
    if has_attention:
        h = AttentionBlock(h.shape[-1], groups, EPSILON, name="mid_block.attentions.0")(h)
    return ResidualBlock(x.shape[-1], groups, EPSILON, name="mid_block.resnets.1")(h)


def _last_layer(x: State, features: int, groups: int) -> State:
    h = nn.silu(group_norm(groups, EPSILON, "conv_norm_out")(x))
    return convolution(features, "conv_out")(h)
