"""Tensors in files: their shapes and types are known when the file is opened, their numbers are read on demand."""

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

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor. Raises UserError where the file has none of that name."""
        if name not in self.tensors:
            raise UserError(f"{self.path}: has no tensor {name!r}, which this kind of model needs; use the whole file")
        return self.tensors[name].shape

    def setting(self, name: str, expected: type, default: object = None) -> Any:
        """A value of `config`. Raises UserError where it is of another type."""
        value = self.config.get(name, default)
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):
            problem = f"expected {name} to be of type {expected.__name__}, got {value!r:.80}"
            raise UserError(f"{self.path}: {problem}; use the config that the weights came with")
        return value


def region_tensor(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> StoredTensor:
    """A tensor whose numbers are in row-major order at an offset in a file."""

    def read() -> np.ndarray:
        data = read_region(path, offset, prod(shape) * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(shape)

    return StoredTensor(shape, dtype, read)
