"""The text model of CLIP (Radford et al. 2021, section 2.4), whose states condition latent diffusion of texts.

A transformer with causal attention and LayerNorm before each part. Modules bear the names of transformers' files.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.nets.dot_product import attend
from diffjax.nets.layers import check_fields
from diffjax.nets.named_layers import named_dense, named_layer_norm

QUICK_GELU_SLOPE = 1.702

States = Float[Array, "b n width"]


def quick_gelu(x: Array) -> Array:
    """x sigmoid(1.702 x), an approximation of GELU (Hendrycks & Gimpel 2016, section 2)."""
    return x * jax.nn.sigmoid(QUICK_GELU_SLOPE * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": partial(nn.gelu, approximate=False)}


class CLIPText(nn.Module):
    """The state of each token of a text, after the last norm; a token sees itself and those before it.

    Padding is tokens like others.
    """

    vocab: int = 49_408
    length: int = 77
    """The number of positions, and the largest one of tokens."""
    width: int = 768
    depth: int = 12
    heads: int = 12
    """Heads of attention. Range: a divisor of `width`."""
    mlp_width: int = 3072
    activation: str = "quick_gelu"
    """The nonlinearity: "quick_gelu", or "gelu", which is x Phi(x) with the error function."""
    epsilon: float = 1e-5
    """What normalization adds to the variance."""

    def __post_init__(self) -> None:
        check_fields("float32", 0.0, vocab=self.vocab, length=self.length, width=self.width, depth=self.depth)
        check_fields("float32", 0.0, heads=self.heads, mlp_width=self.mlp_width)
        if self.width % self.heads:
            raise UserError(f"net: heads must divide width={self.width}, got {self.heads}")
        if self.activation not in ACTIVATIONS:
            raise UserError(f"net: activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r:.40}")
        if not 0 < self.epsilon < 1:
            raise UserError(f"net: epsilon must be in (0, 1), got {self.epsilon}")
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: Int[Array, "b n"]) -> States:
        """The states of tokens 0 … vocab - 1, float32. Raises UserError for more tokens than positions."""
        if tokens.shape[1] > self.length:
            raise UserError(f"net: expected at most {self.length} tokens, got {tokens.shape[1]}")
        words = nn.Embed(self.vocab, self.width, name="text_model.embeddings.token_embedding")(tokens)
        positions = nn.Embed(self.length, self.width, name="text_model.embeddings.position_embedding")
        h = words + positions(jnp.arange(tokens.shape[1]))[None]
        for i in range(self.depth):
            block = Block(
                self.heads, self.mlp_width, self.activation, self.epsilon, name=f"text_model.encoder.layers.{i}"
            )
            h = block(h)
        return named_layer_norm(self.epsilon, "text_model.final_layer_norm")(h)


class Block(nn.Module):
    """x plus causal self-attention of its norm, then plus an MLP of one hidden layer of the norm of that."""

    heads: int
    mlp_width: int
    activation: str
    epsilon: float

    @nn.compact
    def __call__(self, x: States) -> States:
        b, n, width = x.shape
        h = named_layer_norm(self.epsilon, "layer_norm1")(x)
        heads = b, n, self.heads, width // self.heads
        query, key, value = (named_dense(width, f"self_attn.{part}_proj")(h).reshape(heads) for part in "qkv")
        mixed = attend(query, key, value, is_causal=True).reshape(x.shape)
        x = x + named_dense(width, "self_attn.out_proj")(mixed)
        h = named_dense(self.mlp_width, "mlp.fc1")(named_layer_norm(self.epsilon, "layer_norm2")(x))
        return x + named_dense(width, "mlp.fc2")(ACTIVATIONS[self.activation](h))
