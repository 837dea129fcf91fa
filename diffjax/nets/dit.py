"""The diffusion transformer of Peebles & Xie 2023: images as patches, blocks modulated by level and class."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.nets.attention import Block, check_blocks, check_heads
from diffjax.nets.condition_embedding import check_encoders, encode_conditions, extract_label, null_condition, resize_to
from diffjax.nets.condition_encoders import Encoders
from diffjax.nets.layers import (
    Embedding,
    Places,
    check_fields,
    dense_dot_general,
    dense_float32,
    levels_of_tokens,
    remat_block,
)
from diffjax.nets.patchify import Picture, from_patches, levels_of_patches, sides_in_patches, to_patches
from diffjax.protocols import Keys
from diffjax.traits import NetTraits


class DiT(nn.Module):
    """A transformer over the patches of an image, `patch` pixels a side, for one level per example or per pixel.

    The level of a patch is the mean of its pixels' levels, so where they differ within a patch (rolling orders) use
    patch=1. Causal attention, in raster order, is that of diffusion forcing (Chen et al. 2024).
    """

    patch: int = 2
    width: int = 64
    depth: int = 4
    heads: int = 4
    classes: int = 0
    conditions: Encoders = ()
    dropout: float = 0.0
    causal: int = 0
    """Patches of a block that attends to itself and earlier blocks; 1: each patch; 0: full attention.
    Unit: patches. Range: [0, ∞). When: diffusion forcing, with `order.rolling` or `order.blocks`."""
    perturbed: tuple[int, ...] = ()
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        sizes = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        check_fields(self.dtype, self.dropout, **sizes)
        check_heads(self.width, self.heads)
        check_encoders(self.conditions, self.classes)
        check_blocks(self.perturbed, self.depth)
        if self.causal < 0:
            raise UserError(f"net: causal must be 0 (full attention) or the patches of a block, got {self.causal}")
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """With blocks to perturb and to control."""
        return NetTraits(perturbable=True, controllable=True, conditions=self.conditions)

    @property
    def null_cond(self) -> PyTree:
        """The null condition, without a batch axis."""
        return null_condition(self.classes, self.conditions)

    @nn.compact
    def __call__(
        self,
        x: Picture,
        level: Float[Array, "_ _ _ 1"],
        cond: PyTree = None,
        keys: Keys | None = None,
        added: Sequence[Array] | None = None,
        inside: bool = False,
    ) -> Picture | list[Array]:
        """The output, or with `inside` the states h after each block; `added` is added to these (`nets.control`)."""
        sides = sides_in_patches(x, self.patch, "DiT")
        label = extract_label(self.conditions, self.classes, cond)
        encoded = encode_conditions(self.conditions, cond, len(x), self.width, self.dtype)
        patches = to_patches(x, self.patch)
        channels = resize_to(encoded.channels, x.shape[1:])
        if self.causal and patches.shape[1] % self.causal:
            raise UserError(f"DiT: expected {patches.shape[1]} patches to divide into blocks of causal={self.causal}")
        levels = levels_of_tokens(patches, levels_of_patches(level, self.patch))
        embedding = Embedding(self.width, self.classes, self.dtype)(levels, label, encoded.vector)
        places = Places(sides, self.width, self.dtype)(jnp.arange(patches.shape[1]))
        h = nn.Dense(self.width, dtype=self.dtype, dot_general=dense_dot_general)(patches) + places[None]
        if channels is not None:
            h += nn.Dense(self.width, dtype=self.dtype, dot_general=dense_dot_general, name="Shown")(
                to_patches(channels, self.patch)
            )
        block = remat_block(Block, self.remat, static=(4,))
        states = []
        for i in range(self.depth):
            layer = block(self.heads, self.dropout, self.dtype, i in self.perturbed)
            h, _ = layer(h, embedding, keys, self.causal, None, encoded.tokens, encoded.token_mask)
            states.append(h)
            h = h if added is None else h + added[i]
        if inside:
            return states
        h = nn.LayerNorm(dtype=self.dtype)(h)
        out = nn.Dense(patches.shape[2], kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=dense_float32)
        return from_patches(out(h), x.shape, self.patch).astype(jnp.float32)
