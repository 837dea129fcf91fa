"""Equal blocks one after the other: traced once, and compiled once where they are scanned."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from diffjax.nets.attention import Tokens
from diffjax.nets.layers import rematerialized
from diffjax.protocols import Keys

LongerTokens = Float[Array, "b more width"]  # tokens that may have a prefix


class Inputs(NamedTuple):
    """What all blocks receive beside h: the embedding of level and label, and the tokens of a condition.

    And, not for a block, the tokens that `prepend` puts before h, with the embedding that these have.
    """

    embedding: Float[Array, "b *n e"]
    tokens: Float[Array, "b m _"] | None
    token_mask: Bool[Array, "b m"] | None
    prefix: Float[Array, "b k width"] | None = None
    prefix_embedding: Float[Array, "b e"] | None = None


class Variant(NamedTuple):
    """What a compiled block is told apart by: the module without a parent, its attention, and what is stored."""

    block: nn.Module
    causal: int
    remat: bool | str


@partial(jax.jit, static_argnums=0)
def run_block(variant: Variant, params: PyTree, h: Tokens, keys: Keys | None, inputs: Inputs) -> Tokens:
    """h after one block. Equal blocks are traced once, whatever net they are in."""

    def apply(params: PyTree, h: Tokens) -> Tokens:
        h, _ = variant.block.apply(
            {"params": params}, h, inputs.embedding, keys, variant.causal, None, inputs.tokens, inputs.token_mask
        )
        return h

    return rematerialized(apply, variant.remat)(params, h)


def prepend(h: Tokens, inputs: Inputs) -> tuple[LongerTokens, Inputs]:
    """h with the prefix before its tokens, and the inputs of blocks after that; the same where there is no prefix."""
    prefix, vector = inputs.prefix, inputs.prefix_embedding
    inputs = inputs._replace(prefix=None, prefix_embedding=None)
    if prefix is None or vector is None:
        return h, inputs
    if inputs.embedding.ndim == 3:
        vectors = jnp.broadcast_to(vector[:, None], (*prefix.shape[:2], vector.shape[-1]))
        inputs = inputs._replace(embedding=jnp.concatenate([vectors, inputs.embedding], axis=1))
    return jnp.concatenate([prefix, h], axis=1), inputs


def run_blocks(
    variants: Sequence[Variant],
    params: Sequence[PyTree],
    h: Tokens,
    keys: Keys | None,
    inputs: Inputs,
    added: Sequence[Array] | None,
    start: int = 0,
) -> list[LongerTokens]:
    """The states h after each block; before the next one, its entry of `added` is added.

    Block i draws from `keys` folded by i. A prefix is there from block `start` on.
    """
    states = []
    for i, (variant, block_params) in enumerate(zip(variants, params, strict=True)):
        h, inputs = prepend(h, inputs) if i == start else (h, inputs)
        h = run_block(variant, block_params, h, _block_keys(keys, i), inputs)
        states.append(h)
        h = h if added is None else h + added[i]
    return states


def scan_blocks(
    variant: Variant, stacked: PyTree, h: Tokens, keys: Keys | None, inputs: Inputs, start: int = 0
) -> LongerTokens:
    """h after all blocks, in a loop over their stacked parameters: the last state of `run_blocks`.

    A prefix that starts at a later block than the first makes it two loops.
    """
    blocks = stacked, jnp.arange(len(jax.tree.leaves(stacked)[0]))
    if inputs.prefix is None or start == 0:
        return _scan(variant, blocks, keys, *prepend(h, inputs))
    earlier = jax.tree.map(lambda leaf: leaf[:start], blocks)
    later = jax.tree.map(lambda leaf: leaf[start:], blocks)
    h = _scan(variant, earlier, keys, h, inputs)
    return _scan(variant, later, keys, *prepend(h, inputs))


def _scan(variant: Variant, blocks: tuple[PyTree, Array], keys: Keys | None, h: Tokens, inputs: Inputs) -> Tokens:
    """h after these blocks, stacked parameters and numbers."""

    def body(h: Tokens, block: tuple[PyTree, Array]) -> tuple[Tokens, None]:
        return run_block(variant, block[0], h, _block_keys(keys, block[1]), inputs), None

    return jax.lax.scan(body, h, blocks)[0]


def init_block(key: Key[Array, ""], variant: Variant, h: Tokens, inputs: Inputs) -> PyTree:
    """Parameters of one block."""
    block = variant.block
    return block.init(key, h, inputs.embedding, None, variant.causal, None, inputs.tokens, inputs.token_mask)["params"]


def init_stacked(key: Key[Array, ""], variant: Variant, depth: int, h: Tokens, inputs: Inputs) -> PyTree:
    """Parameters of `depth` blocks, each leaf with the blocks as its first axis."""
    return jax.vmap(lambda key: init_block(key, variant, h, inputs))(jax.random.split(key, depth))


def _block_keys(keys: Keys | None, index: int | Array) -> Keys | None:
    return None if keys is None else jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)
