"""Files of decoded pictures: a table of what is in them, then the pixels; whole, or not read at all."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int64, Shaped, UInt8, UInt64

from diffjax.errors import UserError
from diffjax.utils.file_regions import close_all, read_region
from diffjax.utils.files import write_atomically

ROW = np.dtype(
    [
        *(("key", np.uint64, 2), ("offset", np.int64)),  # of a picture; the place of its pixels, in bytes
        *(("height", np.int32), ("width", np.int32), ("channels", np.int32), ("checksum", np.uint32)),  # CRC-32
    ]
)
Rows = Shaped[np.ndarray, " _"]  # of `ROW`
Pixels = UInt8[np.ndarray, "_ _ _"]

_MAGIC = b"diffjax decoded pictures, 1\n"
_COUNT = np.dtype([("count", np.uint64), ("checksum", np.uint32)])  # rows, and the CRC-32 of their table


@dataclass(frozen=True, eq=False)
class DecodedPictures:
    """Where the pictures of records lie: in `files[numbers[record]]`, by `rows[record]`; −1 where they are not stored.

    They are `whole`, or as they are in training.
    """

    files: Sequence[Path]
    numbers: Int64[np.ndarray, " n"]
    rows: Rows
    whole: bool

    def load(self, record: int) -> Pixels | None:
        """The picture of a record; None where it is not stored, or was damaged or deleted since."""
        number = int(self.numbers[record])
        if number < 0:
            return None
        return load_row(self.files[number], self.rows[record])


def write_chunk(path: Path, keys: UInt64[np.ndarray, "n 2"], pictures: Sequence[Pixels]) -> Rows:
    """Write pictures by their keys, under another name first; the table. Raises `UserError` where there is no room."""
    rows = np.zeros(len(keys), ROW)
    rows["key"] = keys
    sizes = [picture.nbytes for picture in pictures]
    rows["offset"] = len(_MAGIC) + _COUNT.itemsize + rows.nbytes + np.cumsum([0, *sizes])[:-1]
    for axis, name in enumerate(("height", "width", "channels")):
        rows[name] = [picture.shape[axis] for picture in pictures]
    rows["checksum"] = [zlib.crc32(np.ascontiguousarray(picture).data) for picture in pictures]
    write_atomically(path, partial(_write, rows, pictures))
    close_all()  # also the file that was there before
    return rows


def read_chunk(path: Path) -> Rows | None:
    """The table of a file; None where there is none, or one that is cut off or damaged."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            header = np.frombuffer(file.read(_COUNT.itemsize), _COUNT)[0]
            table = file.read(int(header["count"]) * ROW.itemsize)
        rows = np.frombuffer(table, ROW)
        end = max((_end(row) for row in rows[-1:]), default=0)
        complete = len(rows) == header["count"] and zlib.crc32(table) == header["checksum"]
        return rows if complete and path.stat().st_size >= end else None
    except (OSError, ValueError, IndexError, OverflowError, MemoryError):
        return None


def load_row(path: Path, row: np.void) -> Pixels | None:
    """The picture of a row of a file; None where that is gone, or damaged."""
    try:
        data = read_region(path, int(row["offset"]), _picture_bytes(row))
    except UserError:
        return None
    if zlib.crc32(data) != row["checksum"]:
        return None
    return np.frombuffer(data, np.uint8).reshape(row["height"], row["width"], row["channels"])


def _picture_bytes(row: np.void) -> int:
    return int(row["height"]) * int(row["width"]) * int(row["channels"])


def _end(row: np.void) -> int:
    return int(row["offset"]) + _picture_bytes(row)


def _write(rows: Rows, pictures: Sequence[Pixels], file: BinaryIO) -> None:
    table = rows.tobytes()
    file.write(_MAGIC + np.array([(len(rows), zlib.crc32(table))], _COUNT).tobytes() + table)
    for picture in pictures:
        file.write(np.ascontiguousarray(picture).data)
