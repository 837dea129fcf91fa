"""What a run writes beside its checkpoints: where one of these cannot be written, that is told and training goes on."""

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
from diffjax.utils.files import cause, describe_error

PICTURES = "pictures"
FAULTS = "faults.jsonl"


def write_picture(workdir: Path, step: int, picture: UInt8[np.ndarray, "h w c"]) -> None:
    """Write samples of a step as `pictures/step_00001000.png`."""
    path = workdir / PICTURES / f"step_{step:08d}.png"
    _attempt(path, lambda: write_png(path, picture))


def write_snapshot(workdir: Path, step: int, emas: dict[str, PyTree], identity: Identity) -> None:
    """Write the averages of constant share, see `trained_model.snapshot`."""
    path = workdir / trained_model.SNAPSHOTS / f"{step:08d}"
    _attempt(path, lambda: trained_model.store_snapshot(workdir, step, emas, identity))


def write_fault(workdir: Path, fault: Fault) -> None:
    """Append all that is known of a step whose numbers were not finite to faults.jsonl, as one line or not at all."""
    path, line = workdir / FAULTS, (json.dumps(vars(fault)) + "\n").encode()

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
