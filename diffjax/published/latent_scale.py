"""How the latents of a diffusion model come from those of its codec, and pixels from -1 … 1."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

ByChannel = float | tuple[float, ...]  # one number for all channels, or one for each


class LatentScale(NamedTuple):
    """Latents are (z - shift) · scale of a codec's z, of pictures whose black is `black` and whose white is 1."""

    scale: ByChannel
    shift: ByChannel = 0.0
    black: float = -1.0

    def to_latents(self, z: Array) -> Float[Array, "b _ _ _"]:
        """The latents of z [b, h, w, channels]."""
        return (z - _by_channel(self.shift)) * _by_channel(self.scale)

    def from_latents(self, latents: Array) -> Float[Array, "b _ _ _"]:
        """The codec's z of latents."""
        return latents / _by_channel(self.scale) + _by_channel(self.shift)

    def to_codec(self, images: Array) -> Float[Array, "b _ _ _"]:
        """Pixels of -1 … 1 as the codec has them."""
        return images if self.black == -1 else 1 + (images - 1) * (1 - self.black) / 2

    def from_codec(self, images: Array) -> Float[Array, "b _ _ _"]:
        """Pixels of the codec as -1 … 1."""
        return images if self.black == -1 else 1 + (images - 1) * 2 / (1 - self.black)


def _by_channel(numbers: ByChannel) -> Float[Array, "1 1 1 _"]:
    return jnp.reshape(jnp.asarray(numbers, jnp.float32), (1, 1, 1, -1))
