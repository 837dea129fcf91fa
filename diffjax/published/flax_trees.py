"""Weights of Flax, in a MessagePack file or an Orbax checkpoint, as the tensors of the torch modules that they mirror.

diffusers' Flax models and others name a module `down_blocks_0` where torch has `down_blocks.0`, and have kernels
[*sides, in, out] where torch has weights [out, in, *sides].
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import cast

import jax
import numpy as np
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.published.state_dicts import check_average
from diffjax.published.stored_tensors import StoredTensor, WeightFile
from diffjax.utils.tree_paths import leaves_by_name

WEIGHTS = ("ema_params", "params_ema", "ema", "params", "target", "model")  # the first that a tree has is taken
PARAMETERS = "params"  # the collection around the modules
ORBAX_TREE = "_METADATA"  # of a folder that holds a tree of arrays
UNNUMBERED = ("linear_1", "linear_2")  # modules that torch names so as well
NUMBERED = re.compile(r"(.+)_(\d+)")
KERNEL = "kernel"
TORCH_WEIGHTS = (KERNEL, "scale", "embedding")  # each a `weight` of torch


def holds_orbax_tree(folder: Path) -> bool:
    """Whether a folder is an Orbax checkpoint of a tree of arrays."""
    return (folder / ORBAX_TREE).is_file()


def read_orbax_tree(folder: Path) -> PyTree:
    """The tree, with a `StoredTensor` for each array. Raises ValueError, or the errors of Orbax, for a damaged one."""
    from diffjax.training import checkpoint_validation  # Orbax takes a second to import, and files do without it

    def store(leaf: PyTree) -> StoredTensor:
        read = partial(checkpoint_validation.read_arrays, folder, leaf)
        return StoredTensor(tuple(leaf.shape), np.dtype(leaf.dtype), read)

    return jax.tree.map(store, checkpoint_validation.array_specs(folder))


def gather_flax(path: Path, tree: Mapping[str, PyTree], average: str | None) -> WeightFile:
    """The tensors of a tree; `average` names one of several weights in it.

    Raises UserError where it has none, or not that average.
    """
    averages = [name for name in WEIGHTS if isinstance(tree.get(name), Mapping)]
    check_average(path, average, tuple(averages))
    average = average or next(iter(averages), None)
    content = tree if average is None else tree[average]
    if isinstance(content.get(PARAMETERS), Mapping):
        content = content[PARAMETERS]
    leaves = leaves_by_name(content)
    arrays = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, StoredTensor)}
    if not arrays:
        raise UserError(f"{path}: holds no tensors; use a file of weights")
    tensors = {_torch_name(name): _torch_layout(name, tensor) for name, tensor in arrays.items()}
    return WeightFile(path, tensors, averages=tuple(name for name in averages if name != average))


def _torch_name(name: str) -> str:
    *modules, leaf = name.split("/")
    parts = [_torch_module(module) for module in modules]
    return ".".join([*parts, "weight" if leaf in TORCH_WEIGHTS else leaf])


def _torch_module(name: str) -> str:
    numbered = NUMBERED.fullmatch(name)
    return name if numbered is None or name in UNNUMBERED else ".".join(numbered.groups())


def _torch_layout(name: str, tensor: StoredTensor) -> StoredTensor:
    *_, leaf = name.split("/")
    if leaf != KERNEL or len(tensor.shape) < 2:
        return tensor
    *sides, inputs, outputs = tensor.shape
    return StoredTensor((outputs, inputs, *sides), tensor.dtype, partial(_read_weight, tensor))


def _read_weight(kernel: StoredTensor) -> np.ndarray:
    values = kernel.read()
    return cast(np.ndarray, values.transpose(-1, -2, *range(values.ndim - 2)))
