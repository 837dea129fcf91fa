"""The layout that diffusers' U-Nets share: the embedding of the level, and the ways down and up by the names of blocks.

The functions make modules of the net that calls them. Depth 0 is full resolution; the sides are halved after each depth
but the last.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.errors import UserError
from diffjax.nets.diffusers_blocks import State, Vector, convolution, double_sides
from diffjax.nets.layers import check_fields
from diffjax.nets.sinusoids import published_sinusoids

EMBEDDING_FACTOR = 4  # the width of the level's embedding over that of the first depth

Block = Callable[[State, str, int, int], State]
"""`(h, place, i, depth) -> h`: block i of a place such as `down_blocks.0`, with the width of a depth."""


def check_layout(widths: tuple[int, ...], blocks: int, groups: int, attention: tuple[int, ...]) -> None:
    """Raise UserError for widths, blocks of a depth, groups or depths with attention that no such U-Net has."""
    check_fields("float32", 0.0, depths=len(widths), blocks=blocks, groups=groups)
    for width in widths:
        check_fields("float32", 0.0, width=width)
    if not {*attention} <= {*range(len(widths))}:
        raise UserError(f"net: down_attention and up_attention must name depths, of 0 … {len(widths) - 1}")
    if any(width % groups for width in widths):
        raise UserError(f"net: groups must divide each of widths, got {groups} of {widths}")


def check_embedding(width: int, epsilon: float, frequency_shift: int) -> None:
    """Raise UserError for a width that has no sinusoids, and for an epsilon or a shift out of range."""
    if not 0 < epsilon < 1:
        raise UserError(f"net: epsilon must be in (0, 1), got {epsilon}")
    if frequency_shift not in (0, 1) or width % 2 or width < 4:
        raise UserError("net: frequency_shift must be 0 or 1, and the first of widths even and at least 4")


def check_sides(x: Array, depths: int) -> None:
    """Raise UserError for what is no batch of images whose sides can be halved between these depths."""
    divisor = 2 ** (depths - 1)
    if x.ndim != 4 or any(side % divisor for side in x.shape[1:-1]):
        raise UserError(f"net: expected images [b, h, w, c] of sides that divide by {divisor}, got {x.shape}")


def embed_level(level: Float[Array, " b"], width: int, shift: int, sin_first: bool) -> Vector:
    """MLP(sinusoids(level)), for a first depth of this width."""
    waves = published_sinusoids(level, width, shift=shift, sin_first=sin_first)
    hidden = nn.Dense(EMBEDDING_FACTOR * width, name="time_embedding.linear_1")(waves)
    return nn.Dense(EMBEDDING_FACTOR * width, name="time_embedding.linear_2")(nn.silu(hidden))


def go_down(h: State, depths: int, blocks: int, block: Block, corner_padding: bool = False) -> list[State]:
    """The states along the way, of which the way up takes the last first.

    `corner_padding`: before the sides are halved, zeros are added at the bottom and right alone, not on all sides.
    """
    padding = ((0, 1),) * 2 if corner_padding else ((1, 1),) * 2
    states = [h]
    for depth in range(depths):
        place = f"down_blocks.{depth}"
        for i in range(blocks):
            h = block(h, place, i, depth)
            states.append(h)
        if depth < depths - 1:
            h = nn.Conv(h.shape[-1], (3, 3), strides=2, padding=padding, name=f"{place}.downsamplers.0.conv")(h)
            states.append(h)
    return states


def go_up(h: State, states: list[State], depths: int, blocks: int, block: Block) -> State:
    """The state at full resolution; each block receives a state of the way down beside that of the block before."""
    states = list(states)
    for depth in reversed(range(depths)):
        place = f"up_blocks.{depths - 1 - depth}"
        for i in range(blocks + 1):
            h = block(jnp.concatenate([h, states.pop()], axis=-1), place, i, depth)
        if depth:
            h = convolution(h.shape[-1], f"{place}.upsamplers.0.conv")(double_sides(h))
    return h
