"""Configs of the scripts: from a Python file or from the config.json of a run, and the checks of their fields."""

import dataclasses
import difflib
import re
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from diffjax.errors import UserError
from diffjax.experiment import run_record
from diffjax.utils.kinds import matches_type, type_name

EXAMPLE = "give the config of an experiment, such as --config configs/digits.py"


def flag_value(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag in arguments that are not parsed yet; None where it is left out."""
    matches = re.findall(rf"(?:^|\n)--?{flag}[=\n](.+)", "\n".join(argv))
    return matches[-1] if matches else None


def saved_config(workdir: Path, kind: type) -> Any:
    """The config of the run in a folder, as a dataclass of that kind.

    Raises UserError where the folder holds no run, or one whose config has a field that the dataclass has not.
    """
    run = run_record.existing_record(workdir)
    if run is None:
        raise UserError(f"--config: {workdir} holds no run to resume (there is no {run_record.CONFIG}); {EXAMPLE}")
    return _fill_dataclass(kind, run.config, f"{workdir / run_record.CONFIG}: config")


def check_overrides(config: Any, argv: Sequence[str]) -> None:
    """Raise UserError for an argument --config.… that names no field of the config."""
    for argument in argv[1:]:
        override = re.match(r"--?(?:no)?config\.([\w.]+)", argument)
        if override:
            _resolve_names(config, override.group(1))


def check_types(config: Any, path: str) -> None:
    """Raise UserError where the (nested) dataclass has a field too many, or one that belies its annotation."""
    kinds = get_type_hints(type(config))
    for name in vars(config).keys() - kinds.keys():
        raise UserError(f"{path}.{name}: no such field; {_hint(name, list(kinds))}")
    for name, kind in kinds.items():
        value = getattr(config, name)
        if not (type(value) is kind if dataclasses.is_dataclass(kind) else matches_type(value, kind)):
            raise UserError(f"{path}.{name}: expected {type_name(kind)}, got {value!r}")
        if dataclasses.is_dataclass(value):
            check_types(value, f"{path}.{name}")


def load_config(path: Path) -> Any:
    """The config that a file's get_config() returns. Raises UserError for a file that returns none."""
    if not path.is_file():
        raise UserError(f"--config {path}: no such file; the experiments that come with diffjax are in configs/")
    try:
        config = runpy.run_path(str(path)).get("get_config", _no_config)()
    except UserError as mistake:
        raise UserError(f"--config {path}: {mistake}") from None
    except Exception as mistake:
        raise UserError(f"--config {path}: cannot be loaded: {type(mistake).__name__}: {mistake}") from None
    if not dataclasses.is_dataclass(config):
        raise UserError(
            f"--config {path}: get_config() must return an experiment.config.Config, got {type(config).__name__}"
        )
    return config


def _no_config() -> None:
    raise UserError("has no get_config(); see configs/digits.py")


def _resolve_names(config: Any, names: str) -> None:
    for name in names.split("."):
        fields = _fields(config)
        if name not in fields:
            raise UserError(f"--config.{names}: no such field; {_hint(name, fields)}")
        config = getattr(config, name)
    if _fields(config):
        raise UserError(f"--config.{names}: give one of its fields, such as --config.{names}.{_fields(config)[0]}")


def _fields(config: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(config)] if dataclasses.is_dataclass(config) else []


def _hint(name: str, fields: list[str]) -> str:
    similar = difflib.get_close_matches(name, fields, 1)
    return f"did you mean {similar[0]}?" if similar else f"the fields here are: {', '.join(fields) or 'none'}"


def _fill_dataclass(kind: type, values: Mapping[str, Any], path: str) -> Any:
    """A (nested) dataclass of values as JSON has them; a field that is not among them has its default."""
    config = kind()
    for name, value in values.items():
        if name not in _fields(config):
            raise UserError(f"{path}.{name}: this version has no such field; resume with the version that wrote it")
        default = getattr(config, name)
        if dataclasses.is_dataclass(default):
            value = _fill_dataclass(type(default), value, f"{path}.{name}")
        setattr(config, name, tuple(value) if isinstance(value, list) else value)
    return config
