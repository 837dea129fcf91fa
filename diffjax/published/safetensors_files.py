"""The headers of safetensors files: names, types, shapes and places of tensors, none of which is read yet."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from diffjax.errors import UserError
from diffjax.published.stored_tensors import BFLOAT16, StoredTensor, region_tensor
from diffjax.utils.untrusted import check_depth

MAX_HEADER = 10**8  # bytes, as the format has it
LENGTH_BYTES = 8  # of the header's length, at the start of the file
TYPES = {
    **{"F64": np.dtype(np.float64), "F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": BFLOAT16},
    **{"I64": np.dtype(np.int64), "I32": np.dtype(np.int32), "I16": np.dtype(np.int16), "I8": np.dtype(np.int8)},
    **{"U8": np.dtype(np.uint8), "BOOL": np.dtype(np.bool_)},
}
METADATA = "__metadata__"


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file. Raises UserError for a damaged file, and for a type of numbers that is not read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > min(MAX_HEADER, size - LENGTH_BYTES):
            raise _damaged(path, f"its header would have {length:,} bytes")
        text = file.read(length)
    entries = _parse_header(path, text)
    data = LENGTH_BYTES + length
    return {name: _tensor(path, name, entry, data, size - data) for name, entry in entries.items()}


def read_metadata(path: Path) -> Mapping[str, Any]:
    """The texts in the header of a file, empty where it has none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        text = file.read(min(length, MAX_HEADER))
    metadata = json.loads(text).get(METADATA, {})
    return metadata if isinstance(metadata, dict) else {}


def _parse_header(path: Path, text: bytes) -> dict[str, Any]:
    try:
        check_depth(text, "its header")
        header = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"its header is no JSON ({error})") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    return {name: entry for name, entry in header.items() if name != METADATA}


def _tensor(path: Path, name: str, entry: object, data: int, size: int) -> StoredTensor:
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]  # type: ignore[index]
        whole = all(type(number) is int and number >= 0 for number in (*shape, start, end))
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, f"{name!r:.80} has no dtype, shape and data_offsets") from None
    if kind not in TYPES:
        raise UserError(
            f"{path}: {name!r:.80} has numbers of type {kind!r:.20}; convert it to one of {', '.join(TYPES)}"
        )
    if not whole or end > size or end - start != prod(shape) * TYPES[kind].itemsize:
        raise _damaged(path, f"{name!r:.80} of shape {shape!r:.80} would be bytes {start!r:.20} to {end!r:.20}")
    return region_tensor(path, data + start, tuple(shape), TYPES[kind])


def _damaged(path: Path, problem: str) -> UserError:
    return UserError(f"{path}: is no whole safetensors file: {problem}; download it again")
