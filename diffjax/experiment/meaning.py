"""Which fields of a config decide what the numbers of a state mean, their hash, and how two configs differ."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffjax.errors import UserError

# Fields that decide what the numbers of a state mean: a run keeps them, and each of its checkpoints has their hash.
MEANING_FIELDS = (
    *("model", "data.name", "data.image_size", "data.form", "data.batch_size", "data.parts", "data.leave_out"),
    *("train.seed", "train.ema", "train.ema_std", "train.freeze"),
)


def meaning_hash(config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """SHA-256 of the kept fields and of the facts of the data that a model learns.

    Empty values are left out: a field that a later version adds stands, when empty, for what this one does, so it
    changes no hash.
    """
    fields = {path: value for path, value in _flatten_fields(config).items() if path.startswith(MEANING_FIELDS)}
    document = {"config": fields, "facts": dict(facts)}
    text = json.dumps({part: _canonical(values) for part, values in document.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def changed_fields(saved: dict[str, Any], requested: dict[str, Any], workdir: Path) -> list[str]:
    """The fields that differ from the run's, in words. Raises UserError that names all of those that a run keeps."""
    new = sorted(_differences(saved, requested).items())
    problems = [
        f"config.{path}: expected {before!r}, got {now!r}"
        for path, (before, now) in new
        if path.startswith(MEANING_FIELDS)
    ]
    if problems:
        raise UserError(
            f"{'; '.join(problems)}; {workdir} was trained with what is expected, and keeps it: leave out what differs "
            f"(--workdir {workdir} alone resumes), or use a new --workdir"
        )
    return [f"config.{path}: {before!r} before, {now!r} from here on" for path, (before, now) in new]


def inherited(current: Any, saved: Any) -> Any:
    """Fields of `current`, with the run's own value for each that is None, which stands for what a new run measures."""
    if isinstance(current, Mapping) and isinstance(saved, Mapping):
        return {name: inherited(value, saved.get(name)) for name, value in current.items()}
    return saved if current is None else current


def fill_missing_fields(saved: Any, defaults: Any) -> Any:
    """Saved fields, and those that an older version did not have with what stands for it now."""
    if not (isinstance(saved, dict) and isinstance(defaults, dict)):
        return saved
    return {**defaults, **{name: fill_missing_fields(value, defaults.get(name)) for name, value in saved.items()}}


def _differences(saved: Any, requested: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted path → (saved, given) of every field that differs."""
    if not (isinstance(saved, dict) and isinstance(requested, dict)):
        return {} if saved == requested else {path[:-1]: (saved, requested)}
    result = {}
    for name in saved.keys() | requested.keys():
        result |= _differences(saved.get(name), requested.get(name), f"{path}{name}.")
    return result


def _flatten_fields(fields: Any, path: str = "") -> dict[str, Any]:
    """Dotted path → value of every field."""
    if not isinstance(fields, Mapping):
        return {path[:-1]: fields}
    result = {}
    for name, value in fields.items():
        result |= _flatten_fields(value, f"{path}{name}.")
    return result


def _canonical(value: Any) -> Any:
    """One spelling of values that are equal: 1.0, 1 and True are one number, tuples are lists, and empty is absent."""
    if isinstance(value, Mapping):
        return {name: _canonical(item) for name, item in value.items() if item}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, (int, float)) and value == value // 1:
        return int(value)
    return value
