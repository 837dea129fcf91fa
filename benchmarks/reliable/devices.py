"""The same run on several numbers of devices, and one checkpoint carried from one number to another."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from reliable import runs

COUNTS = (1, 2, 4, 8)
WAY = (8, 1, 2, 4, 8)


def spread(folder: Path, counts: tuple[int, ...] = COUNTS, steps: int = 100) -> dict[str, Any]:
    """Losses of the same run on each number of devices against those on one, and the examples of each step."""
    begun, traces, examples = time.perf_counter(), [], []
    for devices in counts:
        workdir = folder / f"on{devices}"
        runs.finish(workdir, devices, steps=steps, save_every_steps=steps)
        losses = runs.trace(workdir)
        traces.append(np.array([losses[step][0] for step in range(1, steps + 1)]))
        examples.append(runs.program("examples.py", runs.config_in(folder), steps, devices=devices).splitlines())
    return {
        "devices": list(counts),
        "steps": steps,
        "largest_difference": max(float(np.max(np.abs(other / traces[0] - 1))) for other in traces[1:]),
        "steps_of_other_examples": sum(
            one != other for each in examples[1:] for one, other in zip(examples[0], each, strict=True)
        ),
        "seconds": time.perf_counter() - begun,
    }


def carried(folder: Path, way: tuple[int, ...] = WAY, steps: int = 20) -> dict[str, Any]:
    """A checkpoint written on the first number of devices, restored and written again on each of the next."""
    begun, first = time.perf_counter(), folder / "carried0"
    runs.finish(first, way[0], steps=steps, save_every_steps=steps)
    places = [folder / f"carried{i}" for i in range(len(way))]
    for (before, after), devices in zip(pairwise(places), way[1:], strict=True):
        runs.program("resave.py", before / "checkpoints", after / "checkpoints", devices=devices)
    equal = [runs.bits(place, steps) == runs.bits(first, steps) for place in places[1:]]
    return {"way": list(way), "equal": sum(equal), "seconds": time.perf_counter() - begun}
