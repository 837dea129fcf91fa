"""Pictures that are parts of a condition, such as sketches that a source stores beside its images."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from diffjax.data.splits import Feature
from diffjax.errors import UserError
from diffjax.utils.image_io import decode_file, read_header

OpenPicture = Callable[[int], tuple[Path | io.BytesIO, str]]  # row -> encoded picture, what to call it in a message


class PictureColumn(NamedTuple):
    """The pictures of a column, all of one shape, each read when it is asked for."""

    open: OpenPicture
    shape: tuple[int, int, int]
    image_size: int | None

    @property
    def feature(self) -> Feature:
        """What the column holds."""
        return Feature(self.shape, np.dtype(np.uint8), picture=True)

    def reader(self, row: int) -> Callable[[], object]:
        """What reads the picture of a row."""
        return partial(_read, self, row)


def picture_column(open_picture: OpenPicture, image_size: int | None) -> PictureColumn:
    """A column of pictures with the size and channels of the first, or scaled to `image_size`."""
    header = read_header(*open_picture(0))
    height, width = (image_size, image_size) if image_size else header[:2]
    return PictureColumn(open_picture, (height, width, 1 if header.grey else 3), image_size)


def _read(column: PictureColumn, row: int) -> UInt8[np.ndarray, "h w c"]:
    file, name = column.open(row)
    picture = decode_file(file, column.shape[2], column.image_size, name)
    if picture.shape != column.shape:
        sizes = f"{picture.shape[1]}x{picture.shape[0]} pixels, and the first is {column.shape[1]}x{column.shape[0]}"
        raise UserError(f"{name}: {sizes}; give image_size to crop and scale all to one size")
    return picture
