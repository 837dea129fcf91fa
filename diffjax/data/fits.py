"""How a picture is brought to a size: the values of `data.fit`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from diffjax.errors import UserError
from diffjax.utils.image_fit import Colour, Placement, Size, largest_part
from diffjax.utils.image_io import parse_colour

__all__ = ["crop", "pad", "random_crop"]

Draw = tuple[float, float, float]  # of the uniform distribution on [0, 1): down, across, scale

_HELD_OUT_WORD = 0  # the seed of draws outside of training


@dataclass(frozen=True)
class Fit:
    """`place(size of the picture, size of the result, draw)` is the part that is used, and where it goes.

    `random`: it depends on the draw. `padded`: there may be a colour around the picture.
    """

    place: Callable[[Size, Size, Draw], Placement]
    random: bool = False
    padded: bool = False


def crop() -> Fit:
    """The largest centred part of the right proportions, averaged over areas to the size."""
    return Fit(_place_largest)


def pad(colour: str = "#ffffff") -> Fit:
    """The whole picture, averaged over areas to the largest size that fits, in the centre of this colour."""
    return Fit(partial(_place_padded, parse_colour(colour, "colour")), padded=True)


def random_crop(max_shrink: float = 1.0) -> Fit:
    """A random part of the right proportions, another one each time; pictures that are too small are scaled up first.

    With `max_shrink` 1 it has exactly as many pixels as the result; else up to `max_shrink` times as many each way, by
    a factor whose logarithm is uniform, and is averaged over areas. A large one, such as 100, gives parts of all sizes
    up to the largest. Raises `UserError` for a number below 1.
    """
    if max_shrink < 1:
        raise UserError(f"max_shrink: expected at least 1, which keeps the picture's own pixels, got {max_shrink:g}")
    return Fit(partial(_place_random, max_shrink), random=True)


def draw_numbers(word: int, number: int) -> Draw:
    """Three uniform numbers, a pure function of a seed of 32 bits and of a number below 2⁶⁴ (Philox4x64)."""
    down, across, scale = np.random.Philox(key=word, counter=number).random_raw(3).tolist()
    return (down >> 11) * 2.0**-53, (across >> 11) * 2.0**-53, (scale >> 11) * 2.0**-53


def held_out_draw(number: int) -> Draw:
    """The draw of an example outside of training: always the same."""
    return draw_numbers(_HELD_OUT_WORD, number)


def _place_largest(picture: Size, size: Size, draw: Draw) -> Placement:
    return largest_part(*picture, size)


def _place_padded(colour: Colour, picture: Size, size: Size, draw: Draw) -> Placement:
    scale = min(size[0] / picture[0], size[1] / picture[1])
    height, width = (max(1, round(scale * side)) for side in picture)
    corner = ((size[0] - height) // 2, (size[1] - width) // 2)
    return Placement((0, 0, picture[1], picture[0]), (height, width), size, corner, colour)


def _place_random(max_shrink: float, picture: Size, size: Size, draw: Draw) -> Placement:
    largest = min(picture[0] / size[0], picture[1] / size[1])
    shrink = min(largest, max(1.0, min(max_shrink, largest)) ** draw[2])
    top, bottom = _random_interval(picture[0], shrink, size[0], draw[0])
    left, right = _random_interval(picture[1], shrink, size[1], draw[1])
    return Placement((left, top, right, bottom), size)


def _random_interval(side: int, shrink: float, count: int, draw: float) -> tuple[float, float]:
    """Where a part of `shrink * count` pixels of a side begins and ends: between two pixels where `shrink` is 1."""
    room = side - shrink * count
    start = int(draw * (room + 1)) if shrink == 1 else max(0.0, draw * room)
    return start, min(start + shrink * count, side)  # rounding may lead a hair beyond the picture
