"""Pickles and archives put together by hand, also such as no program writes: instructions, names and storages."""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage", "int64": "LongStorage"}
OLD_HEAD = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})  # before the object in a file of the old form


class Code(bytes):
    """Instructions that leave one value on the stack."""


def push(value: object) -> Code:
    """The instructions for a value of data, in which there may be code for other values."""
    match value:
        case Code():
            return value
        case None:
            return Code(b"N")
        case bool():
            return Code(b"\x88" if value else b"\x89")
        case int():
            digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return Code(b"\x8b" + struct.pack("<i", len(digits)) + digits)
        case str():
            return Code(b"X" + struct.pack("<I", len(value.encode())) + value.encode())
        case bytes():
            return Code(b"B" + struct.pack("<I", len(value)) + value)
        case tuple():
            return Code(b"(" + b"".join(map(push, value)) + b"t")
        case list():
            return Code(b"](" + b"".join(map(push, value)) + b"e")
        case dict():
            return Code(b"}(" + b"".join(push(key) + push(inner) for key, inner in value.items()) + b"u")
    raise TypeError(type(value))


def name(module: str, attribute: str) -> Code:
    """What a name stands for."""
    return Code(f"c{module}\n{attribute}\n".encode())


def call(function: Code, *arguments: object) -> Code:
    """The result of a function."""
    return Code(function + push(arguments) + b"R")


def build(instance: Code, state: object) -> Code:
    """An object with its state."""
    return Code(instance + push(state) + b"b")


def pickled(*values: object) -> bytes:
    """A pickle of each value."""
    return b"".join(b"\x80\x02" + push(value) + b"." for value in values)


def storage(key: str = "0", numel: int = 6, kind: str = "FloatStorage") -> Code:
    """A reference to a storage."""
    return Code(push(("storage", name("torch", kind), key, "cpu", numel)) + b"Q")


def tensor(
    shape: tuple[int, ...] = (2, 3), stride: tuple[int, ...] = (3, 1), offset: int = 0, data: Code | None = None
) -> Code:
    """A view of a storage."""
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, storage() if data is None else data, offset, shape, stride, False, {})


def array_tensor(key: str, values: np.ndarray) -> Code:
    """A view of the whole storage of an array."""
    return _array_view(values, storage(key, values.size, KINDS[values.dtype.name]))


def _array_view(values: np.ndarray, data: Code) -> Code:
    return tensor(values.shape, tuple(step // values.itemsize for step in values.strides), data=data)


def _array_bytes(values: np.ndarray) -> Code:
    """The storage of an array as a string of bytes."""
    kind = storage("7", values.size, KINDS[values.dtype.name])
    load = name("torch.storage", "_load_from_bytes")
    return call(load, old_form(kind, {"7": values.tobytes()}, values.itemsize))


def write_archive(
    path: Path, content: object, storages: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> Path:
    """An archive as torch.save writes it, by default with one storage of six numbers."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("weights/data.pkl", pickled(content))
        for key, data in ({"0": bytes(24)} if storages is None else storages).items():
            archive.writestr(f"weights/data/{key}", data)
    return path


def write_state(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """The archive of a state dict."""
    content = {key: array_tensor(key, values) for key, values in tensors.items()}
    return write_archive(path, content, {key: values.tobytes() for key, values in tensors.items()})


def old_form(content: object, storages: Mapping[str, bytes], itemsize: int = 4) -> bytes:
    """A file of the old form."""
    numbers = (struct.pack("<q", len(data) // itemsize) + data for data in storages.values())
    return pickled(*OLD_HEAD, content, list(storages)) + b"".join(numbers)


def module_of(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A pickled module, each of whose parameters is a string of bytes of its own, as EDM has them."""
    parameters = {key: _array_view(values, _array_bytes(values)) for key, values in tensors.items()}
    reconstruct = name("torch_utils.persistence", "_reconstruct_persistent_obj")
    state = {"_parameters": parameters, "_buffers": {}, "_modules": {}}
    return pickled({"ema": call(reconstruct, {"class_name": "Precond", "module_src": "", "state": state})})


def write_safetensors(path: Path, header: Mapping[str, Any] | bytes, data: bytes = b"") -> Path:
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path
