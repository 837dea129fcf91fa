"""Arrays of npz and npy files of unknown origin: nothing is unpickled, and sizes are checked before reading."""

import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from diffjax.errors import UserError
from diffjax.utils.files import describe_error

MAX_MEMBERS = 64  # arrays of a file
MAX_BATCH_BYTES = 2**28


@runtime_checkable
class Readable(Protocol):
    """An open binary file, or one within an archive."""

    def read(self, size: int = -1, /) -> bytes: ...

    def tell(self) -> int: ...


class Header(NamedTuple):
    """Shape and type of an array that has not been read."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """In bytes."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def read_headers(path: str | Path) -> dict[str, Header]:
    """The header of every array of an npz file; raises UserError, naming the file, for any other file."""
    with _open_archive(path) as archive:
        result = {}
        for name in archive.namelist():
            with archive.open(name) as file:
                result[name.removesuffix(".npy")] = _header(file, archive.getinfo(name).file_size, path)
        return result


def read_npz(path: str | Path, names: Collection[str], max_bytes: int) -> dict[str, np.ndarray]:
    """The arrays of these names that an npz file has, each of at most `max_bytes` bytes.

    Raises UserError, naming the file, if it is no npz, is damaged, holds Python objects, or has a larger array.
    """
    result = {}
    for name in names:
        with _open_archive(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                continue
            with archive.open(f"{name}.npy") as file:
                header = _header(file, archive.getinfo(f"{name}.npy").file_size, path)
                if header.size > max_bytes:
                    problem = f"{name} is {header.shape}, over {max_bytes / 1e6:,.0f} megabytes"
                    raise UserError(f"{path}: {problem}; give a smaller one")
                result[name] = _read(file, header)
    return result


def read_npy(path: str | Path, max_bytes: int) -> np.ndarray:
    """The array of an npy file, of at most `max_bytes` bytes; raises UserError as `read_npz` does."""
    with _user_error_on_failure(path), Path(path).open("rb") as file:
        header = _header(file, Path(path).stat().st_size, path)
        if header.size > max_bytes:
            raise UserError(f"{path}: is {header.shape}, over {max_bytes / 1e6:,.0f} megabytes; give a smaller one")
        return _read(file, header)


def read_rows(path: str | Path, name: str, count: int) -> Iterator[np.ndarray]:
    """The rows of one array of an npz file, `count` at a time, or as many as `MAX_BATCH_BYTES` hold."""
    with _open_archive(path) as archive, archive.open(f"{name}.npy") as file:
        header = _header(file, archive.getinfo(f"{name}.npy").file_size, path)
        count = max(1, min(count, MAX_BATCH_BYTES * header.shape[0] // max(header.size, 1)))
        for start in range(0, header.shape[0], count):
            yield _read(file, header._replace(shape=(min(count, header.shape[0] - start), *header.shape[1:])))


def _header(file: Readable, length: int, path: str | Path) -> Header:
    """Reads an array's header, and leaves the file at the array's first byte."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    header = Header(shape, dtype)
    if dtype.hasobject or dtype.kind not in "biufU":
        raise UserError(f"{path}: holds {dtype}, not numbers; save plain arrays")
    if fortran and len(shape) > 1:
        raise UserError(f"{path}: its arrays are column by column; save them with np.ascontiguousarray")
    if min(shape, default=0) < 0 or header.size != length - file.tell():
        raise UserError(f"{path}: {length:,} bytes are no array of {shape} {dtype}; fetch or make it again")
    return header


def _read(file: Readable, header: Header) -> np.ndarray:
    data = bytearray(header.size)
    view = memoryview(data)
    at = 0
    while at < len(data):
        count = file.read(min(2**24, len(data) - at))
        if not count:
            raise EOFError("it ends too early")
        view[at : at + len(count)] = count
        at += len(count)
    if header.dtype.itemsize == 0:  # an empty text
        return np.zeros(header.shape, header.dtype)
    return np.frombuffer(data, header.dtype).reshape(header.shape)


@contextmanager
def _open_archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    with _user_error_on_failure(path), zipfile.ZipFile(path) as archive:
        if len(archive.namelist()) > MAX_MEMBERS:
            raise UserError(f"{path}: holds over {MAX_MEMBERS} files; give an npz with few arrays")
        yield archive


@contextmanager
def _user_error_on_failure(path: str | Path) -> Iterator[None]:
    """Turns any error of reading into one UserError that names the file."""
    try:
        if not Path(path).is_file():  # a pipe or a device would be read for ever
            problem = "not a file" if Path(path).exists() else "no such file"
            raise UserError(f"{path}: {problem}; give an npz or npy file of arrays")
        yield
    except UserError:
        raise
    except Exception as error:  # damage leads zipfile, zlib and NumPy to errors of any kind
        problem = describe_error(error)[:200]
        raise UserError(f"{path}: cannot be read as arrays ({problem}); fetch or make it again") from None
