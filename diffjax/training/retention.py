"""Which checkpoints are kept, and how the others go: never before a newer one is whole, and never by halves."""

import shutil
import time
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from diffjax.errors import UserError, warn
from diffjax.training import manifest
from diffjax.utils.files import describe_error

DELETE_ATTEMPTS = 10  # to read the newest checkpoint, beside a trainer that deletes it


@dataclass(frozen=True)
class RetentionPolicy:
    """The newest `last`; every step that divides by `every_steps` (0: none); and the one with the least `best_by`.

    `best_by` names a metric that is saved with a checkpoint; empty, none is best.
    """

    last: int = 3
    every_steps: int = 0
    best_by: str = ""

    def __post_init__(self) -> None:
        if self.last < 1:
            raise UserError(f"train.keep_checkpoints: expected at least 1, got {self.last}")
        if self.every_steps < 0:
            raise UserError(f"train.keep_every_steps: expected 0 (none) or more, got {self.every_steps}")


def checkpoint_folders(folder: Path) -> list[Path]:
    """Folders that are named like checkpoints, the newest first."""
    paths = (path for path in _folders(folder, "*") if path.name.isdecimal())
    return sorted(paths, key=lambda path: int(path.name), reverse=True)


def complete_checkpoints(folder: Path) -> list[Path]:
    """Those of them whose writing was finished."""
    return [path for path in checkpoint_folders(folder) if (path / manifest.MANIFEST).exists()]


def best_checkpoint(folder: Path, metric: str) -> Path | None:
    """The finished checkpoint with the least value of a metric; None where none has it."""
    values = [(value, path) for path in complete_checkpoints(folder) if (value := _metric(path, metric)) is not None]
    return min(values, key=lambda pair: pair[0])[1] if values else None


def checkpoint_at_step(folder: Path, step: int) -> Path:
    """The checkpoint of that step. Raises UserError where it is not whole."""
    checkpoint_path = folder / f"{step:08d}"
    if problem := "it is a link" if checkpoint_path.is_symlink() else manifest.find_damage(checkpoint_path):
        raise UserError(f"{checkpoint_path}: {problem}; {describe_steps(folder)}")
    return checkpoint_path


def describe_steps(folder: Path) -> str:
    """The steps of a folder, for a message."""
    return f"the steps here are: {', '.join(str(int(path.name)) for path in checkpoint_folders(folder)) or 'none'}"


def newest_valid(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; None where there is none at all. Raises UserError where all are damaged."""
    have: list[Path] = []
    for _ in range(DELETE_ATTEMPTS):  # a trainer deletes one only when a newer one is whole
        have = checkpoint_folders(folder)
        for path in have:
            problem = manifest.find_damage(path)
            if not problem:
                return path
            if not path.exists():
                break
            warn(f"checkpoint {path} is not taken: {problem}")
        else:
            break
    if have:
        raise UserError(f"{folder}: none of the {len(have)} checkpoints is whole; restore one, or use a new --workdir")
    return None


def prepare(partial: Path, size: int) -> None:
    """Make an empty folder for a checkpoint of `size` bytes, once what is left of earlier ones is cleared away.

    Raises OSError where the disk has no room for it: told here in one line, and not by each of Orbax's threads.
    """
    clear(partial.parent)
    partial.mkdir(parents=True)
    free = shutil.disk_usage(partial).free
    if size > free:
        raise OSError(f"no space left: it takes {size:,} bytes, and {free:,} are free")


def commit(partial: Path, final: Path) -> None:
    """Give a whole checkpoint its final name, in place of one that has it. Raises OSError, and changes nothing."""
    gone = _deleted(final)
    replaces = final.exists()
    if replaces:
        shutil.rmtree(gone, ignore_errors=True)
        final.rename(gone)
    try:
        partial.rename(final)
    except OSError:
        if replaces:
            gone.rename(final)
        raise
    shutil.rmtree(gone, ignore_errors=True)


def prune(folder: Path, keep: RetentionPolicy, newest: int) -> None:
    """Delete the finished checkpoints up to `newest` that the policy does not keep; warn where that fails."""
    steps = [path for path in complete_checkpoints(folder) if int(path.name) <= newest]
    kept_steps = set(steps[: keep.last])
    kept_steps |= {path for path in steps if keep.every_steps and int(path.name) % keep.every_steps == 0}
    kept_steps |= {best_checkpoint(folder, keep.best_by)} if keep.best_by else set()
    try:
        for path in steps:
            if path not in kept_steps:
                delete(path)
    except OSError as error:
        warn(f"{folder}: an old checkpoint cannot be deleted ({describe_error(error)}); the next save tries again")


def delete(path: Path) -> None:
    """Take a folder's name away first, so that a kill leaves it whole or no checkpoint."""
    gone = _deleted(path)
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone)


def clean_up_partial(folder: Path) -> None:
    """Clear away what a killed run left: what was being deleted, and what was being written unless it is whole.

    Raises UserError where what is whole cannot be given its name.
    """
    for path in _folders(folder, ".*.partial"):
        final = folder / path.name.split(".")[1]
        if not final.exists() and not manifest.find_damage(path):
            try:
                path.rename(final)
            except OSError as error:
                raise UserError(
                    f"{path}: cannot be renamed to {final.name} ({describe_error(error)}); rename it"
                ) from None
    clear(folder)


def clear(folder: Path) -> bool:
    """Delete incomplete checkpoints (`.*.partial`) and partly deleted ones (`.*.deleted`); whether there were any."""
    incomplete = [path for pattern in (".*.deleted", ".*.partial") for path in _folders(folder, pattern)]
    for path in incomplete:
        shutil.rmtree(path, ignore_errors=True)
    return bool(incomplete)


def clear_after_failure(folder: Path, quiet_s: float = 0.5, timeout_s: float = 5.0) -> None:
    """Clear until nothing comes back for `quiet_s` seconds: threads of a failed save write, and make folders, on."""
    deadline = time.monotonic() + timeout_s
    last = time.monotonic()
    while time.monotonic() < min(deadline, last + quiet_s):
        if clear(folder):
            last = time.monotonic()
        time.sleep(0.05)


def _deleted(path: Path) -> Path:
    """The name that a checkpoint has while it is deleted."""
    return path.with_name(f".{path.name}.deleted")


def _folders(folder: Path, pattern: str) -> list[Path]:
    """Those of that name; a link is none of ours."""
    return [path for path in folder.glob(pattern) if path.is_dir() and not path.is_symlink()]


def is_readable(path: Path) -> bool:
    """Whether a checkpoint's manifest can be read, and says something."""
    try:
        return isinstance(manifest.read_manifest(path), dict)
    except (ValueError, OSError, RecursionError):
        return False


def _metric(path: Path, name: str) -> float | None:
    """A metric that was saved with a checkpoint; None where it was not, or its manifest cannot be read."""
    metrics = manifest.read_manifest(path).get("metrics") if is_readable(path) else None
    value = metrics.get(name) if isinstance(metrics, dict) else None
    return value if isinstance(value, float) and isfinite(value) else None
