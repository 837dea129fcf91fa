"""What is asked of a saved state before its arrays are believed: it may come from a stranger.

TensorStore reserves whatever memory an array says it takes, unpacks the index of the arrays to whatever it unpacks to,
and dies of JSON that is nested too deeply. Hashes do not help: who made the arrays made the manifest.
"""

import json
import mmap
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore as ts

from diffjax.training.aliases import plain_path

Keys = tuple[str, ...]

LARGEST = 8_000_000  # bytes of what names the arrays, some 25,000 of them
DEEPEST = 64  # keys that lead to an array
_AT_ONCE = 512  # arrays that are asked for
_MOST_SAID = 4096  # bytes of what one array says of itself
_MOST_BLOCKS = 2**9  # of the whole index, each of at most 128 KiB (RFC 8878, 3.1.1.2.4)
_PACKED = re.compile(  # a part of the index as TensorStore begins it, and the Zstandard frame that it holds
    rb"\x0c\xdb(?:\x3a\x2a|\x20\xde|\x12\x34)(?=.{8,32}?(\x28\xb5\x2f\xfd))", re.DOTALL
)


def described(state: Path, within: str = "") -> dict[Keys, jax.ShapeDtypeStruct]:
    """Shape and type of each array of a saved state, or of one field of it, by the keys that lead there; none is read.

    Raises ValueError, or what json and TensorStore raise, where they cannot be what a trainer saved.
    """
    blocks = (block for file in state.rglob("*") if file.is_file() for block in _blocks(file))
    if any(True for _ in islice(blocks, _MOST_BLOCKS, None)):
        raise ValueError("its index would unpack to more than any has")
    names, found = _named(state, within), {}
    with plain_path(state) as path:
        store: Any = ts.KvStore.open(_store(path)).result()
        for at in range(0, len(names), _AT_ONCE):  # many at once are faster, and the first that is wrong ends it
            asked = [(keys, store.read(f"{'.'.join(keys)}/.zarray")) for keys in names[at : at + _AT_ONCE]]
            found |= {keys: _array(said.result().value) for keys, said in asked}
    return found


def arrays(state: Path, keys: list[Keys]) -> dict[Keys, np.ndarray]:
    """The arrays that these keys lead to, once `described` has vetted them."""
    with plain_path(state) as path:
        specs = ({"driver": "zarr", "kvstore": {**_store(path), "path": f"{'.'.join(each)}/"}} for each in keys)
        opened = [ts.open({**spec, "fill_missing_data_reads": False}) for spec in specs]
        read = [array.result().read() for array in opened]
        return {each: np.asarray(array.result()) for each, array in zip(keys, read, strict=True)}


def _store(state: Path) -> Mapping[str, Any]:
    return {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}}


def _named(state: Path, within: str) -> list[Keys]:
    """The keys of all arrays that a state holds, or one field of it; what holds no numbers is None there."""
    if (state / "_METADATA").stat().st_size > LARGEST:
        raise ValueError(f"_METADATA is larger than {LARGEST:,} bytes")
    leaves = json.loads((state / "_METADATA").read_text())["tree_metadata"].values()
    kinds = [leaf["value_metadata"]["value_type"] for leaf in leaves]
    held = [leaf["key_metadata"] for kind, leaf in zip(kinds, leaves, strict=True) if kind != "None"]
    if not set(kinds) <= {"None", "jax.Array"} or max(map(len, held)) > DEEPEST:
        raise ValueError("it does not hold a tree of arrays")
    named = [tuple(str(part["key"]) for part in keys) for keys in held]
    return [keys for keys in named if within in ("", keys[0])]


def _array(said: bytes) -> jax.ShapeDtypeStruct:
    """Shape and type of plain numbers, in chunks none of which is larger than all of them."""
    if not 0 < len(said) <= _MOST_SAID:
        raise ValueError("an array does not say what it is")
    told = json.loads(said)
    shape, chunks, dtype = told["shape"], told["chunks"], jnp.dtype(str(told["dtype"])[:16])
    if not all(type(size) is int and size >= 0 for size in (*shape, *chunks)):
        raise ValueError("an array has no shape")
    if any(chunk > max(size, 1) for chunk, size in zip(chunks, shape, strict=True)):
        raise ValueError("an array is smaller than its parts")
    if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)):
        raise ValueError("an array is not of numbers")
    return jax.ShapeDtypeStruct(tuple(shape), dtype)


def _blocks(file: Path) -> Iterator[int]:
    """Where each block of what is packed in the index begins, in one file."""
    if not file.stat().st_size:
        return
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for part in _PACKED.finditer(data):
            yield from _of_frame(data, part.start(1))


def _of_frame(data: mmap.mmap, at: int) -> Iterator[int]:
    """Where each block of the Zstandard frame at that place begins (RFC 8878, 3.1.1): none of them is unpacked."""
    says = data[at + 4] if at + 4 < len(data) else 0
    whole = says >> 5 & 1  # the frame is one segment: it tells its size in place of a window
    at += 5 + (1 - whole) + (0, 1, 2, 4)[says & 3] + (whole, 2, 4, 8)[says >> 6]
    while at + 3 <= len(data):
        yield at
        block = int.from_bytes(data[at : at + 3], "little")
        if block & 1:  # the last one
            return
        at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)  # of a repeated byte there is one
