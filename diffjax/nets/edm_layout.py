"""The layout of the U-Nets of EDM (Karras et al. 2022): their blocks by name, and the checks of their fields.

A net has a depth for each of its multipliers, and a depth is named by the side that images of `resolution` have there.
"""

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.nets.layers import check_fields


class BlockPlace(NamedTuple):
    """A block in a U-Net: its name, channels, and whether it attends, resamples, and has a skip joined to its input."""

    name: str
    features: int
    attends: bool = False
    resampling: Literal["none", "down", "up"] = "none"
    joins_skip: bool = False


def channels_by_side(resolution: int, width: int, multipliers: tuple[int, ...]) -> dict[int, int]:
    """The channels of each depth, from the top."""
    return {resolution >> depth: width * multiplier for depth, multiplier in enumerate(multipliers)}


def encoder_places(channels: Mapping[int, int], blocks: int, attention: Collection[int]) -> list[BlockPlace]:
    """The blocks on the way down, of channels by the side."""
    places = []
    for side, features in channels.items():
        if places:
            places.append(BlockPlace(f"enc.{side}x{side}_down", places[-1].features, resampling="down"))
        names = [f"enc.{side}x{side}_block{index}" for index in range(blocks)]
        places += [BlockPlace(name, features, attends=side in attention) for name in names]
    return places


def decoder_places(
    channels: Mapping[int, int], blocks: int, attention: Collection[int], only_last: bool
) -> list[BlockPlace]:
    """The blocks on the way up, at each depth one more than on the way down.

    `only_last`: of the blocks at a side with attention, the last alone attends.
    """
    places = []
    for side, features in reversed(list(channels.items())):
        name = f"dec.{side}x{side}"
        if places:
            places.append(BlockPlace(f"{name}_up", places[-1].features, resampling="up"))
        else:
            places += [BlockPlace(f"{name}_in0", features, attends=True), BlockPlace(f"{name}_in1", features)]
        for index in range(blocks + 1):
            attends = side in attention and (index == blocks or not only_last)
            places.append(BlockPlace(f"{name}_block{index}", features, attends, joins_skip=True))
    return places


def class_vectors(classes: int, cond: Int[Array, " b"] | None, batch: int) -> Float[Array, "batch classes"]:
    """One-hot vectors of the labels; zeros for the null label, which is one past the last class."""
    return jnp.zeros((batch, classes)) if cond is None else jax.nn.one_hot(cond, classes)


def check_layout(resolution: int, multipliers: tuple[int, ...], attention: tuple[int, ...], **sizes: int) -> None:
    """Raise UserError for a layout that no U-Net has; `sizes` are those of `check_fields`."""
    check_fields("float32", 0.0, depths=len(multipliers), resolution=resolution, **sizes)
    for multiplier in multipliers:
        check_fields("float32", 0.0, multiplier=multiplier)
    divisor = 2 ** (len(multipliers) - 1)
    if resolution % divisor:
        raise UserError(f"net: resolution must divide by {divisor} for {len(multipliers)} depths, got {resolution}")
    sides = [resolution >> depth for depth in range(len(multipliers))]
    if not {*attention} <= {*sides}:
        raise UserError(f"net: attention must name sides of depths, {', '.join(map(str, sides))}, got {attention[:9]}")


def check_inputs(x: Array, depths: int, classes: int, cond: object) -> None:
    """Raise UserError for an x of other axes, or sides that cannot be halved, and for a label that no class is for."""
    divisor = 2 ** (depths - 1)
    if x.ndim != 4 or any(side % divisor for side in x.shape[1:-1]):
        raise UserError(f"net: expected x of [b, h, w, c] with sides that divide by {divisor}, got {x.shape}")
    if cond is not None and not classes:
        raise UserError("net: it is unconditional, and cond is a label: build it with classes=, or give cond=None")
