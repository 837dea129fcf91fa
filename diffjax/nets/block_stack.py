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


class Inputs(NamedTuple):
    """What all blocks receive beside h: the embedding of level and label, and the tokens of a condition."""

    embedding: Float[Array, "b *n e"]
    tokens: Float[Array, "b m _"] | None
    token_mask: Bool[Array, "b m"] | None


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


def run_blocks(
    variants: Sequence[Variant],
    params: Sequence[PyTree],
    h: Tokens,
    keys: Keys | None,
    inputs: Inputs,
    added: Sequence[Array] | None,
) -> list[Tokens]:
    """The states h after each block; before the next one, its entry of `added` is added.

    Block i draws from `keys` folded by i.
    """
    states = []
    for i, (variant, block_params) in enumerate(zip(variants, params, strict=True)):
        h = run_block(variant, block_params, h, _block_keys(keys, i), inputs)
        states.append(h)
        h = h if added is None else h + added[i]
    return states


def scan_blocks(variant: Variant, stacked: PyTree, h: Tokens, keys: Keys | None, inputs: Inputs) -> Tokens:
    """h after all blocks, in one loop over their stacked parameters: the last state of `run_blocks`."""

    def body(h: Tokens, block: tuple[PyTree, Array]) -> tuple[Tokens, None]:
        return run_block(variant, block[0], h, _block_keys(keys, block[1]), inputs), None

    depth = len(jax.tree.leaves(stacked)[0])
    h, _ = jax.lax.scan(body, h, (stacked, jnp.arange(depth)))
    return h


def init_block(key: Key[Array, ""], variant: Variant, h: Tokens, inputs: Inputs) -> PyTree:
    """Parameters of one block."""
    embedding, tokens, token_mask = inputs
    return variant.block.init(key, h, embedding, None, variant.causal, None, tokens, token_mask)["params"]


def init_stacked(key: Key[Array, ""], variant: Variant, depth: int, h: Tokens, inputs: Inputs) -> PyTree:
    """Parameters of `depth` blocks, each leaf with the blocks as its first axis."""
    return jax.vmap(lambda key: init_block(key, variant, h, inputs))(jax.random.split(key, depth))


def _block_keys(keys: Keys | None, index: int | Array) -> Keys | None:
    return None if keys is None else jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)
