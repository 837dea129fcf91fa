"""Files of `torch.save`, as a zip archive or in the form before torch 1.6: the objects that were saved."""

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diffjax.errors import UserError
from diffjax.published.safe_pickle import SafeUnpickler, StorageKind, unpickle
from diffjax.utils.file_regions import read_region

OLD_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the old form
OLD_PROTOCOL = 1001
HEAD_BYTES = 32  # that hold the first pickle
LOCAL_HEADER = struct.Struct("<26x2H")  # of a member of an archive: the lengths of its name and of what follows it


@dataclass
class Storage:
    """A flat array: the type of its numbers, how many it has, and `read(start, count)`."""

    dtype: np.dtype
    numel: int
    read: Callable[[int, int], np.ndarray]


def read_archive(path: Path) -> Any:
    """The object in an archive. Raises UserError for one that is damaged, compressed or of another program."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            root = next((name.removesuffix("data.pkl") for name in members if name.endswith("data.pkl")), None)
            if root is None:
                raise UserError(f"{path}: is an archive without data.pkl, which torch.save writes; use such a file")
            if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
                raise UserError(f"{path}: has its numbers in big-endian order; save it on another machine")
            data = archive.read(f"{root}data.pkl")
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: is no whole archive of torch.save ({error!s:.100}); download it again") from None

    def storage(pid: Any) -> Storage:
        dtype, key, numel, _ = _parse_id(path, pid)
        info = members.get(f"{root}data/{key}")
        if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size != numel * dtype.itemsize:
            raise UserError(f"{path}: has not the {numel:,} numbers of storage {key!r:.40}; download it again")
        return _storage_in_file(path, _data_offset(path, info), dtype, numel)

    return unpickle(SafeUnpickler(path, io.BytesIO(data), _refuse_storage(path), storage), path)


def read_pickle(path: Path) -> Any:
    """The object in a file of the old form, or in a pickled module. Raises UserError for what is neither."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if OLD_MAGIC.to_bytes(10, "little") in head:
            return _read_old_form(path, file, path)
        unpickler = SafeUnpickler(path, file, lambda data: _read_old_form(path, io.BytesIO(data)), _refuse_id(path))
        return unpickle(unpickler, path)


def _read_old_form(path: Path, file: BinaryIO, region: Path | None = None) -> Any:
    """Magic number, protocol, system, the object, the keys of its storages, and the numbers of each.

    They stay in the file `region`, or without one in memory.
    """
    storages: dict[str, Storage] = {}

    def storage(pid: Any) -> Storage:
        dtype, key, numel, view = _parse_id(path, pid)
        if view is not None:
            raise UserError(f"{path}: storage {key!r:.40} is a view of another; save it with a newer torch")
        return storages.setdefault(key, Storage(dtype, numel, _unread))

    def load() -> Any:
        return unpickle(SafeUnpickler(path, file, _refuse_storage(path), storage), path)

    if (load(), load()) != (OLD_MAGIC, OLD_PROTOCOL):
        raise UserError(f"{path}: is no file of torch.save; use a file of weights")
    load()  # the system that wrote it
    content = load()
    for key in load():
        numel = int.from_bytes(file.read(8), "little")
        if key not in storages or numel != storages[key].numel:
            raise UserError(f"{path}: has not the numbers of storage {key!r:.40}; download it again")
        storages[key].read = _numbers_at(path, file, region, storages[key].dtype, numel)
    return content


def _numbers_at(
    path: Path, file: BinaryIO, region: Path | None, dtype: np.dtype, numel: int
) -> Callable[[int, int], np.ndarray]:
    """Reads the numbers at the file's position, which is moved behind them."""
    size = numel * dtype.itemsize
    start = file.tell()
    if file.seek(0, io.SEEK_END) < start + size:
        raise UserError(f"{path}: ends before its numbers do; download it again")
    if region is not None:
        file.seek(start + size)
        return _storage_in_file(region, start, dtype, numel).read
    file.seek(start)
    values = np.frombuffer(file.read(size), dtype)
    return lambda first, count: values[first : first + count]


def _parse_id(path: Path, pid: Any) -> tuple[np.dtype, str, int, Any]:
    """The type, key, size and view of a storage's persistent id."""
    match pid:
        case ("storage", StorageKind(dtype), str(key), str(), int(numel), *view) if numel >= 0 and len(view) < 2:
            return dtype, key, numel, view[0] if view else None
    raise UserError(f"{path}: refers to {pid!r:.80}, which is no storage of numbers; save its state dict alone")


def _storage_in_file(path: Path, offset: int, dtype: np.dtype, numel: int) -> Storage:
    def read(start: int, count: int) -> np.ndarray:
        return np.frombuffer(read_region(path, offset + start * dtype.itemsize, count * dtype.itemsize), dtype)

    return Storage(dtype, numel, read)


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin: behind its own header, whose lengths may differ from the directory's."""
    name, extra = LOCAL_HEADER.unpack(read_region(path, info.header_offset, LOCAL_HEADER.size))
    return info.header_offset + LOCAL_HEADER.size + name + extra


def _refuse_storage(path: Path) -> Callable[[bytes], Any]:
    def refuse(data: bytes) -> Any:
        raise UserError(f"{path}: has storages within storages; save its state dict alone")

    return refuse


def _refuse_id(path: Path) -> Callable[[Any], Any]:
    def refuse(pid: Any) -> Any:
        raise UserError(f"{path}: refers to {pid!r:.80} beside itself; save its state dict alone")

    return refuse


def _unread(start: int, count: int) -> np.ndarray:
    raise UserError("a storage has no numbers: the file names it, and does not list it; download it again")
