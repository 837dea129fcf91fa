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
from diffjax.utils.image_io import read_image

NUMBERS = (Number, Category)  # encoders of what --number says
FAINT = 0.5  # of white: strokes are drawn brighter than that


def parts(net: Any, *, prompt: str | None, sketch: str | None, numbers: Sequence[str]) -> dict[str, Any]:
    """The parts that are asked for, each one value for all pictures; `numbers` are texts as `slant=0.5`.

    Raises UserError, naming the flag, for what the model was not trained on, or what it cannot read.
    """
    asked = {}
    if prompt is not None:
        asked |= said(net, prompt, "--prompt")
    if sketch is not None:
        drawn = _of(net, Picture, "sketch", "--sketch", "was not trained on sketches")
        asked[drawn.part] = strokes(Path(sketch), drawn.shape)
    for each in numbers:
        asked |= _number(net, each)
    return asked


def said(net: Any, prompt: str, flag: str) -> dict[str, Any]:
    """The part that is text, of a prompt."""
    encoder = _of(net, Text, None, flag, "was not trained on text")
    try:
        return {encoder.part: byte_tokenizer.encode([prompt], encoder.shape[0])[0]}
    except UserError as mistake:
        raise UserError(f"{flag}: {mistake}") from None


def strokes(path: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "h w 1"]:
    """A drawing, white on black, as the sketch of a model: 1 where there is a stroke.

    A drawing some whole number of times as large is made smaller, so that every stroke stays.
    """
    picture, (height, width) = _grey(path), shape[:2]
    across, rest = divmod(picture.shape[0], height)
    if rest or picture.shape != (across * height, across * width):
        raise UserError(
            f"--sketch {path}: expected {width}x{height} pixels, as the model was trained on, or so many times as much "
            f"each way, got {picture.shape[1]}x{picture.shape[0]}; scale it"
        )
    bright = picture.reshape(height, across, width, across).max(axis=(1, 3)) > FAINT * 255
    if not bright.any() or bright.all():
        told = "nothing is drawn" if not bright.any() else "all is white"
        raise UserError(f"--sketch {path}: {told}; draw strokes in white on black")
    return bright[..., None].astype(np.float32)


def _grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    """The pixels of a drawing. Raises UserError for one in colours."""
    picture = read_image(path)
    if picture.shape[2] == 3 and (picture != picture[..., :1]).any():
        raise UserError(f"--sketch {path}: has colours; give a grey picture, with strokes in white on black")
    return picture[..., 0]


def _number(net: Any, told: str) -> dict[str, Any]:
    """A part that is a number or a category, of a text such as slant=0.5."""
    name, found, value = told.partition("=")
    encoders = {each.part: each for each in net.conditions if isinstance(each, NUMBERS)}
    if name not in encoders:
        known = f"it knows {', '.join(encoders)}" if encoders else "it knows no numbers"
        raise UserError(f"--number {told}: this model was not trained on {name!r} ({known}); leave it out")
    whole = isinstance(encoders[name], Category)
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        number = float("nan")
    most = encoders[name].vocab if whole else float("inf")
    if not found or not isfinite(number) or (whole and not 0 <= number < most):
        kind = f"0 … {most - 1}" if whole else "a number"
        raise UserError(f"--number {told}: expected {name}={kind}")
    if encoders[name].shape:
        raise UserError(f"--number {told}: {name!r} is {encoders[name].shape} numbers; give them from Python")
    return {name: number}


def _of(net: Any, kind: type, part: str | None, flag: str, told: str) -> Any:
    """The net's encoder of that kind, and part."""
    conditions = getattr(net, "conditions", ())
    found = [each for each in conditions if isinstance(each, kind) and part in (None, each.part)]
    if not found:
        known = ", ".join(each.part for each in conditions)
        raise UserError(f"{flag}: this model {told} ({f'it knows {known}' if known else 'it has none'}); leave it out")
    return found[0]
