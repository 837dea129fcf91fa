"""Continuous autoregression (Li et al. 2024, MAR): a transformer over known patches, a small denoiser of each patch."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree

from diffjax.errors import UserError
from diffjax.nets.attention import Block, check_heads
from diffjax.nets.condition_embedding import check_encoders, encode_conditions, extract_label, null_condition, resize_to
from diffjax.nets.condition_encoders import Encoders
from diffjax.nets.layers import (
    Embedding,
    Modulation,
    Places,
    check_fields,
    dense_dot_general,
    dense_float32,
    remat_block,
)
from diffjax.nets.patchify import (
    Padding,
    Patches,
    Picture,
    from_patches,
    levels_of_patches,
    sides_in_patches,
    to_patches,
)
from diffjax.protocols import Keys
from diffjax.traits import NetTraits

Context = Float[Array, "b n width"]
Level = Float[Array, "_ ... 1"]
PADDING: Padding = "edge"  # a patch is of its own pixels alone, and is known when they are
MAX_OCTAVES = 16  # beyond them float32 has no digits of an angle left


class MAR(nn.Module):
    """E[x0_i | x_t,i, all known x_j] of every patch i, a patch being known where its level is exactly 0.

    The backbone, a transformer, has a learned vector in place of every unknown patch, and no level, so its output for
    a patch, the context z, changes only when another patch becomes known. The head, an MLP modulated by z and the
    patch's level (Li et al. 2024, section 3.2), sees the noisy patch alone. `net(x, level, cond, keys)` is both;
    `context` and `head` are each.

    Train it by `loss.regression(noise, order, independent=True)`, and sample one patch after the other, or k at a time,
    under `order.blocks`. The level of a patch is the mean of its pixels' levels, so use blocks of whole patches. Where
    `patch` does not divide a side, the last patch repeats the last pixels.
    """

    patch: int = 1
    width: int = 64
    depth: int = 4
    heads: int = 4
    head_width: int = 64
    """Features of the head. Unit: features. Range: [1, 65536].
    When: raise it where patches have many pixels."""
    head_depth: int = 3
    """Blocks of the head. Unit: blocks. Range: [1, 512]. When: raise it with `head_width`."""
    octaves: int = 0
    """Octaves of Fourier features of the head's input. Unit: octaves. Range: [0, 16].
    When: pixels have few, close values."""
    classes: int = 0
    conditions: Encoders = ()
    dropout: float = 0.0
    remat: bool | str = False
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        sizes = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        sizes |= {"head_width": self.head_width, "head_depth": self.head_depth}
        check_fields(self.dtype, self.dropout, **sizes)
        check_heads(self.width, self.heads)
        check_encoders(self.conditions, self.classes)
        if not 0 <= self.octaves <= MAX_OCTAVES:
            raise UserError(f"net: octaves must be in 0 … {MAX_OCTAVES}, got {self.octaves}")
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """With a backbone and a head."""
        return NetTraits(has_head=True, conditions=self.conditions)

    @property
    def null_cond(self) -> PyTree:
        """The null condition, without a batch axis."""
        return null_condition(self.classes, self.conditions)

    def setup(self) -> None:
        sizes = (self.width, self.depth, self.heads, self.classes, self.dropout, self.remat, self.dtype)
        self.backbone = Backbone(*sizes, self.conditions, self.patch)
        self.small = Head(self.head_width, self.head_depth, self.octaves, self.dtype)

    def __call__(
        self,
        x: Picture,
        level: Level,
        cond: PyTree = None,
        keys: Keys | None = None,
    ) -> Picture:
        return self.head(x, level, self.context(x, level, cond, keys))

    def context(self, x: Picture, level: Level, cond: PyTree = None, keys: Keys | None = None) -> Context:
        """The context of each patch, from the patches of level 0."""
        sides = sides_in_patches(x, self.patch, "MAR")
        patches = to_patches(x, self.patch, PADDING)
        known = levels_of_patches(level, self.patch) == 0
        known = jnp.broadcast_to(known, patches.shape[:2])
        return self.backbone(patches, known, sides, x.shape[1:-1], cond, keys)

    def head(self, x: Picture, level: Level, z: Context, places: Int[Array, "b k"] | None = None) -> Picture:
        """The output given the context; with `places` that of these patches alone, and 0 elsewhere."""
        patches = to_patches(x, self.patch, PADDING)
        levels = jnp.broadcast_to(levels_of_patches(level, self.patch), patches.shape[:2])
        if places is None:
            out = self.small(patches, levels, z)
        else:
            at = jnp.arange(len(x))[:, None], places
            out = jnp.zeros(patches.shape).at[at].set(self.small(patches[at], levels[at], z[at]))
        return from_patches(out, x.shape, self.patch).astype(jnp.float32)

    def places(self, moving: Bool[Array, "b ... 1"], max_pixels: int) -> Int[Array, "b k"]:
        """The patches with a pixel that moves, filled up with others to `max_pixels` patches of each example.

        `max_pixels` is the largest number of pixels that move.
        """
        touched = jnp.any(to_patches(moving, self.patch, PADDING), axis=2)
        return jnp.argsort(~touched, axis=1, stable=True)[:, :max_pixels]


class Backbone(nn.Module):
    """The context of each patch: a transformer over known patches, with a learned vector for the others."""

    width: int
    depth: int
    heads: int
    classes: int
    dropout: float
    remat: bool | str
    dtype: DTypeLike
    conditions: Encoders
    patch: int

    @nn.compact
    def __call__(
        self,
        patches: Patches,
        known: Bool[Array, "b n"],
        sides: tuple[int, ...],
        pixels: tuple[int, ...],
        cond: PyTree,
        keys: Keys | None,
    ) -> Context:
        hidden = self.param("hidden", nn.initializers.normal(1.0), (self.width,)).astype(self.dtype)
        embedded = nn.Dense(self.width, dtype=self.dtype, dot_general=dense_dot_general)(patches)
        places = Places(sides, self.width, self.dtype)(jnp.arange(patches.shape[1]))
        h = jnp.where(known[:, :, None], embedded, hidden[None, None]) + places[None]
        encoded = encode_conditions(self.conditions, cond, len(patches), self.width, self.dtype)
        if (channels := resize_to(encoded.channels, pixels)) is not None:
            channel_patches = to_patches(channels, self.patch, PADDING)
            h += nn.Dense(self.width, dtype=self.dtype, dot_general=dense_dot_general, name="Shown")(channel_patches)
        label = extract_label(self.conditions, self.classes, cond)
        embedding = Embedding(self.width, self.classes, self.dtype)(jnp.zeros(len(patches)), label, encoded.vector)
        block = remat_block(Block, self.remat, static=(4,))
        for _ in range(self.depth):
            h, _ = block(self.heads, self.dropout, self.dtype)(
                h, embedding, keys, 0, None, encoded.tokens, encoded.token_mask
            )
        return nn.LayerNorm(dtype=self.dtype)(h)


class Head(nn.Module):
    """The output of each patch by itself: h + MLP(norm(h)), the norm modulated by its context and its level."""

    width: int
    depth: int
    octaves: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, patches: Patches, level: Float[Array, "b n"], z: Context) -> Patches:
        context = nn.Dense(self.width, dtype=self.dtype, dot_general=dense_dot_general)(z)
        modulation = nn.silu(context + Embedding(self.width, 0, self.dtype)(level, None))
        h = (
            nn.Dense(self.width, dtype=self.dtype, dot_general=dense_dot_general)(
                fourier_features(patches, self.octaves)
            )
            + context
        )
        for _ in range(self.depth):
            inner = Modulation(self.dtype)(nn.LayerNorm(dtype=self.dtype)(h), modulation)
            inner = nn.silu(nn.Dense(self.width, dtype=self.dtype, dot_general=dense_dot_general)(inner))
            h += nn.Dense(
                self.width, kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=dense_dot_general
            )(inner)
        h = Modulation(self.dtype)(nn.LayerNorm(dtype=self.dtype)(h), modulation)
        out = nn.Dense(patches.shape[2], kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=dense_float32)
        return out(h)


def fourier_features(x: Patches, count: int) -> Float[Array, "b n _"]:
    """x, and sin and cos of π x, 2π x, 4π x, … (`count` octaves), which separate close values (Kingma et al. 2021)."""
    angles = jnp.concatenate([x * (jnp.pi * 2.0**octave) for octave in range(count)] or [x[..., :0]], axis=-1)
    return jnp.concatenate([x, jnp.sin(angles), jnp.cos(angles)], axis=-1)
