"""The diffusion transformer of Peebles & Xie 2023: images as patches, blocks modulated by level and class."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

from diffjax.errors import UserError
from diffjax.nets.adaln_zero import AdaLNZeroBlock, FinalLayer, sincos_positions
from diffjax.nets.attention import Block, Tokens, check_blocks, check_heads
from diffjax.nets.block_parts import MLPS, NORMS, check_choice, check_count
from diffjax.nets.block_stack import Inputs, LongerTokens, Variant, init_block, init_stacked, run_blocks, scan_blocks
from diffjax.nets.class_tokens import ClassTokens
from diffjax.nets.condition_embedding import check_encoders, encode_conditions, extract_label, null_condition, resize_to
from diffjax.nets.condition_encoders import Encoders
from diffjax.nets.dot_product import check_kernel
from diffjax.nets.layers import (
    MAX_WIDTH,
    Embedding,
    Places,
    check_fields,
    check_remat,
    dense_dot_general,
    dense_float32,
    levels_of_tokens,
)
from diffjax.nets.patchify import Patches, Picture, from_patches, levels_of_patches, sides_in_patches, to_patches
from diffjax.protocols import Keys
from diffjax.traits import NetTraits


class DiT(nn.Module):
    """A transformer over the patches of an image, `patch` pixels a side, for one level per example or per pixel.

    Likewise over those of a signal [b, n, c] or a volume [b, d, h, w, c]. Sides that `patch` does not divide are
    reflected at their ends, and cut again.

    The level of a patch is the mean of its pixels' levels, so where they differ within a patch (rolling orders) use
    patch=1. Causal attention, in raster order, is that of diffusion forcing (Chen et al. 2024).

    `norm` … `class_tokens_start` make it one of its successors. LightningDiT (Yao et al. 2025) is norm="rms",
    mlp="swiglu", rotary=True; JiT (Li & He 2025) has qk_norm=True, bottleneck=128 and class_tokens=32 as well.
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
    remat: bool | str = False
    scan: bool = False
    """Whether the blocks' parameters are stacked and blocks run in one compiled loop: compiles as fast as one.
    When: depth is 12 or more; not with adapters."""
    adaln_zero: bool = True
    """Gates on both branches of a block, a modulated last norm and sin-cos positions, as published; False: blocks
    without gates and learned positions, as in runs of diffjax before 2026-12-01. When: to compare the two."""
    frequencies: int = 0
    """Sinusoids of a level of 0 … 1000, as in published weights; 0: `width` sinusoids of a level of 0 … 1.
    Unit: sinusoids. Range: [0, 65536]. When: published weights, which have 256."""
    learned_variance: bool = False
    """Whether there are twice as many output channels, the second half for the variance of the posterior.
    When: published DiT and SiT weights, and `loss.hybrid`."""
    norm: str = "layer"
    """Norm of the blocks and of the last layer. Range: `'layer'`, without parameters, or `'rms'`, x / √mean(x²) with a
    learned scale (Zhang & Sennrich 2019). When: `'rms'` for LightningDiT or JiT."""
    mlp: str = "gelu"
    """MLP of the blocks. Range: `'gelu'`, 4 `width` features within, or `'swiglu'`, two thirds as many, rounded down,
    with a gate (Shazeer 2020): as many parameters. When: `'swiglu'` for LightningDiT or JiT."""
    rotary: bool = False
    """Whether positions also turn queries and keys (Su et al. 2021), those along each axis of x an equal number of a
    head's pairs of features. When: for LightningDiT or JiT; `width` / `heads` is even, and at least twice the axes."""
    qk_norm: bool = False
    """Whether queries and keys are normalized in each head, which bounds the scores (after Dehghani et al. 2023).
    When: for JiT, or where the loss of a large or bfloat16 net diverges."""
    bottleneck: int = 0
    """Features of a patch between the two matrices that embed it, the first without bias; 0: one matrix.
    Unit: features. Range: [0, 65536]. When: patches have many more numbers than the images have degrees of freedom, as
    in JiT, which has 128."""
    class_tokens: int = 0
    """Learned tokens that stand before the patches, each plus the embedding of the class, and of further conditions,
    which modulates the blocks all the same (JiT, in-context class conditioning). Unit: tokens. Range: [0, 65536].
    When: for JiT, which has 32."""
    class_tokens_start: int = 0
    """First block that has the class tokens. Unit: blocks. Range: [0, depth). When: for JiT, a third of `depth` in its
    sizes B, L and H."""
    attention_kernel: str = "xla"
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        sizes = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        check_fields(self.dtype, self.dropout, **sizes)
        check_heads(self.width, self.heads)
        check_encoders(self.conditions, self.classes)
        check_blocks(self.perturbed, self.depth)
        check_remat(self.remat)
        check_kernel(self.attention_kernel)
        self._check_switches()
        if not 0 <= self.frequencies <= MAX_WIDTH or self.frequencies % 2:
            raise UserError(f"net: frequencies must be even and in 0 … {MAX_WIDTH:,}, got {self.frequencies}")
        if self.causal < 0:
            raise UserError(f"net: causal must be 0 (full attention) or the patches of a block, got {self.causal}")
        super().__post_init__()

    def _check_switches(self) -> None:
        check_choice("norm", self.norm, NORMS)
        check_choice("mlp", self.mlp, MLPS)
        check_count("bottleneck", self.bottleneck, MAX_WIDTH)
        check_count("class_tokens", self.class_tokens, MAX_WIDTH)
        check_count("class_tokens_start", self.class_tokens_start, self.depth - 1)
        is_plain = self.norm == "layer" and self.mlp == "gelu" and not (self.rotary or self.qk_norm)
        if not (self.adaln_zero or is_plain):
            raise UserError("net: norm, mlp, rotary and qk_norm are of blocks with adaln_zero=True: leave them out")

    @property
    def traits(self) -> NetTraits:
        """With blocks to perturb and to control; of any size where positions are not learned."""
        return NetTraits(
            any_size=self.adaln_zero,
            perturbable=True,
            controllable=True,
            stacked=self.scan,
            learned_variance=self.learned_variance,
            attention_kernel=self.attention_kernel,
            conditions=self.conditions,
        )

    @property
    def null_cond(self) -> PyTree:
        """The null condition, without a batch axis."""
        return null_condition(self.classes, self.conditions)

    @nn.compact
    def __call__(
        self,
        x: Picture,
        level: Float[Array, "_ ... 1"],
        cond: PyTree = None,
        keys: Keys | None = None,
        added: Sequence[Array] | None = None,
        inside: bool = False,
    ) -> Picture | list[Array]:
        """The output, or with `inside` the states h after each block; `added` is added to these (`nets.control`).

        States have the class tokens first.
        """
        sides = sides_in_patches(x, self.patch, "DiT")
        label = extract_label(self.conditions, self.classes, cond)
        encoded = encode_conditions(self.conditions, cond, len(x), self.width, self.dtype)
        patches = to_patches(x, self.patch)
        channels = resize_to(encoded.channels, x.shape[1:-1])
        if self.causal and patches.shape[1] % self.causal:
            raise UserError(f"DiT: expected {patches.shape[1]} patches to divide into blocks of causal={self.causal}")
        levels = levels_of_tokens(patches, levels_of_patches(level, self.patch))
        embed = Embedding(self.width, self.classes, self.dtype, self.frequencies)
        embedding = embed(levels, label, encoded.vector)
        h = self._embed_patches(patches, channels, sides)
        prefix = self._class_tokens(embed, levels, label, encoded.vector)
        inputs = Inputs(embedding, encoded.tokens, encoded.token_mask, *prefix)
        states = self._run_blocks(sides, h, keys, inputs, added, inside)
        if inside:
            return states
        h = states[-1] if added is None else states[-1] + added[-1]
        outputs = 1 + self.learned_variance
        out = self._output(h[:, self.class_tokens :], embedding, patches.shape[2] * outputs)
        return from_patches(out, (*x.shape[:-1], x.shape[-1] * outputs), self.patch).astype(jnp.float32)

    def _embed_patches(self, patches: Patches, channels: Picture | None, sides: tuple[int, ...]) -> Tokens:
        """One token for each patch, of its numbers, its position, and a condition's channels of the same pixels."""
        dense = partial(nn.Dense, dtype=self.dtype, dot_general=dense_dot_general)
        if self.bottleneck:
            patches = dense(self.bottleneck, use_bias=False, name="Bottleneck")(patches)
        h = dense(self.width)(patches) + self._positions(sides)
        return h if channels is None else h + dense(self.width, name="Shown")(to_patches(channels, self.patch))

    def _class_tokens(
        self, embed: Embedding, levels: Float[Array, "b *n"], label: Int[Array, " b"] | None, vector: Array | None
    ) -> tuple[Float[Array, "b k width"], Float[Array, "b e"]] | tuple[()]:
        """The class tokens, and the embedding of level and label that they have; nothing where there are none.

        Of patches with a level each, theirs is the mean level, or that of the first block, which all others may know.
        """
        if not self.class_tokens:
            return ()
        level = levels if levels.ndim == 1 else jnp.mean(levels[:, : self.causal or None], axis=1)
        embedding, class_embedding = embed.with_class(level, label, vector)
        return ClassTokens(self.class_tokens, self.width, self.dtype)(class_embedding, len(levels)), embedding

    def _block(self, sides: tuple[int, ...]) -> AdaLNZeroBlock | Block:
        """A block, without parameters."""
        shared = (self.heads, self.dropout, self.dtype, False, self.attention_kernel)
        if not self.adaln_zero:
            return Block(*shared, parent=None)
        rotary = sides if self.rotary else ()
        return AdaLNZeroBlock(*shared, self.norm, self.mlp, self.qk_norm, rotary, parent=None)

    def _run_blocks(
        self,
        sides: tuple[int, ...],
        h: Tokens,
        keys: Keys | None,
        inputs: Inputs,
        added: Sequence[Array] | None,
        inside: bool,
    ) -> list[LongerTokens]:
        """The states after each block, or with `scan` the last alone where no other is needed."""
        plain = Variant(self._block(sides), self.causal, self.remat)
        start = self.class_tokens_start
        name = type(plain.block).__name__
        if self.scan:
            stacked = self._parameters(name, init_stacked, plain, self.depth, h, inputs)
            if not (inside or added or self.perturbed):
                return [scan_blocks(plain, stacked, h, keys, inputs, start)]
            params = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(self.depth)]
        else:
            names = [f"{name}_{i}" for i in range(self.depth)]
            params = [self._parameters(name, init_block, plain, h, inputs) for name in names]
        perturbed = plain._replace(block=plain.block.clone(perturbed=True))
        variants = [perturbed if i in self.perturbed else plain for i in range(self.depth)]
        return run_blocks(variants, params, h, keys, inputs, added, start)

    def _parameters(self, name: str, init: Callable[..., PyTree], *arguments: object) -> PyTree:
        """Those of a block, or of all; Flax would trace their initialization at each call, to compare shapes."""
        if self.has_variable("params", name):
            return self.get_variable("params", name)
        return self.param(name, init, *arguments)

    def _positions(self, sides: tuple[int, ...]) -> Float[Array, "1 n width"]:
        if self.adaln_zero:
            return sincos_positions(sides, self.width).astype(self.dtype)[None]
        return Places(sides, self.width, self.dtype)(jnp.arange(math.prod(sides)))[None]

    def _output(self, h: Tokens, embedding: Float[Array, "b *n e"], features: int) -> Float[Array, "b n features"]:
        if self.adaln_zero:
            return FinalLayer(features, self.dtype, self.norm)(h, embedding)
        out = nn.Dense(features, kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=dense_float32)
        return out(nn.LayerNorm(dtype=self.dtype)(h))
