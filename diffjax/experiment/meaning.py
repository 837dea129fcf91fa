"""Which fields of a config decide what the numbers of a state mean, their hash, and how two configs differ."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from diffjax.errors import UserError
from diffjax.experiment import old_names
from diffjax.experiment.config import Config
from diffjax.experiment.picture_defaults import unset_fields

# A run keeps these fields, and each of its checkpoints has their hash. `data.leave_out` was a field of older configs.
MEANING_FIELDS = (
    *("model", "data.name", "data.image_size", "data.fit", "data.form", "data.batch_size", "data.parts"),
    *("data.image", "data.label", "data.leave_out"),
    *("train.seed", "train.ema", "train.ema_std", "train.freeze"),
)


def flatten_config(config: Config) -> dict[str, object]:
    """Every field by its dotted path, such as `model.net`."""
    return {
        f"{section}.{name}": value
        for section, fields in dataclasses.asdict(config).items()
        for name, value in fields.items()
    }


def unflatten_config(fields: Mapping[str, object]) -> Config:
    """The config of the fields that `flatten_config` returns."""
    config = Config()
    for path, value in fields.items():
        section, name = path.split(".")
        setattr(vars(config)[section], name, value)
    return config


def meaning_hash(fields: Mapping[str, object], semantics: Mapping[str, object]) -> str:
    """SHA-256 of the kept ones of a config's `fields`, by dotted path, and of the semantics of the data.

    Empty values are left out: a field that a later version adds must mean, when empty, what this version does.
    """
    historic = old_names.to_historic(fields)
    kept = {path: value for path, value in historic.items() if path.startswith(MEANING_FIELDS)}
    document = {"config": _canonical(kept), "facts": _canonical(semantics)}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def changed_fields(saved: Config, requested: Config, workdir: Path) -> list[str]:
    """A line for each field that differs from the run's. Raises UserError that names all of those that a run keeps."""
    before = flatten_config(saved)
    changed = {path: value for path, value in sorted(flatten_config(requested).items()) if value != before[path]}
    problems = [
        f"config.{path}: expected {before[path]!r}, got {value!r}"
        for path, value in changed.items()
        if path.startswith(MEANING_FIELDS)
    ]
    if problems:
        raise UserError(
            f"{'; '.join(problems)}; {workdir} was trained with what is expected, and keeps it: leave out what differs "
            f"(--workdir {workdir} alone resumes), or use a new --workdir"
        )
    return [f"config.{path}: {before[path]!r} before, {value!r} from here on" for path, value in changed.items()]


def inherit_measured(config: Config, saved: Config) -> Config:
    """The config with the run's own values where a new run would measure or choose them."""
    fields = flatten_config(config)
    kept = [*unset_fields(fields), *(["model.data_std"] if fields["model.data_std"] is None else [])]
    before = flatten_config(saved)
    return unflatten_config({**fields, **{path: before[path] for path in kept}})


def _canonical(value: object) -> object:
    """One spelling of equal values: 1.0, 1 and True are one number, tuples are lists, and empty is absent."""
    if isinstance(value, Mapping):
        return {name: _canonical(item) for name, item in value.items() if item}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, int | float) and value == value // 1:
        return int(value)
    return value
