"""How a picture file is decoded, with little to send to another process."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from diffjax.data.picture_index import file_status
from diffjax.errors import UserError
from diffjax.utils.image_fit import Colour, Place
from diffjax.utils.image_io import decode_file


class PathTable(NamedTuple):
    """Relative paths as one text, and where each ends: paths as objects take ten times the memory, and time to send."""

    text: bytes
    ends: Integer[np.ndarray, " n"]

    def path(self, number: int) -> str:
        """The path of that number."""
        start = self.ends[number - 1] if number else 0
        return self.text[start : self.ends[number]].decode("utf-8", "surrogateescape")


def path_table(files: Sequence[Path]) -> PathTable:
    """The table of these paths."""
    texts = [str(file).encode("utf-8", "surrogateescape") for file in files]
    return PathTable(b"".join(texts), np.cumsum([len(text) for text in texts], dtype=np.int64))


class PictureReader(NamedTuple):
    """Files below `root`, the size and time of change that each had when the set was opened, and how they are read."""

    root: str
    paths: PathTable
    statuses: Integer[np.ndarray, "n 2"]
    channels: int
    background: Colour

    def stamp(self, number: int) -> bytes:
        """What identifies a file as it was when the set was opened."""
        size, modified = self.statuses[number].tolist()
        return f"{self.paths.path(number)}\0{size}\0{modified}".encode("utf-8", "surrogateescape")

    def decode(self, number: int, place: Place | None) -> UInt8[np.ndarray, "h w c"]:
        """The picture of a file, brought to a size. Raises UserError for a file that has changed since the start."""
        path = Path(self.root) / self.paths.path(number)
        if file_status(path) != tuple(self.statuses[number].tolist()):
            problem = "was changed" if path.exists() else "was deleted"
            raise UserError(f"{path}: {problem} since the set was opened; start again")
        return decode_file(path, self.channels, place, background=self.background)
