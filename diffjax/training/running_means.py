"""Running means of metrics, as sums that are saved with a checkpoint, so that a resumed run logs the same means.

A checkpoint between two logged steps has in its manifest, as `running_sums`, the sum of each metric over the steps
since the last logged one and their number: `{"loss": [3.28, 8]}`.
"""

from collections.abc import Mapping
from pathlib import Path

from diffjax.training import manifest

FIELD = "running_sums"
Sums = Mapping[str, tuple[float, int]]  # by the metric's name


def add_metrics(sums: Sums, metrics: Mapping[str, float]) -> Sums:
    """The sums with the metrics of one more step; a metric that the step lacks is unchanged."""
    zero = (0.0, 0)
    new = {name: (sums.get(name, zero)[0] + value, sums.get(name, zero)[1] + 1) for name, value in metrics.items()}
    return {**sums, **new}


def means(sums: Sums) -> dict[str, float]:
    """The mean of each metric over the steps that have it."""
    return {name: total / count for name, (total, count) in sums.items()}


def read_sums(folder: Path, step: int) -> Sums:
    """The sums that were saved with the checkpoint of this step; empty where there are none."""
    return parse_sums(manifest.read_if_possible(folder / f"{step:08d}").get(FIELD), step)


def parse_sums(value: object, steps: int) -> Sums:
    """Sums over at most `steps` steps from a manifest's field; empty where it is anything else."""
    if not (isinstance(value, dict) and all(_is_sum(pair, steps) for pair in value.values())):
        return {}
    return {name: (total, count) for name, (total, count) in value.items()}


def _is_sum(pair: object, steps: int) -> bool:
    if not (isinstance(pair, list) and len(pair) == 2):
        return False
    total, count = pair
    return isinstance(total, float) and type(count) is int and 1 <= count <= steps
