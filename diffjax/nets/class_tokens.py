"""Tokens of the class within the sequence (JiT: Li & He 2025, in-context class conditioning)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class ClassTokens(nn.Module):
    """`count` learned vectors, to each of which the embedding of the class is added: tokens [b, count, width].

    Without a class they are the learned vectors alone.
    """

    count: int
    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, class_embedding: Float[Array, "b width"] | None, batch: int) -> Float[Array, "b count width"]:
        learned = self.param("tokens", nn.initializers.normal(0.02), (self.count, self.width))
        tokens = jnp.broadcast_to(learned[None], (batch, self.count, self.width))
        return (tokens if class_embedding is None else tokens + class_embedding[:, None]).astype(self.dtype)
