"""Files of Flax's `serialization.to_bytes` (MessagePack): the places of the arrays in a tree, of which none is read."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffjax.errors import UserError
from diffjax.published.stored_tensors import BFLOAT16, FLOATS, StoredTensor, parse_shape, region_tensor

MAX_VALUES = 1_000_000  # of a tree: keys, arrays and what else it holds
MAX_DEPTH = 64
MAX_TEXT = 1_000  # bytes of a key, or of the name of a type
CHUNKED = "__msgpack_chunked_array__"  # marks an array of more than 2^30 bytes, in flat pieces
TYPES = {
    **{kind.name: kind for kind in FLOATS},
    **{name: np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")},
    "bfloat16": BFLOAT16,
}

Tree = Mapping[str, object]

CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = dict(zip((0xCA, 0xCB, *range(0xCC, 0xD4)), ("f", "d", *"BHIQbhiq"), strict=True))
COUNTED = {  # the first byte: what follows, and the bytes of its length
    **{0xC4 + i: ("bytes", size) for i, size in enumerate((1, 2, 4))},
    **{0xC7 + i: ("extension", size) for i, size in enumerate((1, 2, 4))},
    **{0xD9 + i: ("text", size) for i, size in enumerate((1, 2, 4))},
    **{0xDC + i: ("list", size) for i, size in enumerate((2, 4))},
    **{0xDE + i: ("map", size) for i, size in enumerate((2, 4))},
}
FIXED_EXTENSIONS = {0xD4 + i: 2**i for i in range(5)}  # the first byte, and the length
ARRAY, SCALAR = 1, 3  # Flax's kinds of extension


class _Span(NamedTuple):
    """Bytes of the file."""

    offset: int
    size: int


def read_flax_tree(path: Path) -> Tree:
    """The tree: dictionaries of strings, with a `StoredTensor` for each array.

    Raises UserError for a file that is damaged, and for what no tree of arrays has.
    """
    with path.open("rb") as file:
        reader = _Reader(path, file, path.stat().st_size)
        tree = reader.read(0)
        if file.read(1):
            raise reader.damaged("has more behind its tree")
    if not isinstance(tree, dict):
        raise UserError(f"{path}: is no tree of arrays with names; use a file of Flax's to_bytes")
    return tree


@dataclass
class _Reader:
    """MessagePack, value by value; https://github.com/msgpack/msgpack/blob/master/spec.md."""

    path: Path
    file: BufferedReader
    size: int
    values: int = 0

    def read(self, depth: int) -> object:
        """The next value. Arrays are StoredTensors, and strings of bytes their places."""
        self.values += 1
        if self.values > MAX_VALUES or depth > MAX_DEPTH:
            problem = "has more values, or dictionaries within others, than a net has"
            raise UserError(f"{self.path}: {problem}; save its parameters alone")
        first = self._take(1)[0]
        if first in CONSTANTS:
            return CONSTANTS[first]
        if first in NUMBERS:
            number = struct.Struct(">" + NUMBERS[first])
            return number.unpack(self._take(number.size))[0]
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 0x100
        kind, length = self._read_length(first)
        match kind:
            case "text":
                return self._read_text(length)
            case "bytes":
                return self._skip(length)
            case "list":
                return [self.read(depth + 1) for _ in range(length)]
            case "map":
                return self._read_map(length, depth)
        return self._read_extension(length, depth)

    def _read_length(self, first: int) -> tuple[str, int]:
        if first in FIXED_EXTENSIONS:
            return "extension", FIXED_EXTENSIONS[first]
        if first in COUNTED:
            kind, size = COUNTED[first]
            return kind, int.from_bytes(self._take(size), "big")
        for start, mask, kind in ((0x80, 0x0F, "map"), (0x90, 0x0F, "list"), (0xA0, 0x1F, "text")):
            if start <= first <= start + mask:
                return kind, first & mask
        raise self.damaged(f"has the byte {first:#x} where a value begins")

    def _read_map(self, length: int, depth: int) -> dict[str, object] | StoredTensor:
        content: dict[str, object] = {}
        for _ in range(length):
            key = self.read(depth + 1)
            if not isinstance(key, str) or key in content:
                raise self.damaged(f"has the key {key!r:.80}, which is no new name")
            content[key] = self.read(depth + 1)
        return self._join(content) if CHUNKED in content else content

    def _read_extension(self, length: int, depth: int) -> StoredTensor:
        kind = self._take(1)[0]
        end = self.file.tell() + length
        content = self.read(depth + 1) if kind in (ARRAY, SCALAR) else None
        match content:
            case [list(lengths), str(name), _Span(offset, size)] if self.file.tell() == end:
                shape = parse_shape(lengths)
                if name not in TYPES:
                    raise UserError(f"{self.path}: has numbers of type {name!r:.40}; convert it to {', '.join(TYPES)}")
                if shape is not None and size == prod(shape) * TYPES[name].itemsize:
                    return region_tensor(self.path, offset, shape, TYPES[name])
        raise self.damaged("has an array whose shape, type and bytes do not fit")

    def _join(self, content: dict[str, object]) -> StoredTensor:
        """The array of flat pieces, which are read into it one by one."""
        match content:
            case {"shape": dict(lengths), "chunks": dict(chunks)}:
                shape = parse_shape(list(lengths.values()))
                pieces = [piece for piece in chunks.values() if isinstance(piece, StoredTensor)]
                kinds = {piece.dtype for piece in pieces}
                if shape is not None and len(kinds) == 1 and prod(shape) == sum(prod(piece.shape) for piece in pieces):
                    return StoredTensor(shape, kinds.pop(), partial(_read_pieces, pieces, shape))
        raise self.damaged("has an array in pieces that do not fit its shape")

    def _read_text(self, length: int) -> str:
        if length > MAX_TEXT:
            raise self.damaged(f"has a name of {length:,} bytes")
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise self.damaged("has a name that is no text") from None

    def _skip(self, length: int) -> _Span:
        span = _Span(self.file.tell(), length)
        if span.offset + length > self.size:
            raise self.damaged("ends before its numbers do")
        self.file.seek(length, 1)
        return span

    def _take(self, count: int) -> bytes:
        data = self.file.read(count)
        if len(data) < count:
            raise self.damaged("ends before its tree does")
        return data

    def damaged(self, problem: str) -> UserError:
        """The error for a file that is not whole."""
        return UserError(f"{self.path}: is no whole file of Flax's to_bytes: {problem}; download it again")


def _read_pieces(pieces: Sequence[StoredTensor], shape: tuple[int, ...]) -> np.ndarray:
    flat = np.empty(prod(shape), pieces[0].dtype)
    start = 0
    for piece in pieces:
        values = piece.read().ravel()
        flat[start : start + len(values)] = values
        start += len(values)
    return flat.reshape(shape)
