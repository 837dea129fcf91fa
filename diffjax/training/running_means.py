"""Running means of metrics, as sums that travel with a checkpoint: a run that goes on logs what it would have logged.

A checkpoint between two logged steps has in its manifest, as `running_sums`, the sum of each metric over the steps
since the last logged one and their number: `{"loss": [3.28, 8]}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffjax.training import manifest, retention

FIELD = "running_sums"
Sums = Mapping[str, tuple[float, int]]  # by the metric's name


def add_metrics(sums: Sums, metrics: Mapping[str, float]) -> Sums:
    """The sums with the metrics of one more step. A metric that a step lacks stays as it is."""
    zero = (0.0, 0)
    new = {name: (sums.get(name, zero)[0] + value, sums.get(name, zero)[1] + 1) for name, value in metrics.items()}
    return {**sums, **new}


def means(sums: Sums) -> dict[str, float]:
    """The mean of each metric over the steps that have it."""
    return {name: total / count for name, (total, count) in sums.items()}


def read_sums(folder: Path, step: int) -> Sums:
    """The sums that were saved with the checkpoint of this step; empty where an older version saved none."""
    path = folder / f"{step:08d}"
    value = manifest.read_manifest(path).get(FIELD) if retention.is_readable(path) else None
    return parse_sums(value, step)


def parse_sums(value: Any, steps: int) -> Sums:
    """Sums over at most so many steps from what a manifest holds; empty where it holds anything else."""
    if not (isinstance(value, dict) and all(_is_sum(pair, steps) for pair in value.values())):
        return {}
    return {name: (total, count) for name, (total, count) in value.items()}


def _is_sum(pair: Any, steps: int) -> bool:
    if not (isinstance(pair, list) and len(pair) == 2):
        return False
    total, count = pair
    return isinstance(total, float) and type(count) is int and 1 <= count <= steps
