"""Tensors in files: their shapes and types are known when the file is opened, their numbers are read on demand."""

import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffjax.errors import UserError
from diffjax.utils.file_regions import read_region

BFLOAT16 = np.dtype(jnp.bfloat16)
MAX_NAME = 200  # letters of a tensor's name
MAX_AXES = 32
MAX_NUMBERS = 2**48  # of a tensor: NumPy cannot have many more
MAX_FLOAT_BITS = 1023  # of an integer that is a float
FLOATS = tuple(np.dtype(kind) for kind in (np.float16, BFLOAT16, np.float32, np.float64))


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file; `read()` returns its numbers, a new array at each call."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    @property
    def bytes(self) -> int:
        """Its size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file by name, and what else it says.

    `kind` is the class that wrote it and `config` its arguments, where the file has them: those of a diffusers folder,
    or of a pickled module. `averages` are the names of other weights that the file holds beside these.
    """

    path: Path
    tensors: Mapping[str, StoredTensor]
    kind: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    averages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError for a name that no message could repeat."""
        for name in self.tensors:
            if len(name) > MAX_NAME or not name.isprintable():
                raise UserError(
                    f"{self.path}: has a tensor named {name!r:.80}, which is too long, or no text; rename it"
                )

    def shape(self, name: str, axes: int | None = None) -> tuple[int, ...]:
        """The shape of a tensor. Raises UserError where the file has none of that name, or of that number of axes."""
        if name not in self.tensors:
            raise UserError(f"{self.path}: has no tensor {name!r}, which this kind of model needs; use the whole file")
        shape = self.tensors[name].shape
        if 0 in shape or (axes is not None and len(shape) != axes):
            expected = "no axis of length 0" if axes is None else f"{axes} axes, none of length 0"
            raise UserError(
                f"{self.path}: {name!r} has shape {shape}, expected {expected}; use the weights as published"
            )
        return shape

    def length(self, name: str, axis: int) -> int:
        """The length of a tensor along an axis. Raises UserError where it has none."""
        shape = self.shape(name)
        if len(shape) <= axis:
            problem = f"{name!r} has shape {shape}, and no axis {axis}"
            raise UserError(f"{self.path}: {problem}; use the weights as published")
        return shape[axis]

    def depth(self, part: str) -> int:
        """One more than the highest number i of tensors `part.i.…`, at least 1."""
        pattern = re.compile(re.escape(part) + r"\.(\d{1,4})\.")
        return 1 + max((int(match[1]) for name in self.tensors if (match := pattern.match(name))), default=0)

    def setting(self, name: str, expected: type, default: object = None) -> Any:
        """A value of `config`. Raises UserError where it is of another type."""
        value = self.config.get(name, default)
        if expected is float and type(value) is int and value.bit_length() <= MAX_FLOAT_BITS:
            value = float(value)
        if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):
            problem = f"expected {name} to be of type {expected.__name__}, got {reprlib.repr(value):.80}"
            raise UserError(f"{self.path}: {problem}; use the config that the weights came with")
        return value


def region_tensor(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> StoredTensor:
    """A tensor whose numbers are in row-major order at an offset in a file."""

    def read() -> np.ndarray:
        data = read_region(path, offset, prod(shape) * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(shape)

    return StoredTensor(shape, dtype, read)


def parse_shape(value: object) -> tuple[int, ...] | None:
    """The shape that a file says; None for what is none, or has more numbers than an array can have."""
    shape = parse_steps(value)
    return shape if shape is not None and prod(max(1, size) for size in shape) <= MAX_NUMBERS else None


def parse_steps(value: object) -> tuple[int, ...] | None:
    """A few integers, 0 or more; None for what is none of this."""
    if not isinstance(value, list | tuple) or len(value) > MAX_AXES:
        return None
    return tuple(value) if all(type(number) is int and number >= 0 for number in value) else None
