"""A run's folder, and the record of the run in it.

config.json      the config, field by field, the data that its model was built for, the run's identity, and its splits
checkpoints/     see training/checkpoint.py
metrics.jsonl    one line per logged step; the same for TensorBoard in tensorboard/
pictures/        samples at intervals of the training
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffjax.data import split_rules
from diffjax.data.class_names import check_class_names
from diffjax.data.split_rules import SplitRecord
from diffjax.errors import UserError, warn
from diffjax.experiment import config_files, data_spec, meaning, old_names, user_parts
from diffjax.experiment.config import Config
from diffjax.experiment.data_spec import DataSpec
from diffjax.training import identity, retention
from diffjax.training.identity import Identity
from diffjax.utils.files import is_single_line, write_atomically
from diffjax.utils.kinds import matches_type
from diffjax.utils.untrusted import read_json

Json = Any  # what a file says; its values are checked one by one

CONFIG = "config.json"
_HASHED = ("format", "config", "facts", "run", "adoptions", "splits", "imports")  # of config.json; older ones lack some
MAX_STEP_DIGITS = 20
MAX_BYTES = 16_000_000  # of a config.json that is read


@dataclass(frozen=True)
class Record:
    """What config.json says of a run: its config, the data that its model was built for, its identity and splits.

    `run` is the identity, and `adoptions` are the checkpoints from before it (training/identity.py). `imports` are the
    modules that the config names, with SHA-256 of their files when the run last started. What an older run does not
    have is empty.
    """

    config: Config
    data: DataSpec
    run: str = ""
    adoptions: Mapping[str, str] = field(default_factory=dict)
    splits: SplitRecord | None = None
    imports: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Identity:
        """What each of the run's checkpoints must say of itself."""
        fields = meaning.flatten_config(self.config)
        return Identity(self.run, meaning.meaning_hash(fields, self.data.semantics), self.adoptions)

    @property
    def rule(self) -> str:
        """The rule that made the run's splits."""
        return split_rules.recorded_rule(self.splits)


def read_record(workdir: Path, allow_imports: bool = False) -> Record:
    """The record of a run. Raises UserError for one that is damaged, has changed, or names modules without leave."""
    path = workdir / CONFIG
    if not workdir.is_dir():
        raise UserError(f"--workdir {workdir}: no such folder; train a model there first")
    try:
        saved = read_json(path, MAX_BYTES)
    except FileNotFoundError:
        raise UserError(
            f"--workdir {workdir}: holds no run (there is no {CONFIG}); train a model there first"
        ) from None
    except (ValueError, OSError):
        raise _unreadable_error(str(path)) from None
    return validate_record(saved, str(path), allow_imports)


def existing_record(workdir: Path, allow_imports: bool = False) -> Record | None:
    """The record of the run that a folder holds; None where it holds none yet.

    Raises UserError for checkpoints without a config.json: what their numbers mean is not known.
    """
    if (workdir / CONFIG).exists():
        return read_record(workdir, allow_imports)
    if retention.complete_checkpoints(workdir / "checkpoints"):
        raise UserError(f"--workdir {workdir}: has checkpoints but no {CONFIG}; restore that, or use a new --workdir")
    return None


def saved_config(workdir: Path, allow_imports: bool = False) -> Config:
    """The config of the run in a folder, to resume it. Raises UserError where the folder holds no run."""
    run = existing_record(workdir, allow_imports)
    if run is None:
        raise UserError(f"--config: {workdir} holds no run to resume (there is no {CONFIG}); {config_files.EXAMPLE}")
    return run.config


