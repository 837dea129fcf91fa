"""Pickles of tensors, read without running what they name.

A pickle builds objects by calling functions that it names. Here a name outside an allow-list is an error, and what the
list has are functions of this file, which return data alone: the classes and functions themselves are never imported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from diffjax.errors import UserError
from diffjax.published.pickle_machine import Function, Record, run_pickle
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
MODULES = "torch.nn.modules."  # of the classes of torch's own layers


@dataclass(frozen=True)
class StorageKind:
    """The type of the numbers of a storage."""

    dtype: np.dtype


@dataclass(frozen=True)
class StridedTensor:
    """A tensor as a view of a storage, with offset and strides in numbers, as a pickle has them: nothing is checked."""

    storage: object
    offset: object
    shape: object
    stride: object


def unpickle(
    path: Path,
    file: BufferedIOBase,
    load_storage: Callable[[object], object],
    dereference: Callable[[object], object],
) -> object:
    """The next object of a file, with the names of the allow-list alone.

    `load_storage(bytes)` is the storage in a string of bytes, `dereference(id)` an object beside the pickle. Raises
    UserError, with the name, for any other name, and an error of any type for a damaged pickle.
    """
    functions = {**FUNCTIONS, ("torch.storage", "_load_from_bytes"): Function(load_storage)}

    def resolve(module: str, name: str) -> object:
        if module in ("torch", "torch.storage") and name in STORAGES:
            return StorageKind(STORAGES[name])
        if (module, name) in functions:
            return functions[module, name]
        if module.startswith(MODULES):
            return _record_of(name)
        raise UserError(
            f"{path}: names {module:.80}.{name:.80}, which is not among what weights need, and was not called; "
            "a file of tensors alone, such as safetensors, can be read"
        )

    return run_pickle(file, resolve, dereference)


def _rebuild_tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> StridedTensor:
    return StridedTensor(storage, offset, shape, stride)


def _first(value: object, *_: object) -> object:
    return value


def _reconstruct_persistent(meta: object) -> Record:
    """An object that was pickled with the source of its class (Karras et al. 2022, as published)."""
    match meta:
        case {"class_name": str(name), "state": state}:
            return Record(name, state)
    raise ValueError("it has an object without its class and state")


def _reconstruct_object(kind: object, base: object, state: object) -> object:
    if not isinstance(kind, Function):
        raise ValueError("it has an object without a class")
    return kind.call() if state is None else state


def _new_dict() -> dict[object, object]:
    return {}


def _new_record(class_name: str, *_: object) -> Record:
    return Record(class_name)


def _record_of(class_name: str) -> Function:
    return Function(partial(_new_record, class_name))


FUNCTIONS: Mapping[tuple[str, str], Function] = {
    ("torch._utils", "_rebuild_tensor"): Function(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): Function(_first),
    ("torch", "Size"): Function(_first),
    ("collections", "OrderedDict"): Function(_new_dict),
    ("dnnlib.util", "EasyDict"): Function(_new_dict),
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Function(_reconstruct_persistent),
    ("argparse", "Namespace"): _record_of("Namespace"),
    ("copyreg", "_reconstructor"): Function(_reconstruct_object),
    # Bytes of protocol 2, and its sets.
    ("_codecs", "encode"): Function(_first),
    **{(module, "set"): Function(_first) for module in ("builtins", "__builtin__")},
    **{(module, "dict"): Function(_new_dict) for module in ("builtins", "__builtin__")},
    **{(module, "object"): _record_of("object") for module in ("builtins", "__builtin__")},
    # Arrays of NumPy beside the weights, which are not read: EDM2 has some in its encoder of pictures.
    ("numpy", "ndarray"): _record_of("ndarray"),
    ("numpy", "dtype"): _record_of("dtype"),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _record_of("ndarray") for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _record_of("scalar") for core in ("core", "_core")},
}
