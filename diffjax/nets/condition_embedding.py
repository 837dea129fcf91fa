"""The embedding of a condition: the outputs of the encoders of its parts, joined and resized to x."""

import functools
from math import isfinite, prod

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

from diffjax.conditions import LABEL
from diffjax.errors import UserError
from diffjax.nets.attention import check_heads
from diffjax.nets.condition_encoders import (
    Category,
    Embedded,
    Encoder,
    EncoderOutputs,
    Encoders,
    Number,
    Picture,
    Style,
    Text,
)
from diffjax.nets.layers import check_fields
from diffjax.protocols import ConditionPart

MAX_CLASSES = 2**20
ENCODERS = (Category, Number, Text, Embedded, Picture, Style)


def check_encoders(conditions: tuple[object, ...], classes: int) -> None:
    """Raise UserError for classes or encoders that no net has, and for two encoders of one part."""
    if not 0 <= classes <= MAX_CLASSES:
        raise UserError(f"net: classes must be 0 (none) or more, at most {MAX_CLASSES:,}, got {classes}")
    known = [encoder for encoder in conditions if isinstance(encoder, ENCODERS)]
    parts = [encoder.part for encoder in known]
    if len(known) < len(conditions) or len({*parts, LABEL}) <= len(parts):
        raise UserError(
            f"net: conditions must be encoders ({', '.join(kind.__name__ for kind in ENCODERS)}), each of another part "
            f"and none of {LABEL!r}, which is classes=; got {conditions!r:.200}"
        )
    for encoder in known:
        if not 0 <= encoder.drop <= 1:
            raise UserError(f"net: drop of {encoder.part!r} must be a rate in [0, 1], got {encoder.drop}")
        if isinstance(encoder, Number) and not (
            isfinite(encoder.spread) and encoder.spread > 0 and isfinite(encoder.center)
        ):
            values = f"center {encoder.center} and spread {encoder.spread}"
            raise UserError(f"net: {encoder.part!r} needs a finite center and a finite spread above 0, got {values}")
        if isinstance(encoder, Style):
            check_fields("float32", 0.0, width=encoder.width, code=encoder.code)
        if not isinstance(encoder, Text):
            continue
        check_fields("float32", 0.0, width=encoder.width, depth=encoder.depth, heads=encoder.heads, table=encoder.table)
        check_heads(encoder.width, encoder.heads)
        if encoder.table.bit_count() != 1:
            raise UserError(f"net: table of {encoder.part!r} must be a power of two, got {encoder.table}")


def null_condition(classes: int, conditions: Encoders) -> PyTree:
    """The null condition, without a batch axis: of parts, or a label, one past the last class, or None."""
    label = jnp.asarray(classes, jnp.int32) if classes else None
    if not conditions:
        return label
    return ({} if label is None else {LABEL: label}) | {encoder.part: _null_part(encoder) for encoder in conditions}


def extract_label(conditions: Encoders, classes: int, cond: PyTree) -> Int[Array, " b"] | None:
    """The label of a condition, which may be all of it. Raises UserError for a part without an encoder."""
    if not isinstance(cond, dict):
        return cond
    names = [*([LABEL] if classes else []), *(encoder.part for encoder in conditions)]
    if not {*cond} <= {*names}:
        raise UserError(
            f"this net has encoders of {' and '.join(names) or 'no part'}, and the condition has {', '.join(cond)}: "
            "build it with conditions= of those, or leave them out"
        )
    return cond.get(LABEL)


def encode_conditions(
    conditions: Encoders, cond: PyTree, batch: int, features: int, dtype: DTypeLike
) -> EncoderOutputs:
    """The outputs of the encoders, modules of the calling net: vectors added, tokens and channels concatenated.

    A part that the condition lacks is not present.
    """
    outputs = [encoder(select_part(encoder, cond, batch), features, dtype) for encoder in conditions]
    vectors = [output.vector for output in outputs if output.vector is not None]
    pictures = [output.channels for output in outputs if output.channels is not None]
    tokens = [output.tokens for output in outputs if output.tokens is not None]
    token_masks = [output.token_mask for output in outputs if output.token_mask is not None]
    return EncoderOutputs(
        vector=functools.reduce(jnp.add, vectors) if vectors else None,
        tokens=jnp.concatenate(tokens, axis=1) if tokens else None,
        token_mask=jnp.concatenate(token_masks, axis=1) if token_masks else None,
        channels=_join_pictures(pictures),
    )


def resize_to(channels: Float[Array, "b ... _"] | None, sides: tuple[int, ...]) -> Float[Array, "b ... _"] | None:
    """Channels resized to these sides, values repeated or averaged. Raises UserError where neither divides."""
    return None if channels is None else _resize(channels, sides)


def _resize(channels: Float[Array, "b ... _"], sides: tuple[int, ...]) -> Float[Array, "b ... _"]:
    b, *old_sides, c = channels.shape
    pairs = list(zip(old_sides, sides, strict=False))
    if len(old_sides) != len(sides) or any(new % old and old % new for old, new in pairs):
        problem = f"a condition of sides {tuple(old_sides)} does not fit x of {sides}: neither divides the other"
        raise UserError(problem)
    for axis, (old, new) in enumerate(pairs, start=1):
        if new > old:
            channels = jnp.repeat(channels, new // old, axis=axis)
    blocks = [max(1, old // new) for old, new in pairs]
    if max(blocks) == 1:
        return channels
    split = channels.reshape(b, *(size for new, block in zip(sides, blocks, strict=True) for size in (new, block)), c)
    return split.mean(axis=range(2, split.ndim - 1, 2))


def per_token(channels: Float[Array, "b ... _"] | None, shape: tuple[int, ...]) -> Float[Array, "b n _"] | None:
    """The channels of each token's pixel, for tokens of an array of this shape in raster order."""
    if channels is None:
        return None
    fitted = _resize(channels, shape[: channels.ndim - 2])
    pixels = fitted.reshape(len(fitted), -1, fitted.shape[-1])
    return jnp.repeat(pixels, prod(shape) // pixels.shape[1], axis=1)


def _null_part(condition: Encoder) -> ConditionPart:
    """The part that is not present, without a batch axis."""
    kind = jnp.int32 if isinstance(condition, Category | Text) else jnp.float32
    return ConditionPart(jnp.zeros(condition.shape, kind), jnp.zeros((), bool))


def select_part(condition: Encoder, cond: PyTree, batch: int) -> ConditionPart:
    """The encoder's part of a condition. Raises UserError where it has another shape."""
    if not isinstance(cond, dict) or condition.part not in cond:
        null = _null_part(condition)
        return ConditionPart(jnp.broadcast_to(null.value, (batch, *null.value.shape)), jnp.zeros(batch, bool))
    part = cond[condition.part]
    if not isinstance(part, ConditionPart) or part.value.shape[1:] != condition.shape:
        shape = part.value.shape[1:] if isinstance(part, ConditionPart) else f"a {type(part).__name__}"
        raise UserError(
            f"condition {condition.part!r}: expected ConditionPart(value, present), each value of shape "
            f"{condition.shape}, got {shape}"
        )
    return part


def _join_pictures(pictures: list[Array]) -> Float[Array, "b ... _"] | None:
    """All images as channels of one, with the sides of the largest."""
    if not pictures:
        return None
    largest = max((picture.shape[1:-1] for picture in pictures), key=prod)
    return jnp.concatenate([_resize(picture, largest) for picture in pictures], axis=-1)