def validate_record(saved: Json, name: str, allow_imports: bool = False) -> Record:
    """The record of a JSON document that was read from `name`: each field is of its type, and all are as written."""
    _check_format(saved, name)
    try:
        record = Record(
            config_files.parse_config(saved["config"], f"{name}: config", saved.get("format", 1)),
            data_spec.parse_data_spec(saved["facts"]),
            saved.get("run", ""),
            saved.get("adoptions", {}),
            _parse_splits(saved.get("splits")),
            saved.get("imports", {}),
        )
        sound = _valid_identity(record)
        changed = saved.get("sha256", _hash(saved)) != _hash(saved)  # the oldest have none
    except UserError as mistake:
        raise UserError(f"{mistake}; restore it, or train again") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise _unreadable_error(name) from None
    if not sound or record.config.model.data_std is None:
        raise UserError(f"{name}: has values that no run can have; restore it, or train again")
    check_class_names(record.data.class_names, name)
    if changed:
        raise UserError(f"{name}: has changed since it was written; restore it, or train again")
    fields = meaning.flatten_config(record.config) | {"data.form": record.data.form}
    user_parts.check_leave(fields, allow_imports, name)
    data_spec.parse_rule(record.rule)
    return record


def warn_of_changed_modules(record: Record, name: str) -> None:
    """Print a line where a module that the run was trained with has changed since; after the model is built."""
    changed = user_parts.changed_modules(record.imports)
    if changed:
        warn(f"{name}: {', '.join(changed)} changed since the run last started; its numbers may mean something else")


def write_config(workdir: Path, record: Record) -> None:
    """Write the record into the run's folder."""
    text = json.dumps(record_document(record), indent=1) + "\n"
    write_atomically(workdir / CONFIG, lambda file: file.write(text.encode()))


def record_at_start(
    previous: Record | None, config: Config, data: DataSpec, splits: SplitRecord, workdir: Path
) -> Record:
    """The record of a run that starts, or resumes, now: it keeps the identity and the splits that it has.

    All hosts call it together, before the first of them writes it.
    """
    new_identity = identity.draw_identity()
    imports = user_parts.module_hashes(meaning.flatten_config(config))
    if previous and previous.run:
        return replace(previous, config=config, data=data, splits=previous.splits or splits, imports=imports)
    return Record(config, data, new_identity, identity.manifest_hashes(workdir / "checkpoints"), splits, imports)


def record_document(record: Record) -> dict[str, object]:
    """What `validate_record` reads, as JSON has it, with a hash of all."""
    document: dict[str, object] = {
        "format": old_names.FORMAT,
        "config": config_files.config_document(record.config),
        "facts": vars(record.data),
    }
    if record.run:
        document |= {"run": record.run, "adoptions": dict(record.adoptions)}
    if record.splits:
        document["splits"] = vars(record.splits)
    if record.imports:
        document["imports"] = dict(record.imports)
    return {**document, "sha256": _hash(document)}


def _check_format(saved: Json, name: str) -> None:
    """Raise UserError for a record that a later version wrote."""
    written = saved.get("format") if isinstance(saved, Mapping) else None
    if isinstance(written, int) and written > old_names.FORMAT:
        raise UserError(
            f"{name}: format {written} is of a later version of diffjax, and this one reads up to {old_names.FORMAT}; "
            "install that version"
        )


def _parse_splits(saved: Json) -> SplitRecord | None:
    """The splits of a record; None in older ones."""
    if saved is None:
        return None
    splits = SplitRecord(saved["rule"], dict(saved["counts"]), dict(saved["fingerprints"]))
    texts = [splits.rule, *splits.counts, *splits.fingerprints, *splits.fingerprints.values()]
    if not all(matches_type(text, str) and is_single_line(text) for text in texts):
        raise ValueError("splits have names")
    if not all(matches_type(count, int) and count >= 0 for count in splits.counts.values()):
        raise ValueError("splits are counted")
    return splits


def _valid_identity(record: Record) -> bool:
    """Whether a run can have this identity, and these modules."""
    names = [record.run, *record.adoptions, *record.adoptions.values(), *record.imports, *record.imports.values()]
    steps = record.adoptions
    return all(matches_type(text, str) for text in names) and all(
        step.isdecimal() and len(step) <= MAX_STEP_DIGITS for step in steps
    )


def _unreadable_error(name: str) -> UserError:
    return UserError(f"{name}: cannot be read as a run's config; restore it, or train again")


def _hash(document: Mapping[str, object]) -> str:
    text = json.dumps({name: document[name] for name in _HASHED if name in document}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
