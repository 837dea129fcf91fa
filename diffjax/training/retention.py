"""Retention of checkpoints: which are kept, and atomic deletion of others once a newer one is complete."""

import shutil
import time
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from diffjax.errors import UserError, warn
from diffjax.training import manifest
from diffjax.utils.files import describe_error

DELETE_ATTEMPTS = 10  # to read the newest checkpoint beside a trainer that deletes it


@dataclass(frozen=True)
class RetentionPolicy:
    """The newest `last`; every step divisible by `every_steps` (0: none); and the one of the lowest `best_by`.

    `best_by` is a metric that is saved with a checkpoint; with an empty name none is best.
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
    """Folders with names of checkpoints, the newest first."""
    paths = (path for path in _folders(folder, "*") if path.name.isdecimal())
    return sorted(paths, key=lambda path: int(path.name), reverse=True)


def complete_checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints, the newest first."""
    return [path for path in checkpoint_folders(folder) if (path / manifest.MANIFEST).exists()]


def best_checkpoint(folder: Path, metric: str) -> Path | None:
    """The finished checkpoint of the lowest value of a metric; None where none has it."""
    values = [(value, path) for path in complete_checkpoints(folder) if (value := _metric(path, metric)) is not None]
    return min(values, key=lambda pair: pair[0])[1] if values else None


def checkpoint_at_step(folder: Path, step: int) -> Path:
    """The checkpoint of that step. Raises UserError where it is not whole."""
    path = folder / f"{step:08d}"
    problem = "it is a link" if path.is_symlink() else manifest.find_damage(path)
    if problem:
        raise UserError(f"{path}: {problem}; {describe_steps(folder)}")
    return path


def describe_steps(folder: Path) -> str:
    """The steps of a folder, for a message."""
    return f"the steps here are: {', '.join(str(int(path.name)) for path in checkpoint_folders(folder)) or 'none'}"


def newest_valid(folder: Path) -> Path | None:
    """The newest whole checkpoint; None where there is none at all. Raises UserError where all are damaged."""
    paths: list[Path] = []
    for _ in range(DELETE_ATTEMPTS):
        paths = checkpoint_folders(folder)
        for path in paths:
            problem = manifest.find_damage(path)
            if not problem:
                return path
            if not path.exists():  # a trainer deletes one only when a newer one is whole: look again
                break
            warn(f"checkpoint {path} is not taken: {problem}")
        else:
            break
    if paths:
        raise UserError(f"{folder}: none of the {len(paths)} checkpoints is whole; restore one, or use a new --workdir")
    return None


def prepare(partial: Path, size: int) -> None:
    """Make an empty folder for a checkpoint of `size` bytes, after deleting the remains of earlier ones.

    Raises OSError where the disk has no room for it: one line here, in place of one from each of Orbax's threads.
    """
    clear(partial.parent)
    partial.mkdir(parents=True)
    free = shutil.disk_usage(partial).free
    if size > free:
        raise OSError(f"no space left: it takes {size:,} bytes, and {free:,} are free")


def commit(partial: Path, final: Path) -> None:
    """Rename a complete checkpoint to its final name, replacing an older one. On an OSError nothing changes."""
    old = _deleted(final)
    replaces = final.exists()
    if replaces:
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    try:
        partial.rename(final)
    except OSError:
        if replaces:
            old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def prune(folder: Path, keep: RetentionPolicy, newest: int) -> None:
    """Delete the finished checkpoints up to `newest` that the policy does not keep; warn where that fails."""
    paths = [path for path in complete_checkpoints(folder) if int(path.name) <= newest]
    kept = set(paths[: keep.last])
    kept |= {path for path in paths if keep.every_steps and int(path.name) % keep.every_steps == 0}
    kept |= {best_checkpoint(folder, keep.best_by)} if keep.best_by else set()
    try:
        for path in paths:
            if path not in kept:
                delete(path)
    except OSError as error:
        warn(f"{folder}: an old checkpoint cannot be deleted ({describe_error(error)}); the next save tries again")


def delete(path: Path) -> None:
    """Rename a folder, then delete it, so that a kill leaves a complete checkpoint or none."""
    gone = _deleted(path)
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone)


def clean_up_partial(folder: Path) -> None:
    """Delete checkpoints that a killed run left incomplete; a complete one gets its final name.

    Raises UserError where it cannot be renamed.
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


def _metric(path: Path, name: str) -> float | None:
    """A finite metric that was saved with a checkpoint; None where it was not, or the manifest cannot be read."""
    metrics = manifest.read_if_possible(path).get("metrics")
    value = metrics.get(name) if isinstance(metrics, dict) else None
    return value if isinstance(value, float) and isfinite(value) else None


def _deleted(path: Path) -> Path:
    """The name of a checkpoint while it is deleted."""
    return path.with_name(f".{path.name}.deleted")


def _folders(folder: Path, pattern: str) -> list[Path]:
    """Folders that match; links are not followed."""
    return [path for path in folder.glob(pattern) if path.is_dir() and not path.is_symlink()]
