"""Pictures that are parts of a condition, such as sketches that a source stores beside its images."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from diffjax.data.examples import Feature
from diffjax.data.framing import Framing
from diffjax.errors import UserError
from diffjax.utils.image_fit import Place, Placement, Size, largest_part
from diffjax.utils.image_io import decode_file, format_size, place_pixels, read_header

Pixels = UInt8[np.ndarray, "h w c"]
OpenPicture = Callable[[int], tuple[Path | io.BytesIO, str]]  # row -> encoded picture, what to call it in a message


class PictureColumn(NamedTuple):
    """The pictures of a column, each read when it is asked for: `read(row, place)`.

    They are `framed` as their images are, with the same draw; else they keep the size that all have.
    """

    read: Callable[[int, Place], Pixels]
    shape: tuple[int, int, int]
    framed: bool

    @property
    def feature(self) -> Feature:
        """What the column holds."""
        return Feature(self.shape, np.dtype(np.uint8), picture=True)

    def reader(self, row: int, place: Place | None) -> Callable[[], object]:
        """What reads the picture of a row, in the place of its image."""
        keep = partial(_keep, (self.shape[0], self.shape[1]))
        return partial(self.read, row, place if self.framed and place is not None else keep)


def picture_column(open_picture: OpenPicture, framing: Framing) -> PictureColumn:
    """A column of encoded pictures, with the channels of the first."""
    header = read_header(*open_picture(0))
    channels = 1 if header.grey else 3
    framed = framing.fit is not None
    height, width = framing.size if framed else header[:2]
    return PictureColumn(partial(_decode, open_picture, channels), (height, width, channels), framed)


def array_column(pictures: UInt8[np.ndarray, "n h w c"], framing: Framing) -> PictureColumn:
    """A column of pixels."""
    height, width = framing.size if framing.fit is not None else pictures.shape[1:3]
    shape = (height, width, pictures.shape[3])
    return PictureColumn(partial(_take, pictures), shape, framing.fit is not None)


def _decode(open_picture: OpenPicture, channels: int, row: int, place: Place) -> Pixels:
    file, name = open_picture(row)
    return decode_file(file, channels, place, name)


def _take(pictures: UInt8[np.ndarray, "n _ _ c"], row: int, place: Place) -> UInt8[np.ndarray, "h w c"]:
    return place_pixels(np.array(pictures[row]), place, f"picture {row}")


def _keep(size: Size, height: int, width: int, name: str) -> Placement:
    """The whole picture. Raises `UserError` for one of another size than the first."""
    if (height, width) != size:
        sizes = f"{format_size(height, width)}, and the first is {format_size(*size)}"
        raise UserError(f"{name}: {sizes}; set data.image_size, to which all are brought")
    return largest_part(height, width, size)
