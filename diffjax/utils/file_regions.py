"""Parts of large files by offset and size, read without loading the rest; safe in threads and after a fork."""

import io
import os
from functools import lru_cache
from pathlib import Path

from diffjax.errors import UserError
from diffjax.utils.files import describe_error

MAX_OPEN = 64  # files that are kept open


class Region(io.RawIOBase):
    """A part of a file as a file of its own, which can be read and sought."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._path = path
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """The new position, at least 0."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The number of bytes read from the position on, 0 at the end."""
        count = min(len(buffer), max(0, self._size - self._at))
        data = read_region(self._path, self._offset + self._at, count) if count else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_region(path: Path, offset: int, size: int) -> io.BufferedReader:
    """A part of a file as a buffered file."""
    return io.BufferedReader(Region(path, offset, size))


def read_region(path: Path, offset: int, size: int) -> bytes:
    """The bytes of a part of a file. Raises `UserError` where the file is gone, or ends before."""
    try:
        file = _open(path)  # kept until it is read: another thread may have opened it too, or push it out
        data = os.pread(file.number, size, offset)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({describe_error(error)}); start again") from None
    if len(data) < size:
        raise UserError(f"{path}: ends at byte {offset + len(data):,}, and had {offset + size:,}; start again")
    return data


def close_all() -> None:
    """Close the files that are kept open, so that the next read opens what is there under their names now."""
    _open.cache_clear()


class _Descriptor:
    """An open file, closed once nothing reads it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if "number" in vars(self):
            os.close(self.number)


_open = lru_cache(MAX_OPEN)(_Descriptor)
