"""The diffusion transformer of Peebles & Xie 2023: pictures as patches, blocks modulated by level and class."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.nets.attention import Block, check_heads
from diffjax.nets.layers import (
    Embedding,
    Places,
    by_rows,
    check_fields,
    levels_of_tokens,
    null_label,
    remembered,
    summed,
)
from diffjax.nets.patches import Picture, cut, joined, levels_of_patches, sides_in_patches
from diffjax.protocols import Keys


class DiT(nn.Module):
    """A transformer over the patches of a picture, `patch` pixels a side, for one level per example or per pixel.

    A patch is told the mean of its pixels' levels, so where they differ within one (rolling orders) use patch=1.
    `remat` saves memory in training: each block is computed once more going back.
    `causal`: a patch sees itself and those before it in raster order (diffusion forcing, Chen et al. 2024); a number
    k, all of its own block of k patches and of those before.
    """

    patch: int = 2
    width: int = 64
    depth: int = 4
    heads: int = 4
    classes: int = 0
    dropout: float = 0.0
    causal: int = 0
    remat: bool = False
    dtype: Any = jnp.float32

    convolutional: ClassVar[bool] = False

    def __post_init__(self) -> None:
        sizes = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        check_fields(self.dtype, self.dropout, **sizes)
        check_heads(self.width, self.heads)
        if self.causal < 0:
            raise UserError(f"net: causal must be 0 (sees all patches) or the patches of a block, got {self.causal}")
        super().__post_init__()

    @property
    def null_cond(self) -> Array | None:
        """The label that says nothing."""
        return null_label(self.classes)

    @nn.compact
    def __call__(
        self,
        x: Picture,
        level: Float[Array, "_ _ _ 1"],
        cond: Int[Array, " b"] | None = None,
        keys: Keys | None = None,
    ) -> Picture:
        sides, patches = sides_in_patches(x, self.patch, "DiT"), cut(x, self.patch)
        if self.causal and patches.shape[1] % self.causal:
            raise UserError(f"DiT: expected {patches.shape[1]} patches to divide into blocks of causal={self.causal}")
        levels = levels_of_tokens(patches, levels_of_patches(level, self.patch))
        embedding = Embedding(self.width, self.classes, self.dtype)(levels, cond)
        places = Places(sides, self.width, self.dtype)(jnp.arange(patches.shape[1]))
        h = nn.Dense(self.width, dtype=self.dtype, dot_general=by_rows)(patches) + places[None]
        block = remembered(Block, self.remat, static=(4,))
        for _ in range(self.depth):
            h, _ = block(self.heads, self.dropout, self.dtype)(h, embedding, keys, self.causal)
        h = nn.LayerNorm(dtype=self.dtype)(h)
        out = nn.Dense(patches.shape[2], kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=summed)
        return joined(out(h), x.shape, self.patch).astype(jnp.float32)
