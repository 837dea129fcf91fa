"""What is asked of a saved state before its arrays are believed: it may come from a stranger.

TensorStore reserves whatever memory an array says it takes, unpacks the index of the arrays to whatever it unpacks to,
and dies of JSON that is nested too deeply. Hashes do not help: who made the arrays made the manifest.
"""

import json
import mmap
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath
from jaxtyping import PyTree
from orbax.checkpoint.metadata import ArrayMetadata

from diffjax.training.aliases import plain_path

MAX_NAMES_BYTES = 8_000_000  # bytes of what names the arrays, some 25,000 of them
MAX_DEPTH = 256  # brackets within brackets
_READ_BATCH = 512  # arrays that are asked for
_MAX_SPEC_BYTES = 4096  # bytes of what one array says of itself
_MAX_BLOCKS = 2**9  # of the whole index, each of at most 128 KiB (RFC 8878, 3.1.1.2.4)
_COMPRESSED_INDEX = re.compile(  # a part of the index as TensorStore begins it, and the Zstandard frame that it holds
    rb"\x0c\xdb(?:\x3a\x2a|\x20\xde|\x12\x34)(?=.{8,32}?(\x28\xb5\x2f\xfd))", re.DOTALL
)


def array_specs(state: Path) -> dict[str, PyTree]:
    """The tree of a saved state, with Orbax's `ArrayMetadata` in the place of each array; none is read.

    Raises ValueError, or what Orbax and TensorStore raise, where it cannot be what a trainer saved.
    """
    _check_sizes(state)
    with plain_path(state) as path:
        _check_arrays(path)
        tree = ocp.PyTreeCheckpointHandler().metadata(epath.Path(path)).tree
    leaves = jax.tree.leaves(tree)
    if not leaves or not all(isinstance(leaf, ArrayMetadata) for leaf in leaves):
        raise ValueError("it does not hold a tree of arrays")
    return tree


def read_arrays(state: Path, tree: PyTree) -> PyTree:
    """The arrays of a saved state, or those of a part of its tree, as `described` gave it."""
    with plain_path(state) as path:
        stores = jax.tree.map(lambda leaf: _opened(path, leaf.name), tree)
        read = jax.tree.map(lambda array: array.result().read(), stores)
        return jax.tree.map(lambda array: np.asarray(array.result()), read)


def _opened(state: Path, name: str) -> ts.Future:
    """An array of that name, of which every part has to be there."""
    kept = {**_store_spec(state), "path": f"{name}/"}
    return ts.open({"driver": "zarr", "kvstore": kept, "fill_missing_data_reads": False})


def _store_spec(state: Path) -> dict[str, Any]:
    return {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}}


def _check_sizes(state: Path) -> None:
    """Raise ValueError where what names the arrays, or the index of them once it is unpacked, is larger than any is."""
    for file in (*state.glob("_*"), *(state / "array_metadatas").glob("*")):
        if file.stat().st_size > MAX_NAMES_BYTES:
            raise ValueError(f"{file.name} is larger than {MAX_NAMES_BYTES:,} bytes")
        if _depth(file.read_bytes()) > MAX_DEPTH:
            raise ValueError(f"{file.name} is JSON that is nested more than {MAX_DEPTH} deep")
    blocks = (block for file in state.rglob("*") if file.is_file() for block in _block_starts(file))
    if any(True for _ in islice(blocks, _MAX_BLOCKS, None)):
        raise ValueError("its index would unpack to more than any has")


def _depth(text: bytes) -> int:
    """How deeply JSON is nested, at least: brackets within its strings count as well."""
    at = np.frombuffer(text, np.uint8)
    opened = np.isin(at, np.frombuffer(b"[{", np.uint8)).astype(np.int64)
    return int(np.cumsum(opened - np.isin(at, np.frombuffer(b"]}", np.uint8))).max(initial=0))


def _check_arrays(state: Path) -> None:
    """Raise ValueError where an array cannot be what it says of itself."""
    store: Any = ts.KvStore.open(_store_spec(state)).result()
    names = [name for name in store.list().result() if name.endswith(b"/.zarray")]
    for at in range(0, len(names), _READ_BATCH):  # many at once are faster, and the first that is wrong ends it
        for said in [store.read(name) for name in names[at : at + _READ_BATCH]]:
            _check_array(said.result().value)


def _check_array(said: bytes) -> None:
    """Raise ValueError where these are not plain numbers in chunks none of which is larger than all of them."""
    if not 0 < len(said) <= _MAX_SPEC_BYTES:
        raise ValueError("an array does not say what it is")
    spec = json.loads(said)
    shape, chunks, dtype = spec["shape"], spec["chunks"], jnp.dtype(str(spec["dtype"])[:16])
    if not all(type(size) is int and size >= 0 for size in (*shape, *chunks)):
        raise ValueError("an array has no shape")
    if any(chunk > max(size, 1) for chunk, size in zip(chunks, shape, strict=True)):
        raise ValueError("an array is smaller than its parts")
    if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)):
        raise ValueError("an array is not of numbers")


def _block_starts(file: Path) -> Iterator[int]:
    """Where each block of what is packed in the index begins, in one file."""
    if not file.stat().st_size:
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for part in _COMPRESSED_INDEX.finditer(data):
            yield from _frame_block_starts(data, part.start(1))


def _frame_block_starts(data: mmap.mmap, offset: int) -> Iterator[int]:
    """Where each block of the Zstandard frame at that place begins (RFC 8878, 3.1.1): none of them is unpacked."""
    descriptor = data[offset + 4] if offset + 4 < len(data) else 0
    single_segment = descriptor >> 5 & 1  # the frame is one segment: it tells its size in place of a window
    offset += 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + (single_segment, 2, 4, 8)[descriptor >> 6]
    while offset + 3 <= len(data):
        yield offset
        block = int.from_bytes(data[offset : offset + 3], "little")
        if block & 1:  # the last one
            return
        offset += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)  # of a repeated byte there is one
