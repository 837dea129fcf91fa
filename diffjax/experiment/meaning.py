"""Which fields of a config decide what the numbers of a state mean, their hash, and how two configs differ."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffjax.errors import UserError

# Fields that decide what the numbers of a state mean: a run keeps them, and each of its checkpoints has their hash.
KEPT = (
    *("model", "data.name", "data.image_size", "data.form", "data.batch_size", "data.parts", "data.leave_out"),
    *("train.seed", "train.ema", "train.ema_std", "train.freeze"),
)


def digest(config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """SHA-256 of the kept fields and of the facts of the data that a model learns.

    Empty values are left out: a field that a later version adds stands, when empty, for what this one does, so it
    changes no hash.
    """
    fields = {path: value for path, value in _leaves(config).items() if path.startswith(KEPT)}
    meant = {"config": fields, "facts": dict(facts)}
    text = json.dumps({part: _canonical(values) for part, values in meant.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def changes(saved: dict[str, Any], given: dict[str, Any], workdir: Path) -> list[str]:
    """The fields that differ from the run's, in words. Raises UserError that names all of those that a run keeps."""
    new = sorted(_differences(saved, given).items())
    kept = [f"config.{path}: expected {before!r}, got {now!r}" for path, (before, now) in new if path.startswith(KEPT)]
    if kept:
        raise UserError(
            f"{'; '.join(kept)}; {workdir} was trained with what is expected, and keeps it: leave out what differs "
            f"(--workdir {workdir} alone resumes), or use a new --workdir"
        )
    return [f"config.{path}: {before!r} before, {now!r} from here on" for path, (before, now) in new]


def inherited(given: Any, saved: Any) -> Any:
    """Given fields, with the run's own value for each that is None, which stands for what a new run measures."""
    if isinstance(given, Mapping) and isinstance(saved, Mapping):
        return {name: inherited(value, saved.get(name)) for name, value in given.items()}
    return saved if given is None else given


def completed(saved: Any, defaults: Any) -> Any:
    """Saved fields, and those that an older version did not have with what stands for it now."""
    if not (isinstance(saved, dict) and isinstance(defaults, dict)):
        return saved
    return {**defaults, **{name: completed(value, defaults.get(name)) for name, value in saved.items()}}


def _differences(saved: Any, given: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted path → (saved, given) of every field that differs."""
    if not (isinstance(saved, dict) and isinstance(given, dict)):
        return {} if saved == given else {path[:-1]: (saved, given)}
    found = {}
    for name in saved.keys() | given.keys():
        found |= _differences(saved.get(name), given.get(name), f"{path}{name}.")
    return found


def _leaves(fields: Any, path: str = "") -> dict[str, Any]:
    """Dotted path → value of every field."""
    if not isinstance(fields, Mapping):
        return {path[:-1]: fields}
    found = {}
    for name, value in fields.items():
        found |= _leaves(value, f"{path}{name}.")
    return found


def _canonical(value: Any) -> Any:
    """One spelling of values that are equal: 1.0, 1 and True are one number, tuples are lists, and empty is absent."""
    if isinstance(value, Mapping):
        return {name: _canonical(each) for name, each in value.items() if each}
    if isinstance(value, (list, tuple)):
        return [_canonical(each) for each in value]
    if isinstance(value, (int, float)) and value == value // 1:
        return int(value)
    return value
