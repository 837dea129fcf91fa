"""The headers of safetensors files: names, types, shapes and places of tensors, none of which is read yet."""

import json
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffjax.errors import UserError
from diffjax.published.stored_tensors import BFLOAT16, StoredTensor, parse_shape, region_tensor
from diffjax.utils.untrusted import check_depth

MAX_HEADER = 10**7  # bytes; that of a model of a thousand tensors has 10^5
LENGTH_BYTES = 8  # of the header's length, at the start of the file
TYPES = {
    **{"F64": np.dtype(np.float64), "F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": BFLOAT16},
    **{"I64": np.dtype(np.int64), "I32": np.dtype(np.int32), "I16": np.dtype(np.int16), "I8": np.dtype(np.int8)},
    **{"U8": np.dtype(np.uint8), "BOOL": np.dtype(np.bool_)},
}
METADATA = "__metadata__"


class _Entry(NamedTuple):
    """A tensor of a header: its bytes are `start` to `end` behind the header."""

    start: int
    end: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file. Raises UserError for a damaged file, and for a type of numbers that is not read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > min(MAX_HEADER, size - LENGTH_BYTES):
            raise _damaged(path, f"its header would have {length:,} bytes")
        header = _parse_header(path, file.read(length))
    entries = [_parse_entry(path, name, entry) for name, entry in header.items() if name != METADATA]
    data = LENGTH_BYTES + length
    _check_places(path, entries, size - data)
    return {entry.name: region_tensor(path, data + entry.start, entry.shape, entry.dtype) for entry in entries}


def _parse_header(path: Path, text: bytes) -> dict[str, object]:
    try:
        check_depth(text, "its header")
        header = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"its header is no JSON ({error!s:.80})") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    return header


def _parse_entry(path: Path, name: str, entry: object) -> _Entry:
    match entry:
        case {"dtype": str(kind), "shape": list(lengths), "data_offsets": [int(start), int(end)]}:
            if kind not in TYPES:
                problem = f"{name!r:.80} has numbers of type {kind!r:.20}"
                raise UserError(f"{path}: {problem}; convert it to one of {', '.join(TYPES)}")
            shape = parse_shape(lengths)
            if shape is None or end - start != prod(shape) * TYPES[kind].itemsize:
                problem = f"{name!r:.80} would be bytes {start!s:.20} to {end!s:.20}, which do not fit its shape"
                raise _damaged(path, problem)
            return _Entry(start, end, name, shape, TYPES[kind])
    raise _damaged(path, f"{name!r:.80} has not dtype, shape and data_offsets")


def _check_places(path: Path, entries: list[_Entry], size: int) -> None:
    """Raise UserError unless the tensors are one behind the other, from the header to the end of the file."""
    position = 0
    for entry in sorted(entries, key=lambda entry: entry[:3]):
        if entry.start != position:
            raise _damaged(path, f"{entry.name!r:.80} begins at byte {entry.start!s:.20}, expected {position!s:.20}")
        position = entry.end
    if position != size:
        raise _damaged(path, f"its tensors have {position!s:.20} bytes, and the file {size:,}")


def _damaged(path: Path, problem: str) -> UserError:
    return UserError(f"{path}: is no whole safetensors file: {problem}; download it again")
