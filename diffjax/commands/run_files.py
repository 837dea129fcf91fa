"""The files of a run beside its checkpoints: one that cannot be written stops no training."""

import json
from collections.abc import Callable
from pathlib import Path

from diffjax.errors import UserError, warn
from diffjax.training.nonfinite import Fault
from diffjax.utils.files import cause, describe_error

FAULTS = "faults.jsonl"


def report_fault(folder: Path | None, fault: Fault) -> None:
    """Report a step whose numbers are not finite, on the first host as one line of faults.jsonl or not at all."""
    warn(fault.describe(), new_line=True)
    if folder is None:
        return
    path = folder / FAULTS
    line = (json.dumps(vars(fault)) + "\n").encode()

    def append() -> None:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            if file.write(line) < len(line):
                file.truncate(before)
                raise OSError("no room for a whole line")

    attempt(path, append)


def attempt(path: Path, write: Callable[[], None]) -> None:
    """Write a file; one that cannot be written is reported."""
    try:
        write()
    except (UserError, OSError) as error:
        warn(f"{path}: cannot be written ({describe_error(cause(error))}); training goes on without it", new_line=True)
