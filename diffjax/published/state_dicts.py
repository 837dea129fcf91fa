"""From an unpickled object to the tensors in it: a state dict, one within a checkpoint, or a pickled module."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import as_strided

from diffjax.errors import UserError
from diffjax.published.pickle_machine import Record
from diffjax.published.safe_pickle import StridedTensor
from diffjax.published.stored_tensors import MAX_NAME, StoredTensor, WeightFile, parse_shape, parse_steps
from diffjax.published.torch_files import Storage

AVERAGES = ("ema", "model_ema", "state_dict", "model", "net")  # the first that a checkpoint has is taken
WRAPPER = "module."  # before all names where a model was trained on several devices
PARTS = ("_parameters", "_buffers", "_modules")  # of a module
MAX_PARTS = 100_000  # of a model: modules, parameters and what else their dictionaries hold
MAX_REPEATS = 4  # of the numbers of a file, by tensors that share them


def gather_tensors(path: Path, content: object, average: str | None) -> WeightFile:
    """The tensors of an object by name. Raises UserError where it has none, or not that average."""
    averages = _checkpoint_weights(content)
    check_average(path, average, tuple(averages))
    if averages:
        average = average or next((name for name in AVERAGES if name in averages), next(iter(averages)))
        content = averages[average]
    tensors = {name: _store(path, name, tensor) for name, tensor in _collect(path, content).items()}
    if not tensors:
        raise UserError(f"{path}: holds no tensors; use a file of weights")
    _check_size(path, tensors)
    if all(name.startswith(WRAPPER) for name in tensors):
        tensors = {name.removeprefix(WRAPPER): tensor for name, tensor in tensors.items()}
    others = tuple(name for name in averages if name != average)
    if not isinstance(content, Record):
        return WeightFile(path, tensors, averages=others)
    return WeightFile(path, tensors, content.class_name, _arguments(path, content), others)


def check_average(path: Path, average: str | None, averages: tuple[str, ...] = ()) -> None:
    """Raise UserError for the name of weights that a file of these does not have."""
    if average is not None and average not in averages:
        choice = f"it has {', '.join(f'{name:.40}' for name in averages[:5])}" if averages else "it has one set"
        raise UserError(f"{path}: has no weights named {average!r:.40}; {choice}")


def _checkpoint_weights(content: object) -> dict[str, object]:
    """The entries of a checkpoint that are weights; none of a state dict or a module."""
    if not isinstance(content, Mapping):
        return {}
    return {name: value for name, value in content.items() if isinstance(name, str) and _has_weights(value)}


def _has_weights(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(inner, StridedTensor) for inner in value.values())
    return isinstance(value, Record) and "_modules" in value.attributes


def _arguments(path: Path, module: Record) -> dict[str, object]:
    arguments = module.attributes.get("_init_kwargs", {})
    if not isinstance(arguments, Mapping):
        raise UserError(f"{path}: the arguments of its module are no dictionary; use the file as published")
    return {str(name): value for name, value in arguments.items()}


def _collect(path: Path, content: object) -> dict[str, StridedTensor]:
    """The tensors in a state dict or a module, named by the way to each."""
    tensors: dict[str, StridedTensor] = {}
    waiting, count = [("", content)], 0
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, StridedTensor):
            tensors[name] = value
        for part in reversed(_parts(value)):
            count += len(part)
            # A module may be a part of itself, or of many others, which are parts of many others.
            if count > MAX_PARTS or len(name) > MAX_NAME:
                raise UserError(f"{path}: {name!r:.80} is one of too many modules within modules; save its state dict")
            waiting += [(f"{name}.{key}".removeprefix("."), inner) for key, inner in reversed(part.items())]
    return tensors


def _parts(value: object) -> list[dict]:
    parts = [value]
    if isinstance(value, Record):
        parts = [value.attributes.get(name) for name in PARTS]
    return [part for part in parts if isinstance(part, dict)]


def _store(path: Path, name: str, tensor: StridedTensor) -> StoredTensor:
    """The tensor, whose numbers may share a storage with others, in any order."""
    match tensor.storage, tensor.offset, parse_shape(tensor.shape), parse_steps(tensor.stride):
        case Storage() as storage, int(offset), tuple(shape), tuple(steps) if offset >= 0 and len(shape) == len(steps):
            # An axis of length 1 may have any stride: no step is taken along it.
            strides = [step if size > 1 else 0 for size, step in zip(shape, steps, strict=True)]
            last = sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
            span = last + 1 if prod(shape) else 0
            if offset + span <= storage.numel:
                return StoredTensor(shape, storage.dtype, partial(_read_view, storage, offset, span, shape, strides))
            problem = f"of shape {shape} lies beyond its storage of {storage.numel:,} numbers"
            raise UserError(f"{path}: {name!r:.80} {problem}; download it again")
    raise UserError(f"{path}: {name!r:.80} is no tensor of numbers; download it again")


def _read_view(storage: Storage, offset: int, span: int, shape: tuple[int, ...], strides: Sequence[int]) -> np.ndarray:
    """The view of the `span` numbers from `offset` on, in row-major order."""
    values = storage.read(offset, span)
    byte_strides = [step * values.itemsize for step in strides]
    return np.asarray(as_strided(values, shape, byte_strides, writeable=False), order="C")


def _check_size(path: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Raise UserError where tensors that share numbers would take much more memory than the file has bytes."""
    total, size = sum(tensor.bytes for tensor in tensors.values()), path.stat().st_size
    if total > MAX_REPEATS * size:
        largest = max(tensors, key=lambda name: tensors[name].bytes)
        problem = f"{largest!r:.80} of shape {tensors[largest].shape} and others would have {total:,} bytes"
        raise UserError(f"{path}: {problem}, in a file of {size:,}; save it with a storage for each tensor")
