"""What a net hears of a condition: what the encoders of its parts say, brought together and fitted to x."""

import functools
from math import isfinite, prod
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from diffjax.conditions import LABEL
from diffjax.errors import UserError
from diffjax.nets.attention import check_heads
from diffjax.nets.condition_encoders import Category, Embedded, Number, Picture, Text, Told
from diffjax.nets.layers import check_fields
from diffjax.protocols import Given

MOST_CLASSES = 2**20
ENCODERS = (Category, Number, Text, Embedded, Picture)


def check(conditions: tuple[Any, ...], classes: int) -> None:
    """Raise UserError for classes or encoders that no net has, and for two encoders of one part."""
    if not 0 <= classes <= MOST_CLASSES:
        raise UserError(f"net: classes must be 0 (none) or more, at most {MOST_CLASSES:,}, got {classes}")
    parts = [getattr(each, "part", None) for each in conditions]
    if not all(isinstance(each, ENCODERS) for each in conditions) or len({*parts, LABEL}) <= len(parts):
        raise UserError(
            f"net: conditions must be encoders ({', '.join(kind.__name__ for kind in ENCODERS)}), each of another part "
            f"and none of {LABEL!r}, which is classes=; got {parts!r:.200}"
        )
    for each in conditions:
        if not 0 <= each.drop <= 1:
            raise UserError(f"net: drop of {each.part!r} must be a rate in [0, 1], got {each.drop}")
        if isinstance(each, Number) and not (isfinite(each.spread) and each.spread > 0 and isfinite(each.center)):
            told = f"center {each.center} and spread {each.spread}"
            raise UserError(f"net: {each.part!r} needs a finite center and a finite spread above 0, got {told}")
        if not isinstance(each, Text):
            continue
        check_fields("float32", 0.0, width=each.width, depth=each.depth, heads=each.heads, table=each.table)
        check_heads(each.width, each.heads)
        if each.table.bit_count() != 1:
            raise UserError(f"net: table of {each.part!r} must be a power of two, got {each.table}")


def null_of(classes: int, conditions: tuple[Any, ...]) -> PyTree:
    """The condition that says nothing, without a batch: of parts, or a label, one past the last class, or None."""
    label = jnp.asarray(classes, jnp.int32) if classes else None
    if not conditions:
        return label
    return ({} if label is None else {LABEL: label}) | {each.part: _nothing(each) for each in conditions}


def label_of(conditions: tuple[Any, ...], classes: int, cond: PyTree) -> Int[Array, " b"] | None:
    """The label in a condition, or that is all of it. Raises UserError for a part that the net does not know."""
    if not isinstance(cond, dict):
        return cond
    known = [*([LABEL] if classes else []), *(each.part for each in conditions)]
    if not {*cond} <= {*known}:
        raise UserError(
            f"this net knows {' and '.join(known) or 'no condition'}, and was given {', '.join(cond)}: build it with "
            "conditions= of those, or leave them out"
        )
    return cond.get(LABEL)


def heard(conditions: tuple[Any, ...], cond: PyTree, batch: int, features: int, dtype: Any) -> Told:
    """What the encoders, modules of the net that calls, say of a condition: vectors added, tokens and channels joined.

    A part that is left out is not present.
    """
    every = [each(_given(each, cond, batch), features, dtype) for each in conditions]
    vectors = [one.vector for one in every if one.vector is not None]
    pictures = [one.channels for one in every if one.channels is not None]
    tokens = [one.tokens for one in every if one.tokens is not None]
    seen = [one.seen for one in every if one.seen is not None]
    return Told(
        vector=functools.reduce(jnp.add, vectors) if vectors else None,
        tokens=jnp.concatenate(tokens, axis=1) if tokens else None,
        seen=jnp.concatenate(seen, axis=1) if seen else None,
        channels=_joined(pictures),
    )


def beside(channels: Float[Array, "b _ _ _"] | None, sides: tuple[int, ...]) -> Float[Array, "b h w _"] | None:
    """A picture of what was told, fitted to these sides: pixels repeated, or averaged. UserError where neither fits."""
    return None if channels is None else _sized(channels, sides)


def _sized(channels: Float[Array, "b _ _ _"], sides: tuple[int, ...]) -> Float[Array, "b h w _"]:
    if channels.shape[1:3] == sides[:2]:
        return channels
    b, h, w, c = channels.shape
    height, width = sides[:2]
    if height % h == 0 and width % w == 0:
        return jnp.repeat(jnp.repeat(channels, height // h, axis=1), width // w, axis=2)
    if h % height or w % width:
        raise UserError(f"a condition of {h}x{w} pixels does not fit x of {height}x{width}: neither divides the other")
    return channels.reshape(b, height, h // height, width, w // width, c).mean(axis=(2, 4))


def by_token(channels: Float[Array, "b _ _ _"] | None, shape: tuple[int, ...]) -> Float[Array, "b n _"] | None:
    """The same for tokens, an array of this shape in raster order: each sees its own pixel's channels."""
    fitted = beside(channels, shape)
    if fitted is None:
        return None
    each = fitted.reshape(len(fitted), -1, fitted.shape[-1])
    return jnp.repeat(each, prod(shape) // each.shape[1], axis=1)


def _nothing(condition: Any) -> Given:
    """The part that says nothing, without a batch."""
    kind = jnp.int32 if hasattr(condition, "vocab") else jnp.float32
    return Given(jnp.zeros(condition.shape, kind), jnp.zeros((), bool))


def _given(condition: Any, cond: PyTree, batch: int) -> Given:
    """The part of a condition that is this encoder's. Raises UserError where it has another shape."""
    if not isinstance(cond, dict) or condition.part not in cond:
        null = _nothing(condition)
        return Given(jnp.broadcast_to(null.value, (batch, *null.value.shape)), jnp.zeros(batch, bool))
    given = cond[condition.part]
    if not isinstance(given, Given) or given.value.shape[1:] != condition.shape:
        shape = given.value.shape[1:] if isinstance(given, Given) else f"a {type(given).__name__}"
        raise UserError(
            f"condition {condition.part!r}: expected Given(value, present), each value of shape {condition.shape}, got "
            f"{shape}"
        )
    return given


def _joined(pictures: list[Array]) -> Float[Array, "b h w _"] | None:
    """All pictures as channels of one, of the largest's sides."""
    if not pictures:
        return None
    largest = max((picture.shape[1:3] for picture in pictures), key=prod)
    return jnp.concatenate([_sized(picture, largest) for picture in pictures], axis=-1)
