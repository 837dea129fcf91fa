"""Reading of the arrays of an untrusted checkpoint: they are validated before memory is allocated.

TensorStore allocates what an array claims to take, decompresses the index of the arrays to any size, and overflows its
stack on deeply nested JSON. Hashes do not help: they come from the same source.
"""

import json
import mmap
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath
from jaxtyping import PyTree
from orbax.checkpoint.metadata import ArrayMetadata

from diffjax.utils import untrusted

MAX_NAMES_BYTES = 8_000_000  # of a file that names the arrays: some 25,000 of them
_READ_BATCH = 512  # arrays whose metadata are requested at once
_MAX_SPEC_BYTES = 4096  # of the metadata of one array
_MAX_BLOCKS = 2**9  # of the whole index, each of at most 128 KiB (RFC 8878, 3.1.1.2.4)
_COMPRESSED_INDEX = re.compile(  # the beginning of a node of the index, and the Zstandard frame in it
    rb"\x0c\xdb(?:\x3a\x2a|\x20\xde|\x12\x34)(?=.{8,32}?(\x28\xb5\x2f\xfd))", re.DOTALL
)
_PLAIN_PATH = re.compile(r"[\w ./:,=+@~-]+")


@contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """An absolute path of the folder of letters, digits and ` ./:,=+@~-_` alone, without `..` and links.

    Orbax reads `[`, `?` and `*` in a path as a pattern and then leaves out the index without an error; TensorStore
    takes neither `..` nor names that are not UTF-8. For other paths this is a link in a temporary folder.
    """
    real = folder.resolve()
    if _PLAIN_PATH.fullmatch(str(real)):
        yield real
        return
    with tempfile.TemporaryDirectory(prefix="diffjax-") as temporary:
        link = Path(temporary).resolve() / "folder"
        link.symlink_to(real, target_is_directory=True)
        yield link


def array_specs(state: Path) -> PyTree:
    """The tree of a saved state with Orbax's `ArrayMetadata` in place of each array; no array is read.

    Raises ValueError, or the errors of Orbax and TensorStore, where a trainer cannot have saved it.
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
    """The arrays of a tree, or of a part of the tree, that `array_specs` returned."""
    with plain_path(state) as path:
        stores = jax.tree.map(lambda leaf: _open_array(path, leaf.name), tree)
        read = jax.tree.map(lambda array: array.result().read(), stores)
        return jax.tree.map(lambda array: np.asarray(array.result()), read)


def _open_array(state: Path, name: str) -> ts.Future:
    """An array, which fails to be read where one of its chunks is missing."""
    store = {**_store_spec(state), "path": f"{name}/"}
    return ts.open({"driver": "zarr", "kvstore": store, "fill_missing_data_reads": False})


def _store_spec(state: Path) -> dict[str, object]:
    return {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}}


def _check_sizes(state: Path) -> None:
    """Raise ValueError where the metadata, or the index once it is decompressed, are larger than a trainer's."""
    for file in (*state.glob("_*"), *(state / "array_metadatas").glob("*")):
        untrusted.check_depth(untrusted.read_bytes(file, MAX_NAMES_BYTES), file.name)
    blocks = (block for file in state.rglob("*") if file.is_file() for block in _block_starts(file))
    if any(True for _ in islice(blocks, _MAX_BLOCKS, None)):
        raise ValueError("its index would unpack to more than any has")


def _check_arrays(state: Path) -> None:
    """Raise ValueError for an array with invalid metadata."""
    store = ts.KvStore.open(_store_spec(state)).result()
    names = [name for name in store.list().result() if name.endswith(b"/.zarray")]
    for start in range(0, len(names), _READ_BATCH):  # many at once are faster, and the first that is wrong ends it
        for read in [store.read(name) for name in names[start : start + _READ_BATCH]]:
            _check_array(read.result().value)


def _check_array(text: bytes) -> None:
    """Raise ValueError where the metadata are not of numbers in chunks none of which is larger than the array."""
    if not 0 < len(text) <= _MAX_SPEC_BYTES:
        raise ValueError("an array does not say what it is")
    spec = json.loads(text)
    shape = spec["shape"]
    chunks = spec["chunks"]
    dtype = jnp.dtype(str(spec["dtype"])[:16])
    if not all(type(size) is int and size >= 0 for size in (*shape, *chunks)):
        raise ValueError("an array has no shape")
    if any(chunk > max(size, 1) for chunk, size in zip(chunks, shape, strict=True)):
        raise ValueError("an array is smaller than its parts")
    if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)):
        raise ValueError("an array is not of numbers")


def _block_starts(file: Path) -> Iterator[int]:
    """The offset of each compressed block of the index in one file."""
    if not file.stat().st_size:
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for node in _COMPRESSED_INDEX.finditer(data):
            yield from _frame_block_starts(data, node.start(1))


def _frame_block_starts(data: mmap.mmap, offset: int) -> Iterator[int]:
    """The offset of each block of the Zstandard frame at that offset (RFC 8878, 3.1.1); none is decompressed."""
    descriptor = data[offset + 4] if offset + 4 < len(data) else 0
    single_segment = descriptor >> 5 & 1  # the frame has its size in place of a window
    offset += 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + (single_segment, 2, 4, 8)[descriptor >> 6]
    while offset + 3 <= len(data):
        yield offset
        block = int.from_bytes(data[offset : offset + 3], "little")
        if block & 1:  # the last one
            return
        offset += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)  # one byte where it is a repeated one
