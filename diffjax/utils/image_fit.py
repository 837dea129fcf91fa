"""How a picture is brought to a size: which part of it is averaged over areas, and what lies around."""

from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

Size = tuple[int, int]  # height and width, in pixels
Colour = tuple[int, int, int]  # red, green, blue, 0 … 255


class Placement(NamedTuple):
    """The part `box` of a picture (left, top, right, bottom, in its pixels), averaged over areas to `size`.

    The result has the size `whole`, or is the part alone: then the part lies at `corner` (top, left) on `colour`.
    """

    box: tuple[float, float, float, float]
    size: Size
    whole: Size | None = None
    corner: tuple[int, int] = (0, 0)
    colour: Colour = (255, 255, 255)


Place = Callable[[int, int, str], Placement]  # of a picture of that height and width, which messages call so


def largest_part(height: int, width: int, size: Size) -> Placement:
    """The largest centred part of a picture that has the proportions of `size`, averaged to that size."""
    scale = min(width / size[1], height / size[0])
    across = min(scale * size[1], width)  # rounding may lead a hair beyond the picture
    down = min(scale * size[0], height)
    left = (width - across) / 2
    top = (height - down) / 2
    return Placement((left, top, min(left + across, width), min(top + down, height)), size)


def place_image(image: Image.Image, placement: Placement) -> Image.Image:
    """The image of a placement, in the image's own mode."""
    height, width = placement.size
    part = image.resize((width, height), Image.Resampling.BOX, box=placement.box)
    if placement.whole is None:
        return part
    top, left = placement.corner
    around = Image.new("RGB", (placement.whole[1], placement.whole[0]), placement.colour).convert(image.mode)
    around.paste(part, (left, top))
    return around
