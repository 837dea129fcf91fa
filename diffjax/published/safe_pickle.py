"""Pickles of tensors, read without running what they name.

A pickle builds objects by calling functions that it names. Here a name outside an allow-list is an error, and what the
list has are functions of this file, which return data alone: the classes and functions themselves are never imported.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diffjax.errors import UserError
from diffjax.published.stored_tensors import BFLOAT16

STORAGES = {  # the torch classes of flat arrays
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": BFLOAT16,
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


class Record:
    """An object of another program's class: its attributes, and none of its code."""

    class_name = ""


class EasyDict(dict):
    """A dictionary of another program."""


@dataclass(frozen=True)
class PersistentObject:
    """An object that was pickled with the source of its class: the name of the class, and the object's state."""

    class_name: str
    state: Any


@dataclass(frozen=True)
class StorageKind:
    """The type of the numbers of a storage."""

    dtype: np.dtype


@dataclass(frozen=True)
class StridedTensor:
    """A tensor as a view of a storage, whatever the reader has for one; offset and stride in numbers."""

    storage: Any
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class SafeUnpickler(pickle.Unpickler):
    """Reads a pickle with the names of the allow-list alone. Raises UserError for any other, with the name."""

    def __init__(
        self, path: Path, file: BinaryIO, read_storage: Callable[[bytes], Any], persistent: Callable[[Any], Any]
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path
        self._names = _allowed_names(read_storage)
        self._persistent = persistent

    def find_class(self, module: str, name: str, /) -> Any:
        """What stands for a name."""
        if module in ("torch", "torch.storage") and name in STORAGES:
            return StorageKind(STORAGES[name])
        if module.startswith("torch.nn.modules.") or (module, name) == ("argparse", "Namespace"):
            return type("Record", (Record,), {"class_name": name})
        if (module, name) in self._names:
            return self._names[module, name]
        raise UserError(
            f"{self._path}: names {module}.{name}, which is not among what weights need, and was not called; "
            "a file of tensors alone, such as safetensors, can be read"
        )

    def persistent_load(self, pid: Any, /) -> Any:
        """What stands for an object beside the pickle."""
        return self._persistent(pid)


def unpickle(unpickler: SafeUnpickler, path: Path) -> Any:
    """The object. Raises UserError for what is no pickle of weights."""
    try:
        return unpickler.load()
    except UserError:
        raise
    # The unpickler raises whatever a damaged stream leads it to.
    except Exception as error:
        problem = f"is no whole file of weights ({type(error).__name__}: {error!s:.100})"
        raise UserError(f"{path}: {problem}; download it again") from None


def _allowed_names(read_storage: Callable[[bytes], Any]) -> Mapping[tuple[str, str], Callable[..., Any]]:
    """The functions for the names, made anew for each file: a pickle may set attributes of what it names."""

    def rebuild_tensor(storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> StridedTensor:
        return StridedTensor(storage, offset, tuple(shape), tuple(stride))

    def rebuild_parameter(tensor: StridedTensor, *_: Any) -> StridedTensor:
        return tensor

    def load_storage(data: bytes) -> Any:
        return read_storage(data)

    def reconstruct_persistent(meta: Mapping[str, Any]) -> PersistentObject:
        return PersistentObject(meta["class_name"], meta["state"])

    def reconstruct_object(kind: Any, base: Any, state: Any) -> Any:
        if not issubclass(kind, Record | EasyDict):
            raise ValueError(f"an object of {kind.__name__}")
        return kind(state) if issubclass(kind, EasyDict) and state is not None else kind()

    def encode(text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise ValueError(f"bytes in {encoding}")
        return text.encode("latin1")

    return {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
        ("torch.storage", "_load_from_bytes"): load_storage,
        ("torch", "Size"): tuple,
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): reconstruct_persistent,
        ("dnnlib.util", "EasyDict"): type("EasyDict", (EasyDict,), {}),
        ("copyreg", "_reconstructor"): reconstruct_object,
        ("__builtin__", "object"): object,
        ("builtins", "object"): object,
        ("__builtin__", "dict"): dict,
        ("builtins", "dict"): dict,
        ("__builtin__", "set"): set,
        ("builtins", "set"): set,
        ("_codecs", "encode"): encode,
    }
