"""The transformer between the residual blocks of a U-Net of text to image (Rombach et al. 2022, section 3.3).

Modules bear the names of diffusers' files.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.nets.diffusers_blocks import State, Tokens, attend_projected, group_norm
from diffjax.nets.named_layers import named_dense, named_layer_norm

NORM_EPSILON = 1e-6  # of the variance of a group before the blocks
EPSILON = 1e-5  # of the variance of a token
MLP_FACTOR = 4  # the width within the MLP over that of a token

Context = Float[Array, "b m features"]


class SpatialTransformer(nn.Module):
    """x + blocks of a transformer over all its positions, each of which attends to a context, such as of text."""

    heads: int
    depth: int
    groups: int

    @nn.compact
    def __call__(self, x: State, context: Context) -> State:
        b, _, _, c = x.shape
        h = group_norm(self.groups, NORM_EPSILON, "norm")(x).reshape(b, -1, c)
        h = named_dense(c, "proj_in")(h)
        for i in range(self.depth):
            h = TransformerBlock(self.heads, name=f"transformer_blocks.{i}")(h, context)
        return x + named_dense(c, "proj_out")(h).reshape(x.shape)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context, and an MLP, each added to its input, of which it sees the LayerNorm."""

    heads: int

    @nn.compact
    def __call__(self, h: Tokens, context: Context) -> Tokens:
        inner = named_layer_norm(EPSILON, "norm1")(h)
        h += Attention(self.heads, name="attn1")(inner, inner)
        h += Attention(self.heads, name="attn2")(named_layer_norm(EPSILON, "norm2")(h), context)
        width = MLP_FACTOR * h.shape[-1]
        value, gate = jnp.split(
            named_dense(2 * width, "ff.net.0.proj")(named_layer_norm(EPSILON, "norm3")(h)), 2, axis=-1
        )
        # Shazeer 2020, "GLU variants improve transformer", section 2: GEGLU, of the exact GELU.
        return h + named_dense(h.shape[-1], "ff.net.2")(value * nn.gelu(gate, approximate=False))


class Attention(nn.Module):
    """Attention of tokens to a context, in heads of equal width."""

    heads: int

    @nn.compact
    def __call__(self, h: Tokens, context: Context) -> Tokens:
        return attend_projected(h, context, self.heads, use_bias=False)
