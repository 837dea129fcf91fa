"""Files of `torch.save`, as a zip archive or in the form before torch 1.6: the objects that were saved."""

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BufferedIOBase, BytesIO
from pathlib import Path

import numpy as np

from diffjax.errors import UserError
from diffjax.published.pickle_machine import Bytes
from diffjax.published.safe_pickle import StorageKind, unpickle
from diffjax.utils.file_regions import open_region, read_region

OLD_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the old form
OLD_PROTOCOL = 1001
HEAD_BYTES = 32  # that hold the first pickle
COUNT_BYTES = 8  # of the number of numbers, before those of a storage in the old form
MAX_FIELDS = 6  # of a storage's persistent id; the sixth, in the old form, is None or a view of another storage
LOCAL_HEADER = struct.Struct("<26x2H")  # of a member of an archive: the lengths of its name and of what follows it
OBJECT = "data.pkl"  # the member of an archive that has the pickle, in a folder beside the numbers
BYTE_ORDER = "byteorder"


@dataclass
class Storage:
    """A flat array in a file: the type of its numbers, how many it has, and where they begin."""

    path: Path
    dtype: np.dtype
    numel: int
    offset: int = 0

    def read(self, start: int, count: int) -> np.ndarray:
        """The numbers from `start` on."""
        size = self.dtype.itemsize
        return np.frombuffer(read_region(self.path, self.offset + start * size, count * size), self.dtype)


def read_archive(path: Path) -> object:
    """The object in an archive. Raises UserError for one of another program, and any error for a damaged one."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        root = next((name.removesuffix(OBJECT) for name in members if f"/{name}".endswith(f"/{OBJECT}")), None)
        if root is None:
            raise UserError(f"{path}: is an archive without {OBJECT}, which torch.save writes; use such a file")
        for name in {root + OBJECT, root + BYTE_ORDER} & members.keys():
            _member_offset(path, members[name])
        if root + BYTE_ORDER in members and archive.read(root + BYTE_ORDER) != b"little":
            raise UserError(f"{path}: has its numbers in big-endian order; save it on another machine")
        data = archive.read(root + OBJECT)

    def dereference(identity: object) -> Storage:
        key, storage = _parse_identity(path, identity)
        info = members.get(f"{root}data/{key}")
        if info is None or info.file_size != storage.numel * storage.dtype.itemsize:
            raise _without_numbers(path, key)
        storage.offset = _member_offset(path, info)
        return storage

    return unpickle(path, BytesIO(data), _refuse(path, "storages within storages"), dereference)


def read_pickle(path: Path) -> object:
    """The object in a file of the old form, or in a pickled module. Raises as `read_archive` does."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if OLD_MAGIC.to_bytes(10, "little") in head:
            return _read_old_form(path, file, 0)

        @cache  # a pickle may name the same bytes any number of times
        def load_storage(place: object) -> object:
            if not isinstance(place, Bytes):
                raise UserError(f"{path}: has a storage that is no string of bytes; save its state dict alone")
            with open_region(path, place.offset, place.size) as inner:
                return _read_old_form(path, inner, place.offset)

        return unpickle(path, file, load_storage, _refuse(path, "an object beside itself"))


def _read_old_form(path: Path, file: BufferedIOBase, offset: int) -> object:
    """Magic number, protocol, system, the object, the keys of its storages, and the numbers of each.

    `file` is the part of the file at `path` that begins at `offset`.
    """
    storages: dict[str, Storage] = {}

    def dereference(identity: object) -> Storage:
        key, storage = _parse_identity(path, identity)
        return storages.setdefault(key, storage)

    def load() -> object:
        return unpickle(path, file, _refuse(path, "storages within storages"), dereference)

    if (load(), load()) != (OLD_MAGIC, OLD_PROTOCOL):
        raise UserError(f"{path}: is no file of torch.save; use a file of weights")
    load()  # the system that wrote it
    content, keys = load(), load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != storages.keys():
        raise UserError(f"{path}: lists other storages than its tensors have; download it again")
    for key in keys:
        storage = storages[key]
        if int.from_bytes(file.read(COUNT_BYTES), "little") != storage.numel:
            raise _without_numbers(path, key)
        size = storage.numel * storage.dtype.itemsize
        storage.offset = offset + file.tell()
        _check_span(path, storage.offset, storage.offset + size)
        file.seek(size, 1)
    return content


def _parse_identity(path: Path, identity: object) -> tuple[str, Storage]:
    """The key and the storage, not yet with its offset, that a persistent id describes."""
    fields = identity if isinstance(identity, tuple) and len(identity) <= MAX_FIELDS else ()
    match fields:
        case ("storage", StorageKind(dtype), str(key), str(), int(numel), *view) if numel >= 0 and view in ([], [None]):
            return key, Storage(path, dtype, numel)
    raise UserError(f"{path}: refers to something that is no storage of numbers; save its state dict alone")


def _member_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin: behind its own header, whose lengths may differ from the directory's.

    Raises UserError where they are compressed, or not all in the file.
    """
    if info.compress_type != zipfile.ZIP_STORED:
        raise UserError(f"{path}: {info.filename!r:.80} is compressed, which torch.save does not do; save it again")
    _check_span(path, info.header_offset, info.header_offset + LOCAL_HEADER.size)
    name, extra = LOCAL_HEADER.unpack(read_region(path, info.header_offset, LOCAL_HEADER.size))
    offset = info.header_offset + LOCAL_HEADER.size + name + extra
    _check_span(path, offset, offset + info.file_size)
    return offset


def _check_span(path: Path, start: int, end: int) -> None:
    """Raise UserError for bytes that a file does not have."""
    size = path.stat().st_size
    if not 0 <= start <= end <= size:
        raise UserError(f"{path}: ends before its numbers do, at byte {size:,}; download it again")


def _without_numbers(path: Path, key: str) -> UserError:
    return UserError(f"{path}: has not all numbers of storage {key!r:.40}; download it again")


def _refuse(path: Path, problem: str) -> Callable[[object], object]:
    def refuse(value: object) -> object:
        raise UserError(f"{path}: refers to {problem}; save its state dict alone")

    return refuse
