"""A residual MLP, for vectors and small images."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from diffjax.nets.condition_embedding import check_encoders, encode_conditions, extract_label, null_condition
from diffjax.nets.condition_encoders import Encoders
from diffjax.nets.layers import (
    Dropout,
    Embedding,
    Modulation,
    check_fields,
    dense_float32,
    remat_block,
    require_scalar_level,
)
from diffjax.protocols import Keys
from diffjax.traits import NetTraits


class MLP(nn.Module):
    """`depth` residual blocks of two dense layers on the flattened example, modulated by level and condition.

    Of a condition's tokens it uses the mean alone.
    """

    width: int = 128
    depth: int = 3
    classes: int = 0
    conditions: Encoders = ()
    dropout: float = 0.0
    remat: bool | str = False
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_fields(self.dtype, self.dropout, width=self.width, depth=self.depth)
        check_encoders(self.conditions, self.classes)
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """The defaults, and its encoders."""
        return NetTraits(conditions=self.conditions)

    @property
    def null_cond(self) -> PyTree:
        """The null condition, without a batch axis."""
        return null_condition(self.classes, self.conditions)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *shape"],
        level: Float[Array, "b *levels"],
        cond: PyTree = None,
        keys: Keys | None = None,
    ) -> Float[Array, "b *shape"]:
        encoded = encode_conditions(self.conditions, cond, len(x), self.width, self.dtype)
        label = extract_label(self.conditions, self.classes, cond)
        embedding = Embedding(self.width, self.classes, self.dtype)(
            require_scalar_level(x, level), label, encoded.vector
        )
        h = nn.Dense(self.width, dtype=self.dtype)(x.reshape(len(x), -1))
        if encoded.channels is not None:
            h += nn.Dense(self.width, dtype=self.dtype, name="Shown")(encoded.channels.reshape(len(x), -1))
        block = remat_block(MLP._block, self.remat)
        for _ in range(self.depth):
            h = block(self, h, embedding, keys)
        last = nn.Dense(x[0].size, kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=dense_float32)
        return last(nn.LayerNorm(dtype=self.dtype)(h)).reshape(x.shape).astype(jnp.float32)

    def _block(
        self, h: Float[Array, "b width"], embedding: Float[Array, "b width"], keys: Keys | None
    ) -> Float[Array, "b width"]:
        inner = Modulation(self.dtype)(nn.LayerNorm(dtype=self.dtype)(h), embedding)
        inner = nn.silu(nn.Dense(self.width, dtype=self.dtype)(inner))
        inner = Dropout(self.dropout)(inner, keys)
        return h + nn.Dense(self.width, kernel_init=nn.initializers.zeros, dtype=self.dtype)(inner)
