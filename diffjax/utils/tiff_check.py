"""Untrusted TIFF files: what their tags would have Pillow read, bounded before it reads them."""

import struct
from collections.abc import Iterator
from io import BufferedIOBase

from diffjax.errors import UserError

MAX_TAGS = 1_000  # of a directory; writers make twenty
MAX_TAG_BYTES = 2**24  # of all values of a file's tags: colour profiles and the offsets of strips take most

_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_STARTS = (*_BYTE_ORDERS, b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")  # all that Pillow takes for a TIFF
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # bytes of a type
_LONG = {3: "H", 4: "I", 13: "I"}  # the types that a directory's offset may have
_DIRECTORIES = {34665: "Exif", 34853: "GPS", 40965: "Interoperability"}  # tags whose value is the offset of another
_ENTRY = 12  # bytes
_MAX_DEPTH = 3  # of directories in directories: a file may name one as its own


def check_tiff(file: BufferedIOBase, name: str) -> None:
    """Raises `UserError` for a TIFF with more tags, or longer ones, than pictures have; other files are left alone.

    Each tag may point to the whole file, so that a small one would be read some thousand times (TIFF 6.0, section 2).
    The position in `file` is that before the call.
    """
    position = file.tell()
    try:
        file.seek(0)
        start = file.read(8)
        if not start.startswith(_STARTS):
            return
        order = _BYTE_ORDERS.get(start[:4])
        if order is None or len(start) < 8:
            raise UserError(f"{name}: not a plain TIFF (BigTIFF, or damaged); save it as a TIFF of up to 4 GB, or PNG")
        (offset,) = struct.unpack(f"{order}I", start[4:])
        if sum(_value_sizes(file, order, offset, name, 0)) > MAX_TAG_BYTES:
            raise UserError(f"{name}: over {MAX_TAG_BYTES // 2**20} MB of TIFF tags; save it without, or take it away")
    finally:
        file.seek(position)


def _value_sizes(file: BufferedIOBase, order: str, offset: int, name: str, depth: int) -> Iterator[int]:
    """The bytes of each value of a directory, and of the directories that it names."""
    file.seek(offset)
    head = file.read(2)
    count = struct.unpack(f"{order}H", head)[0] if len(head) == 2 else 0
    if count > MAX_TAGS:
        raise UserError(f"{name}: {count:,} TIFF tags; save it without, or take it away")
    entries = file.read(_ENTRY * count)
    for at in range(0, len(entries) - _ENTRY + 1, _ENTRY):
        tag, kind, length = struct.unpack(f"{order}HHI", entries[at : at + 8])
        yield _SIZES.get(kind, 1) * length
        if tag in _DIRECTORIES and kind in _LONG and depth < _MAX_DEPTH:
            (inner,) = struct.unpack_from(f"{order}{_LONG[kind]}", entries, at + 8)
            yield from _value_sizes(file, order, inner, name, depth + 1)
