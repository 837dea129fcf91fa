"""The golden files: a case's weights as a file of tensors, its inputs, and the original's outputs."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffjax.published.stored_tensors import StoredTensor, WeightFile
from tests.published.seeded import seeded_tensor

GOLDEN = Path(__file__).parent / "golden"
MAX_ERROR = 5e-6  # relative: of float32 in two programs


class Case(NamedTuple):
    """A net of an original: its tensors, settings and arrays by name."""

    file: WeightFile
    about: dict[str, Any]
    arrays: dict[str, np.ndarray]


def read_case(path: Path) -> Case:
    with np.load(path) as content:
        arrays = dict(content)
    about = json.loads(arrays.pop("about").tobytes())
    kept = {name.removeprefix("kept/"): arrays.pop(name) for name in list(arrays) if name.startswith("kept/")}
    tensors = {name: seeded_tensor(name, tuple(shape)) for name, shape in about["shapes"].items()} | kept
    file = weight_file(tensors, about["file"], about.get("kind", ""), about.get("config", {}))
    return Case(file, about, arrays)


def weight_file(
    tensors: dict[str, np.ndarray], name: str = "weights.pt", kind: str = "", config: dict[str, Any] | None = None
) -> WeightFile:
    """Tensors as a file that was read."""
    stored = {key: StoredTensor(value.shape, value.dtype, value.copy) for key, value in tensors.items()}
    return WeightFile(Path(name), stored, kind, config or {})


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The larger of the errors in the mean square and in the maximum, relative to theirs."""
    difference = np.asarray(ours, np.float64) - theirs
    mean_square = np.sqrt((difference**2).mean() / (theirs.astype(np.float64) ** 2).mean())
    return float(max(mean_square, np.abs(difference).max() / np.abs(theirs).max()))
