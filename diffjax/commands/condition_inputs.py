"""From what a user asks for, in words, drawings and numbers, to the parts of a condition that a net knows."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from diffjax.data import byte_tokenizer
from diffjax.errors import UserError
from diffjax.nets.condition_encoders import Category, Number, Picture, Text
from diffjax.traits import net_traits
from diffjax.utils.image_io import read_image

NUMBER_ENCODERS = (Number, Category)  # encoders of what --number says
MIN_BRIGHTNESS = 0.5  # of white: strokes are drawn brighter than that


def condition_parts(net: Any, *, prompt: str | None, sketch: str | None, numbers: Sequence[str]) -> dict[str, Any]:
    """The parts that are asked for, each one value for all pictures; `numbers` are texts as `slant=0.5`.

    Raises UserError, naming the flag, for what the model was not trained on, or what it cannot read.
    """
    values = {}
    if prompt is not None:
        values |= tokenize_prompt(net, prompt, "--prompt")
    if sketch is not None:
        encoder = _find_encoder(net, Picture, "sketch", "--sketch", "was not trained on sketches")
        values[encoder.part] = read_sketch(Path(sketch), encoder.shape)
    for text in numbers:
        values |= _parse_number(net, text)
    return values


def tokenize_prompt(net: Any, prompt: str, flag: str) -> dict[str, Any]:
    """The part that is text, of a prompt."""
    encoder = _find_encoder(net, Text, None, flag, "was not trained on text")
    try:
        return {encoder.part: byte_tokenizer.encode([prompt], encoder.shape[0])[0]}
    except UserError as mistake:
        raise UserError(f"{flag}: {mistake}") from None


def read_sketch(path: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "h w 1"]:
    """A drawing, white on black, as the sketch of a model: 1 where there is a stroke.

    A drawing some whole number of times as large is made smaller, so that every stroke stays.
    """
    picture, (height, width) = _read_grey(path), shape[:2]
    across, rest = divmod(picture.shape[0], height)
    if rest or picture.shape != (across * height, across * width):
        raise UserError(
            f"--sketch {path}: expected {width}x{height} pixels, as the model was trained on, or so many times as much "
            f"each way, got {picture.shape[1]}x{picture.shape[0]}; scale it"
        )
    bright = picture.reshape(height, across, width, across).max(axis=(1, 3)) > MIN_BRIGHTNESS * 255
    if not bright.any() or bright.all():
        problem = "nothing is drawn" if not bright.any() else "all is white"
        raise UserError(f"--sketch {path}: {problem}; draw strokes in white on black")
    return bright[..., None].astype(np.float32)


def _read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    """The pixels of a drawing. Raises UserError for one in colours."""
    picture = read_image(path)
    if picture.shape[2] == 3 and (picture != picture[..., :1]).any():
        raise UserError(f"--sketch {path}: has colours; give a grey picture, with strokes in white on black")
    return picture[..., 0]


def _parse_number(net: Any, text: str) -> dict[str, Any]:
    """A part that is a number or a category, of a text such as slant=0.5."""
    name, separator, value = text.partition("=")
    encoders = {encoder.part: encoder for encoder in net_traits(net).conditions if isinstance(encoder, NUMBER_ENCODERS)}
    if name not in encoders:
        known_names = f"it knows {', '.join(encoders)}" if encoders else "it knows no numbers"
        raise UserError(f"--number {text}: this model was not trained on {name!r} ({known_names}); leave it out")
    is_category = isinstance(encoders[name], Category)
    try:
        number = int(value) if is_category else float(value)
    except ValueError:
        number = float("nan")
    upper = encoders[name].vocab if is_category else float("inf")
    if not separator or not isfinite(number) or (is_category and not 0 <= number < upper):
        expected = f"0 … {upper - 1}" if is_category else "a number"
        raise UserError(f"--number {text}: expected {name}={expected}")
    if encoders[name].shape:
        raise UserError(f"--number {text}: {name!r} is {encoders[name].shape} numbers; give them from Python")
    return {name: number}


def _find_encoder(net: Any, kind: type, part: str | None, flag: str, problem: str) -> Any:
    """The net's encoder of that kind, and part."""
    conditions = net_traits(net).conditions
    encoders = [encoder for encoder in conditions if isinstance(encoder, kind) and part in (None, encoder.part)]
    if not encoders:
        known_parts = ", ".join(encoder.part for encoder in conditions)
        raise UserError(
            f"{flag}: this model {problem} ({f'it knows {known_parts}' if known_parts else 'it has none'}); leave it "
            "out"
        )
    return encoders[0]
