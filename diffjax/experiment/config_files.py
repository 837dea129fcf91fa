"""Configs of the scripts: from a Python file, or from the config.json of a run, and the checks of their fields."""

import dataclasses
import difflib
import hashlib
import json
import re
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_type_hints

from diffjax.errors import UserError
from diffjax.experiment import old_names
from diffjax.experiment.config import Config
from diffjax.utils.kinds import matches_type, type_name

EXAMPLE = "give the config of an experiment, such as --config configs/digits.py"
_REQUIRED = {  # fields that every run's config has; what an older version did not have is the default
    "data": ("name", "dir", "image_size", "form"),
    "model": ("net", "noise", "prediction", "schedule", "order", "data_std", "conditional"),
    "train": (),
    "sample": ("sampler", "grid", "steps", "guidance"),
}


def flag_value(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag in arguments that are not parsed yet; None where it is left out."""
    matches = re.findall(rf"(?:^|\n)--?{flag}[=\n](.+)", "\n".join(argv))
    return matches[-1] if matches else None


def has_flag(argv: Sequence[str], flag: str) -> bool:
    """Whether a flag that is true or false is set, in arguments that are not parsed yet."""
    return any(re.fullmatch(rf"--?{flag}(=true|=1)?", argument) for argument in argv)


def check_overrides(config: object, argv: Sequence[str]) -> None:
    """Raise UserError for an argument --config.… that names no field of the config."""
    for argument in argv[1:]:
        override = re.match(r"--?(?:no)?config\.([\w.]+)", argument)
        if override:
            _resolve_names(config, override.group(1))


def check_types(config: object, path: str) -> None:
    """Raise UserError where the (nested) dataclass has an extra field, or one that is not of its annotation."""
    kinds = get_type_hints(type(config))
    for name in vars(config).keys() - kinds.keys():
        raise UserError(f"{path}.{name}: no such field; {_hint(name, list(kinds))}")
    for name, kind in kinds.items():
        value = vars(config)[name]
        if not (type(value) is kind if dataclasses.is_dataclass(kind) else matches_type(value, kind)):
            raise UserError(f"{path}.{name}: expected {type_name(kind)}, got {value!r:.80}")
        if dataclasses.is_dataclass(value):
            check_types(value, f"{path}.{name}")


def load_config(path: Path) -> object:
    """The config that a file's get_config() returns. Raises UserError for a file that returns none."""
    try:
        config = runpy.run_path(str(path)).get("get_config", _no_config)()
    except UserError as mistake:
        raise UserError(f"--config {path}: {mistake}") from None
    except Exception as mistake:
        raise UserError(f"--config {path}: cannot be loaded: {type(mistake).__name__}: {mistake}") from None
    if not dataclasses.is_dataclass(config):
        raise UserError(f"--config {path}: get_config() must return a dataclass, got {type(config).__name__}")
    return config


def config_document(config: Config) -> dict[str, object]:
    """The config as JSON has it: nested objects, with lists for tuples."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_hash(config: Config) -> str:
    """Twelve hexadecimal digits that change with any field."""
    return hashlib.sha256(json.dumps(config_document(config), sort_keys=True).encode()).hexdigest()[:12]


def parse_config(document: Mapping[str, Mapping[str, object]], path: str, written: int = old_names.FORMAT) -> Config:
    """The config of a JSON document, of a run of format `written`; fields that it does not have are the defaults.

    Raises UserError for an unknown field and for one of another type, KeyError where one that every run has is missing.
    """
    for section, names in _REQUIRED.items():
        for name in names:
            document[section][name]
    config = Config()
    for section, values in old_names.to_current(document, written).items():
        _require_field(config, section, path)
        part = vars(config)[section]
        for name, value in values.items():
            _require_field(part, name, f"{path}.{section}")
            setattr(part, name, tuple(value) if isinstance(value, list) else value)
    check_types(config, path)
    return config


def _require_field(config: object, name: str, path: str) -> None:
    if name not in _fields(config):
        raise UserError(f"{path}.{name:.80}: this version has no such field; use the version that wrote it")


def _no_config() -> None:
    raise UserError("has no get_config(); see configs/digits.py")


def _resolve_names(config: object, names: str) -> None:
    for name in names.split("."):
        fields = _fields(config)
        if name not in fields:
            raise UserError(f"--config.{names}: no such field; {_hint(name, fields)}")
        config = vars(config)[name]
    if _fields(config):
        raise UserError(f"--config.{names}: give one of its fields, such as --config.{names}.{_fields(config)[0]}")


def _fields(config: object) -> list[str]:
    return [field.name for field in dataclasses.fields(config)] if dataclasses.is_dataclass(config) else []


def _hint(name: str, fields: list[str]) -> str:
    similar = difflib.get_close_matches(name, fields, 1)
    return f"did you mean {similar[0]}?" if similar else f"the fields here are: {', '.join(fields) or 'none'}"
