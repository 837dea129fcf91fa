"""Parts of conditions of digits: captions, and numbers that are measured of a bright stroke on dark."""

import numpy as np
from jaxtyping import Int32, UInt8

from diffjax.data import byte_tokenizer
from diffjax.data.condition_parts import Maker, Part, PartContext
from diffjax.errors import UserError
from examples.digits_text.attributes import ATTRIBUTES, measure
from examples.digits_text.captions import MAX_LENGTH, write_captions

__all__ = ["caption", "measured"]

_DIGITS = ((8, 8, 1), tuple(map(str, range(10))), 17)  # shape, classes and levels that the limits were measured on


def caption(length: int = MAX_LENGTH, choices: int = 8) -> Maker:
    """Sentences about a digit as `text`, bytes and padding [choices, length]; training draws one of them each time.

    The first says all there is to say, the others leave some of it out; a picture always has the same ones.
    """
    if length < MAX_LENGTH or choices < 1:
        raise UserError(f"caption: needs length of at least {MAX_LENGTH} and choices of 1, got {length} and {choices}")

    def make(context: PartContext) -> Part:
        check_described(context)

        def versions(image: UInt8[np.ndarray, "h w 1"], label: int) -> Int32[np.ndarray, "_ _"]:
            return byte_tokenizer.encode(write_captions(image, label, context.levels, choices), length)

        return Part("text", (length,), np.int32, versions, choices, byte_tokenizer.VOCAB)

    return make


def measured(name: str) -> Maker:
    """An attribute of a bright stroke on dark: weight, slant, width or position."""
    if name not in ATTRIBUTES:
        raise UserError(f"measured: unknown {name!r}; choose from {', '.join(ATTRIBUTES)}")

    def make(context: PartContext) -> Part:
        channels = context.shape[2]
        if channels != 1:
            raise UserError(f"measured: strokes are grey, and these pictures have {channels} channels; leave it out")
        return Part(name, (), np.float32, lambda image, label: measure(image[None], context.levels)[name][0])

    return make


def check_described(context: PartContext) -> None:
    """Raise UserError for pictures that the words of the captions do not describe."""
    if (context.shape, context.class_names, context.levels) != _DIGITS:
        problem = "the words of captions were measured on digits of 8x8 pixels in 17 levels"
        raise UserError(f"{problem}; for another set store texts of your own, and use feature('name')")
