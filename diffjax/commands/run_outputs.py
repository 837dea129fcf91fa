"""What a run writes beside its checkpoints; a file that cannot be written is reported, and training goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import PyTree, UInt8

from diffjax.errors import UserError, warn
from diffjax.experiment import trained_model
from diffjax.reports import write_png
from diffjax.training.identity import Identity
from diffjax.training.nonfinite import Fault
from diffjax.training.state import State
from diffjax.training.step import Metrics
from diffjax.utils.files import cause, describe_error

Call = Callable[[int, State, Metrics], None]  # of the step, the state and the metrics

PICTURES = "pictures"
FAULTS = "faults.jsonl"


def write_picture(workdir: Path, step: int, picture: UInt8[np.ndarray, "h w c"]) -> None:
    """Write a picture of samples as `pictures/step_00001000.png`."""
    path = workdir / PICTURES / f"step_{step:08d}.png"
    _attempt(path, lambda: write_png(path, picture))


def write_snapshot(workdir: Path, step: int, emas: dict[str, PyTree], identity: Identity) -> None:
    """Write the averages, see `trained_model.store_snapshot`."""
    path = workdir / trained_model.SNAPSHOTS / f"{step:08d}"
    _attempt(path, lambda: trained_model.store_snapshot(workdir, step, emas, identity))


def write_fault(workdir: Path, fault: Fault) -> None:
    """Append a step whose numbers were not finite to faults.jsonl, as one line or not at all."""
    path = workdir / FAULTS
    line = (json.dumps(vars(fault)) + "\n").encode()

    def append() -> None:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            if file.write(line) < len(line):
                file.truncate(before)
                raise OSError("no room for a whole line")

    _attempt(path, append)


def _attempt(path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except (UserError, OSError) as error:
        warn(f"{path}: cannot be written ({describe_error(cause(error))}); training goes on without it", new_line=True)
