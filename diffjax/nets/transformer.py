"""A transformer over tokens: bidirectional, for masked diffusion, or causal, for autoregression."""

from collections.abc import Sequence
from math import prod

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

from diffjax.errors import UserError
from diffjax.nets.attention import Block, Cache, check_blocks, check_heads
from diffjax.nets.condition_embedding import check_encoders, encode_conditions, extract_label, null_condition, per_token
from diffjax.nets.condition_encoders import EncoderOutputs, Encoders
from diffjax.nets.dot_product import check_kernel
from diffjax.nets.layers import (
    Embedding,
    Places,
    check_fields,
    dense_dot_general,
    dense_float32,
    levels_of_tokens,
    remat_block,
)
from diffjax.protocols import Keys
from diffjax.traits import NetTraits

Tokens = Int[Array, "b n"]
Logits = Float[Array, "b n vocab"]
Caches = tuple[Cache, ...]  # of each block


class Transformer(nn.Module):
    """Logits [b, n, vocab] of n tokens 0 … vocab - 1, an array of this `shape` in raster order; the mask is `vocab`.

    Bidirectional, every output attends to every input, masks included, modulated by the level of the example or of
    the token. Causal, tokens are in the order of `rank`: input i is the token revealed before the i-th and its
    position, with the position to predict (any order: Pannatier et al. 2024, sigma-GPT; in raster order an ordinary
    autoregressive transformer), and output i attends to inputs up to i. Hidden tokens are masks, and the level is not
    used.
    """

    vocab: int
    """Number of tokens, without the mask. A config sets it from the data. Unit: tokens. Range: [1, 1048576].
    When: in Python."""
    shape: tuple[int, ...]
    """Shape of the array of tokens. A config sets it from the data. Unit: tokens. Range: each in [1, 65536].
    When: in Python."""
    width: int = 64
    depth: int = 4
    heads: int = 4
    classes: int = 0
    conditions: Encoders = ()
    dropout: float = 0.0
    causal: bool = False
    """Whether it predicts each next token. When: with `train.loss=causal` and an order of width 0."""
    perturbed: tuple[int, ...] = ()
    remat: bool | str = False
    attention_kernel: str = "xla"
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        sizes = {"vocab": self.vocab, "width": self.width, "depth": self.depth, "heads": self.heads}
        check_fields(self.dtype, self.dropout, shape=min(self.shape, default=0), **sizes)
        check_heads(self.width, self.heads)
        check_encoders(self.conditions, self.classes)
        check_blocks(self.perturbed, self.depth)
        check_kernel(self.attention_kernel)
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """Of tokens; causal, it needs the ranks, and otherwise it has blocks to control."""
        return NetTraits(
            vocab=self.vocab,
            needs_rank=self.causal,
            perturbable=True,
            controllable=not self.causal,
            attention_kernel=self.attention_kernel,
            conditions=self.conditions,
        )

    @property
    def null_cond(self) -> PyTree:
        """The null condition, without a batch axis."""
        return null_condition(self.classes, self.conditions)

    @property
    def length(self) -> int:
        """The number of tokens."""
        return prod(self.shape)

    @property
    def start_token(self) -> int:
        """The causal net's input before the first token; `vocab` is the mask."""
        return self.vocab + 1

    def setup(self) -> None:
        self.tokens = nn.Embed(self.vocab + 2, self.width, dtype=self.dtype)
        self.positions = Places(self.shape, self.width, self.dtype)
        if self.causal:
            self.targets = Places(self.shape, self.width, self.dtype)
        self.embedding = Embedding(self.width, self.classes, self.dtype)
        block = remat_block(Block, self.remat, static=(4,))
        perturbed = [i in self.perturbed for i in range(self.depth)]
        kernel = self.attention_kernel
        self.blocks = [block(self.heads, self.dropout, self.dtype, alone, kernel) for alone in perturbed]
        self.shown = nn.Dense(self.width, dtype=self.dtype, dot_general=dense_dot_general)
        self.norm = nn.LayerNorm(dtype=self.dtype)
        self.logits = nn.Dense(self.vocab, dtype=self.dtype, dot_general=dense_float32)

    def __call__(
        self,
        x: Tokens,
        level: Float[Array, "_ _"],
        cond: PyTree = None,
        keys: Keys | None = None,
        rank: Float[Array, "b n"] | None = None,
        added: Sequence[Array] | None = None,
        inside: bool = False,
    ) -> Logits | list[Array]:
        """The logits, or with `inside` the states h after each block; `added` is added to these (`nets.control`)."""
        self._check(x, rank)
        encoded = self._encode_conditions(cond, len(x))
        if not self.causal:
            h = self.tokens(x) + self.positions(jnp.arange(self.length))[None]
            embedding = self._embed(levels_of_tokens(x, level), cond, encoded)
            states = self._run_blocks(self._add_channels(h, encoded, None), embedding, keys, encoded, added)
            if inside:
                return states
            return self._to_logits(states[-1] if added is None else states[-1] + added[-1])
        order = jnp.argsort(jnp.zeros(x.shape) if rank is None else rank, axis=1)
        first = jnp.zeros((len(x), 1), order.dtype)
        tokens = jnp.concatenate([first + self.start_token, jnp.take_along_axis(x, order[:, :-1], axis=1)], axis=1)
        h = self._inputs(tokens, jnp.concatenate([first, order[:, :-1]], axis=1), order)
        embedding = self._embed(jnp.zeros(len(x)), cond, encoded)
        out = self._to_logits(self._run_blocks(self._add_channels(h, encoded, order), embedding, keys, encoded)[-1])
        return jnp.take_along_axis(out, jnp.argsort(order, axis=1)[:, :, None], axis=1)

    def decode_step(
        self,
        token: Int[Array, " b"],
        here: Int[Array, " b"],
        there: Int[Array, " b"],
        cond: PyTree,
        caches: Caches,
    ) -> tuple[Float[Array, "b vocab"], Caches]:
        """One step of the causal net: the logits for position `there`, and the caches with this input appended.

        `token`, at position `here`, is the one revealed last (`start_token` where none is); the caches hold all
        before it.
        """
        encoded = self._encode_conditions(cond, len(token))
        target = there[:, None]
        h = self._add_channels(self._inputs(token[:, None], here[:, None], target), encoded, target)
        embedding = self._embed(jnp.zeros(len(token)), cond, encoded)
        new_caches = []
        for block, cache in zip(self.blocks, caches, strict=True):
            h, cache = block(h, embedding, None, False, cache, encoded.tokens, encoded.token_mask)
            new_caches.append(cache)
        return self._to_logits(h)[:, 0], tuple(new_caches)

    def init_cache(self, batch: int) -> Caches:
        """The caches before the first call of `decode_step`."""
        nothing = jnp.zeros((batch, self.length, self.heads, self.width // self.heads), self.dtype)
        return (Cache(nothing, nothing, jnp.zeros((), jnp.int32)),) * self.depth

    def _inputs(self, tokens: Tokens, here: Tokens, there: Tokens) -> Float[Array, "b n width"]:
        """The causal net's embedding of the token before, its position, and the position to predict."""
        position = jnp.where((tokens == self.start_token)[:, :, None], 0, self.positions(here))
        return self.tokens(tokens) + position + self.targets(there)

    def _encode_conditions(self, cond: PyTree, batch: int) -> EncoderOutputs:
        return encode_conditions(self.conditions, cond, batch, self.width, self.dtype)

    def _embed(self, level: Float[Array, "b *n"], cond: PyTree, encoded: EncoderOutputs) -> Float[Array, "b *n e"]:
        return self.embedding(level, extract_label(self.conditions, self.classes, cond), encoded.vector)

    def _add_channels(
        self, h: Float[Array, "b n width"], encoded: EncoderOutputs, places: Int[Array, "b n"] | None
    ) -> Float[Array, "b n width"]:
        """h with the condition's channels of each token added, or of those at these places."""
        channels = per_token(encoded.channels, self.shape)
        if channels is None:
            return h
        return h + self.shown(channels if places is None else jnp.take_along_axis(channels, places[:, :, None], axis=1))

    def _run_blocks(
        self,
        h: Float[Array, "b n width"],
        embedding: Float[Array, "b *n e"],
        keys: Keys | None,
        encoded: EncoderOutputs,
        added: Sequence[Array] | None = None,
    ) -> list[Array]:
        """The states h after each block; before the next one, its entry of `added` is added."""
        states = []
        for i, block in enumerate(self.blocks):
            h, _ = block(h, embedding, keys, self.causal, None, encoded.tokens, encoded.token_mask)
            states.append(h)
            h = h if added is None else h + added[i]
        return states

    def _to_logits(self, h: Float[Array, "b n width"]) -> Logits:
        return self.logits(self.norm(h)).astype(jnp.float32)

    def _check(self, x: Tokens, rank: Array | None) -> None:
        if x.shape[1] != self.length:
            raise UserError(f"Transformer: built for shape {self.shape}, {self.length} tokens, got {x.shape[1]}")
        if self.causal and rank is None and not self.is_initializing():
            raise UserError(
                "Transformer: a causal net needs the ranks of the positions; train it with loss.causal, and sample "
                "with an order of width 0"
            )
        if rank is not None and not self.causal:
            raise UserError(
                "Transformer: with causal=False it attends to every token, and takes no rank; train it "
                "with loss.bound or loss.regression, or build it with causal=True"
            )
