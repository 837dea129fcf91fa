"""The blocks of diffusers' U-Nets and autoencoders, whose names their modules have."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.nets.convolution import convolve
from diffjax.nets.dot_product import attend
from diffjax.nets.layers import Dropout
from diffjax.nets.named_layers import named_dense
from diffjax.protocols import Keys

State = Float[Array, "b _ _ _"]
Vector = Float[Array, "b _"]
Tokens = Float[Array, "b _ _"]


class ResidualBlock(nn.Module):
    """GroupNorm, silu, convolution of side 3, twice; an embedding is added between, or modulates the second norm.

    (x + h) / output_divisor, x by a 1×1 convolution where its channels are others.
    """

    features: int
    groups: int
    epsilon: float
    scale_shift: bool = False
    dropout: float = 0.0
    output_divisor: float = 1.0

    @nn.compact
    def __call__(self, x: State, embedding: Vector | None = None, keys: Keys | None = None) -> State:
        h = convolution(self.features, "conv1")(nn.silu(group_norm(self.groups, self.epsilon, "norm1")(x)))
        h = self._normalized(h, embedding)
        h = convolution(self.features, "conv2")(Dropout(self.dropout)(nn.silu(h), keys))
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1, 1), name="conv_shortcut")(x)
        return (x + h) / self.output_divisor

    def _normalized(self, h: State, embedding: Vector | None) -> State:
        norm = group_norm(self.groups, self.epsilon, "norm2")
        if embedding is None:
            return norm(h)
        term = nn.Dense(self.features * (1 + self.scale_shift), name="time_emb_proj")(nn.silu(embedding))[:, None, None]
        if not self.scale_shift:
            return norm(h + term)
        scale, shift = jnp.split(term, 2, axis=-1)
        return norm(h) * (1 + scale) + shift


class AttentionBlock(nn.Module):
    """(x + self-attention over all positions) / output_divisor, in heads of `head_width`; without norm for 0 groups."""

    head_width: int
    groups: int
    epsilon: float
    output_divisor: float = 1.0

    @nn.compact
    def __call__(self, x: State) -> State:
        h = group_norm(self.groups, self.epsilon, "group_norm")(x) if self.groups else x
        tokens = h.reshape(len(x), -1, x.shape[-1])
        mixed = attend_projected(tokens, tokens, x.shape[-1] // self.head_width, use_bias=True)
        return (x + mixed.reshape(x.shape)) / self.output_divisor


def attend_projected(h: Tokens, context: Tokens, heads: int, use_bias: bool) -> Tokens:
    """Attention of tokens to those of a context, with layers before and after it, which are modules of the caller.

    `use_bias` is for queries, keys and values.
    """
    b, n, c = h.shape

    def project(tokens: Tokens, name: str) -> Float[Array, "b _ heads d"]:
        return named_dense(c, name, use_bias)(tokens).reshape(b, -1, heads, c // heads)

    mixed = attend(project(h, "to_q"), project(context, "to_k"), project(context, "to_v"))
    return named_dense(c, "to_out.0")(mixed.reshape(b, n, c))


def group_norm(groups: int, epsilon: float, name: str) -> nn.GroupNorm:
    """GroupNorm whose variance is that of the differences from the mean."""
    return nn.GroupNorm(groups, epsilon=epsilon, use_fast_variance=False, name=name)


def convolution(features: int, name: str) -> nn.Conv:
    """A convolution of side 3 that keeps the sides, with zeros beyond them."""
    return nn.Conv(features, (3, 3), conv_general_dilated=convolve, name=name)


def double_sides(x: State) -> State:
    """Nearest-neighbour upsampling by 2."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
