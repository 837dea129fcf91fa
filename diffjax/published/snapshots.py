"""Post-hoc averages (Karras et al. 2024, EDM2, section 3.2): one model from several stored averages of its training.

A folder holds files `PREFIX-KIMG-STD.pkl`, such as `edm2-img512-xs-2147483-0.135.pkl`: the average of that standard
deviation, relative to the training, after that many thousand images.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffjax.errors import UserError
from diffjax.published.stored_tensors import FLOATS, StoredTensor, WeightFile
from diffjax.training.ema import MAX_RESIDUAL, STD, std_from_name, synthesis_weights

NAME = re.compile(r"(?P<prefix>.+)-(?P<kimg>\d{1,9})-(?P<std>0\.\d{1,6})\.(pkl|pt|safetensors)")
CONSTANT = re.compile(r".*(emb_fourier|logvar_fourier)\..*")  # frequencies and phases, which are not trained


class Snapshot(NamedTuple):
    """A file, the thousands of images after which it was stored, and the std of its average."""

    path: Path
    kimg: int
    std: float


def find_snapshots(folder: Path) -> list[Snapshot]:
    """The snapshots in a folder, the earliest first. Raises UserError where they are of several trainings."""
    matches = [(path, match) for path in sorted(folder.iterdir()) if (match := NAME.fullmatch(path.name))]
    prefixes = {match["prefix"] for _, match in matches}
    if len(prefixes) > 1:
        raise UserError(f"{folder}: has snapshots of {' and '.join(sorted(prefixes)[:3])}; leave those of one training")
    snapshots = [Snapshot(path, int(match["kimg"]), float(match["std"])) for path, match in matches]
    return sorted(snapshots, key=lambda snapshot: (snapshot.kimg, snapshot.std))


def holds_snapshots(folder: Path) -> bool:
    """Whether a folder has such a file."""
    return any(NAME.fullmatch(path.name) for path in folder.iterdir())


def read_average(
    folder: Path, snapshots: Sequence[Snapshot], average: str | None, read: Callable[[Path], WeightFile]
) -> WeightFile:
    """The weights of an average `std=…` after the last snapshot, each tensor summed in float32 when it is read.

    Without a name, those of the only file. Raises UserError for several files without a name, for an average too far
    from what is stored, and for files of different tensors.
    """
    if average is None:
        if len(snapshots) == 1:
            return read(snapshots[0].path)
        stds = ", ".join(sorted({f"{STD}{snapshot.std:g}" for snapshot in snapshots}))
        raise UserError(f"{folder}: holds averages {stds}; choose one of any length, such as --ema std=0.1")
    stored = [(snapshot.kimg, snapshot.std) for snapshot in snapshots]
    amounts, error = synthesis_weights(stored, snapshots[-1].kimg, std_from_name(average))
    if error > MAX_RESIDUAL:
        problem = f"{average} is too far from the {len(snapshots)} stored (its profile would be {error:.0%} off)"
        raise UserError(f"{folder}: {problem}; choose one nearer to them")
    files = [read(snapshot.path) for snapshot in snapshots]
    shapes = {name: tensor.shape for name, tensor in files[-1].tensors.items()}
    for file in files:
        if {name: tensor.shape for name, tensor in file.tensors.items()} != shapes:
            raise UserError(f"{file.path}: has other tensors than {files[-1].path.name}; leave it out")
    tensors = {name: _sum(name, files, amounts) for name in shapes}
    return WeightFile(folder, tensors, files[-1].kind, files[-1].config)


def _sum(name: str, files: Sequence[WeightFile], amounts: np.ndarray) -> StoredTensor:
    """The sum of a tensor of all files by these amounts; the last one's where it is not trained."""
    last = files[-1].tensors[name]
    if CONSTANT.fullmatch(name) or last.dtype not in FLOATS:
        return last

    def read() -> np.ndarray:
        total = np.zeros(last.shape, np.float64)
        for file, amount in zip(files, amounts, strict=True):
            total += amount * file.tensors[name].read().astype(np.float64)
        return total.astype(np.float32)

    return StoredTensor(last.shape, np.dtype(np.float32), read)
