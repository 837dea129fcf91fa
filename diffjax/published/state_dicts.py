"""From an unpickled object to the tensors in it: a state dict, one within a checkpoint, or a pickled module."""

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from diffjax.errors import UserError
from diffjax.published.safe_pickle import PersistentObject, Record, StridedTensor
from diffjax.published.stored_tensors import StoredTensor, WeightFile
from diffjax.published.torch_files import Storage

AVERAGES = ("ema", "model_ema", "state_dict", "model", "net")  # the first that a checkpoint has is taken
WRAPPER = "module."  # before all names where a model was trained on several devices
PARTS = ("_parameters", "_buffers", "_modules")  # of a module
MAX_LAYERS = 100  # of modules within modules


def gather_tensors(path: Path, content: Any, average: str | None) -> WeightFile:
    """The tensors of an object by name. Raises UserError where it has none, or not that average."""
    averages = _weight_names(content)
    if average is not None and average not in averages:
        choice = f"it has {', '.join(averages)}" if averages else "it has one set of weights"
        raise UserError(f"{path}: has no weights named {average!r:.40}; {choice}")
    if averages:
        average = average or next((name for name in AVERAGES if name in averages), averages[0])
        content = content[average]
    tensors = dict(_walk(path, content, "", MAX_LAYERS))
    if not tensors:
        raise UserError(f"{path}: holds no tensors; use a file of weights")
    if all(name.startswith(WRAPPER) for name in tensors):
        tensors = {name.removeprefix(WRAPPER): tensor for name, tensor in tensors.items()}
    others = tuple(name for name in averages if name != average)
    if not isinstance(content, PersistentObject):
        return WeightFile(path, tensors, averages=others)
    return WeightFile(path, tensors, content.class_name, _arguments(path, content), others)


def _weight_names(content: Any) -> tuple[str, ...]:
    """The entries of a checkpoint that are weights; none of a state dict or a module."""
    if not isinstance(content, Mapping) or any(isinstance(value, StridedTensor) for value in content.values()):
        return ()
    return tuple(str(name) for name, value in content.items() if _has_weights(value))


def _has_weights(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(inner, StridedTensor) for inner in value.values())
    return "_modules" in _attributes(value)


def _attributes(value: Any) -> Mapping[str, Any]:
    """The attributes of an object of another program."""
    attributes = value.state if isinstance(value, PersistentObject) else getattr(value, "__dict__", {})
    known = isinstance(value, PersistentObject | Record) and isinstance(attributes, Mapping)
    return attributes if known else {}


def _arguments(path: Path, module: PersistentObject) -> dict[str, Any]:
    arguments = _attributes(module).get("_init_kwargs", {})
    if not isinstance(arguments, Mapping):
        raise UserError(f"{path}: its arguments are {arguments!r:.80}; use the file that its authors published")
    return {str(name): value for name, value in arguments.items()}


def _walk(path: Path, value: Any, name: str, layers: int) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors in a state dict or a module, named by the way to each."""
    if not layers:
        raise UserError(f"{path}: {name!r:.80} is nested too deeply; save its state dict alone")
    if isinstance(value, StridedTensor):
        yield name, _store(path, name, value)
        return
    parts = [value] if isinstance(value, Mapping) else [_attributes(value).get(part) for part in PARTS]
    for part in parts:
        for key, inner in part.items() if isinstance(part, Mapping) else ():
            yield from _walk(path, inner, f"{name}.{key}".removeprefix("."), layers - 1)


def _store(path: Path, name: str, tensor: StridedTensor) -> StoredTensor:
    """The tensor, whose numbers may share a storage with others, in any order."""
    storage, offset, shape, stride = tensor.storage, tensor.offset, tensor.shape, tensor.stride
    numbers = (offset, *shape, *stride)
    whole = all(type(number) is int and number >= 0 for number in numbers) and len(shape) == len(stride)
    if not isinstance(storage, Storage) or not whole:
        raise UserError(f"{path}: {name!r:.80} is no tensor of numbers; download it again")
    span = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if prod(shape) else 0
    if offset + span > storage.numel:
        problem = f"of shape {shape} lies beyond its storage of {storage.numel:,} numbers"
        raise UserError(f"{path}: {name!r:.80} {problem}; download it again")

    def read() -> np.ndarray:
        values = storage.read(offset, span)
        steps = [step * values.itemsize for step in stride]
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False))

    return StoredTensor(shape, storage.dtype, read)
