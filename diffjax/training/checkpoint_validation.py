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

LARGEST = 8_000_000  # bytes of what names the arrays, some 25,000 of them
DEEPEST = 256  # brackets within brackets
_AT_ONCE = 512  # arrays that are asked for
_MOST_SAID = 4096  # bytes of what one array says of itself
_MOST_BLOCKS = 2**9  # of the whole index, each of at most 128 KiB (RFC 8878, 3.1.1.2.4)
_PACKED = re.compile(  # a part of the index as TensorStore begins it, and the Zstandard frame that it holds
    rb"\x0c\xdb(?:\x3a\x2a|\x20\xde|\x12\x34)(?=.{8,32}?(\x28\xb5\x2f\xfd))", re.DOTALL
)


def described(state: Path) -> dict[str, PyTree]:
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


def arrays(state: Path, tree: PyTree) -> PyTree:
    """The arrays of a saved state, or those of a part of its tree, as `described` gave it."""
    with plain_path(state) as path:
        opened = jax.tree.map(lambda leaf: _opened(path, leaf.name), tree)
        read = jax.tree.map(lambda array: array.result().read(), opened)
        return jax.tree.map(lambda array: np.asarray(array.result()), read)


def _opened(state: Path, name: str) -> ts.Future:
    """An array of that name, of which every part has to be there."""
    kept = {**_store(state), "path": f"{name}/"}
    return ts.open({"driver": "zarr", "kvstore": kept, "fill_missing_data_reads": False})


def _store(state: Path) -> dict[str, Any]:
    return {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}}


def _check_sizes(state: Path) -> None:
    """Raise ValueError where what names the arrays, or the index of them once it is unpacked, is larger than any is."""
    for file in (*state.glob("_*"), *(state / "array_metadatas").glob("*")):
        if file.stat().st_size > LARGEST:
            raise ValueError(f"{file.name} is larger than {LARGEST:,} bytes")
        if _depth(file.read_bytes()) > DEEPEST:
            raise ValueError(f"{file.name} is JSON that is nested more than {DEEPEST} deep")
    blocks = (block for file in state.rglob("*") if file.is_file() for block in _blocks(file))
    if any(True for _ in islice(blocks, _MOST_BLOCKS, None)):
        raise ValueError("its index would unpack to more than any has")


def _depth(text: bytes) -> int:
    """How deeply JSON is nested, at least: brackets within its strings count as well."""
    at = np.frombuffer(text, np.uint8)
    opened = np.isin(at, np.frombuffer(b"[{", np.uint8)).astype(np.int64)
    return int(np.cumsum(opened - np.isin(at, np.frombuffer(b"]}", np.uint8))).max(initial=0))


def _check_arrays(state: Path) -> None:
    """Raise ValueError where an array cannot be what it says of itself."""
    store: Any = ts.KvStore.open(_store(state)).result()
    names = [name for name in store.list().result() if name.endswith(b"/.zarray")]
    for at in range(0, len(names), _AT_ONCE):  # many at once are faster, and the first that is wrong ends it
        for said in [store.read(name) for name in names[at : at + _AT_ONCE]]:
            _check_array(said.result().value)


def _check_array(said: bytes) -> None:
    """Raise ValueError where these are not plain numbers in chunks none of which is larger than all of them."""
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
