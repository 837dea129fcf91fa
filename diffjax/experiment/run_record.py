"""A run's folder, and the record of the run in it.

config.json      the config, field by field, the facts of the data set, whose run it is, and how its data were split
checkpoints/     see training/checkpoint.py
metrics.jsonl    one line per logged step; the same for TensorBoard in tensorboard/
pictures/        samples as training went on
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isclose, prod
from pathlib import Path
from typing import Any, get_type_hints

from diffjax.data import split_rules
from diffjax.data.split_rules import SplitRecord
from diffjax.data.tfds_validation import check_class_names
from diffjax.errors import UserError
from diffjax.experiment import build, data_spec, meaning
from diffjax.experiment.data_spec import DataFacts
from diffjax.training import identity, retention
from diffjax.training.identity import Identity
from diffjax.utils.files import is_single_line, write_atomically
from diffjax.utils.kinds import matches_type

CONFIG = "config.json"
_HASHED = ("config", "facts", "run", "adoptions", "splits")  # of config.json; older ones have the first two
MAX_STEP_DIGITS = 20  # digits
MAX_BYTES, MAX_PIXELS = 16_000_000, 2**30  # bytes of a config, and pixels of an image, that are believed
_KINDS = {  # of what a run's user is led by; the rest of a config is of its training alone
    "model": {
        **dict.fromkeys(("net", "noise", "prediction", "schedule", "order"), str),
        "data_std": float,
        "conditional": bool,
    },
    "data": {"name": str, "dir": str, "image_size": int, "form": str},
    "train": {},
    "sample": {"sampler": str, "grid": str, "steps": int, "guidance": float},
}


@dataclass(frozen=True)
class Record:
    """What config.json says of a run: its config, the facts of its data, its identity, and its splits.

    `run` is the identity, and `adoptions` are the checkpoints from before it (training/identity.py). A run that was
    written before there were any has none of the last three.
    """

    config: dict[str, Any]
    facts: DataFacts
    run: str = ""
    adoptions: Mapping[str, str] = field(default_factory=dict)
    splits: SplitRecord | None = None

    @property
    def identity(self) -> Identity:
        """What each of the run's checkpoints must say of itself."""
        return Identity(self.run, meaning.meaning_hash(self.config, self.facts.semantics), self.adoptions)

    @property
    def rule(self) -> str:
        """The rule that made the run's splits."""
        return split_rules.recorded_rule(self.splits)


def read_record(workdir: Path) -> Record:
    """The record of a run. Raises UserError for what is no such, or has changed since it was written."""
    path = workdir / CONFIG
    if not workdir.is_dir():
        raise UserError(f"--workdir {workdir}: no such folder; train a model there first")
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
            raise ValueError("no file")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: larger than {MAX_BYTES:,} bytes, so no run's config; restore it, or train again")
        saved = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"--workdir {workdir}: holds no run (there is no {CONFIG}); train a model there first"
        ) from None
    except UserError:
        raise
    except (ValueError, OSError, RecursionError):
        raise UserError(f"{path}: cannot be read as a run's config; restore it, or train again") from None
    return validate_record(saved, str(path))


def validate_record(saved: Any, name: str) -> Record:
    """A record from what was read under that name: each field that a model is built of is of its kind."""
    try:
        config, facts_document = saved["config"], saved["facts"]
        values: dict[str, Any] = {field: tuple(v) if isinstance(v, list) else v for field, v in facts_document.items()}
        values["parts"] = tuple(
            build.PartSpec(name, tuple(shape), vocab) for name, shape, vocab in values.get("parts", ())
        )
        facts = DataFacts(**values)
        sound = all(
            isinstance(config[part], dict)
            and all(matches_type(config[part][field], kind) for field, kind in kinds.items())
            for part, kinds in _KINDS.items()
        )
        later = [config["model"].get("adapters", ""), config["train"].get("keep_best", "")]  # not in older runs
        later += [config["sample"].get(f"guidance_{name}", "") for name in ("when", "rule", "form")]
        later += [*config["model"].get("conditions", ()), *config["data"].get("parts", ())]
        record = Record(
            config, facts, saved.get("run", ""), saved.get("adoptions", {}), _parse_splits(saved.get("splits"))
        )
        sound = (
            sound
            and all(matches_type(values, str) for values in later)
            and _valid_facts(facts)
            and _valid_identity(record)
        )
        changed = saved.get("sha256", _hash(saved)) != _hash(saved)  # what format 1 wrote has none
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise UserError(f"{name}: cannot be read as a run's config; restore it, or train again") from None
    if not sound:
        raise UserError(f"{name}: says what no run can be; restore it, or train again")
    check_class_names(facts.class_names, name)
    if changed:
        raise UserError(f"{name}: has changed since it was written; restore it, or train again")
    data_spec.parse_rule(record.rule)
    return record


def _parse_splits(saved: Any) -> SplitRecord | None:
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
    """Whether there can be a run of this identity."""
    identifiers = [record.run, *record.adoptions, *record.adoptions.values()]
    return all(matches_type(text, str) for text in identifiers) and all(_valid_step(name) for name in record.adoptions)


def _valid_step(name: str) -> bool:
    """Whether a checkpoint can be named so."""
    return name.isdecimal() and len(name) <= MAX_STEP_DIGITS


def _valid_facts(facts: DataFacts) -> bool:
    """Whether there can be data of these facts."""
    kinds = get_type_hints(DataFacts).items()
    return (
        all(matches_type(vars(facts)[field], kind) for field, kind in kinds)
        and len(facts.shape) == 3
        and min(facts.shape) > 0
        and prod(facts.shape) <= MAX_PIXELS
        and 2 <= facts.levels <= 2**16
        and facts.classes == len(facts.class_names) == len(facts.label_frequencies)
        and min(facts.label_frequencies, default=0) >= 0
        and (isclose(sum(facts.label_frequencies), 1, abs_tol=1e-3) or not facts.classes)
        and all(_valid_part(part) for part in facts.parts)
    )


def _valid_part(part: build.PartSpec) -> bool:
    """Whether a part of a condition can be so."""
    sound = matches_type(part.part, str) and matches_type(part.shape, tuple[int, ...]) and matches_type(part.vocab, int)
    return sound and min(part.shape, default=1) > 0 and prod(part.shape) <= MAX_PIXELS and 0 <= part.vocab <= 2**20


def write_config(workdir: Path, record: Record) -> None:
    """Write it into the run's folder."""
    text = json.dumps(record_document(record), indent=1) + "\n"
    write_atomically(workdir / CONFIG, lambda file: file.write(text.encode()))


def existing_record(workdir: Path) -> Record | None:
    """The record of the run that a folder holds; None where it holds none yet.

    Raises UserError for checkpoints without a config.json: what their numbers mean is not known.
    """
    if (workdir / CONFIG).exists():
        return read_record(workdir)
    if retention.complete_checkpoints(workdir / "checkpoints"):
        raise UserError(f"--workdir {workdir}: has checkpoints but no {CONFIG}; restore that, or use a new --workdir")
    return None


def record_at_start(
    previous: Record | None, config: dict[str, Any], facts: DataFacts, splits: SplitRecord, workdir: Path
) -> Record:
    """The record of a run that starts, or goes on, now: it keeps the identity and the splits that it has.

    All hosts call it together, before the first of them writes it.
    """
    new_identity = identity.draw_identity()
    if previous and previous.run:
        return replace(previous, config=config, facts=facts, splits=previous.splits or splits)
    return Record(config, facts, new_identity, identity.manifest_hashes(workdir / "checkpoints"), splits)


def record_document(record: Record) -> dict[str, Any]:
    """What `checked` reads, as JSON has it, with a hash of all."""
    document: dict[str, Any] = {"config": record.config, "facts": vars(record.facts)}
    if record.run:
        document |= {"run": record.run, "adoptions": dict(record.adoptions)}
    if record.splits:
        document["splits"] = vars(record.splits)
    return {**document, "sha256": _hash(document)}


def _hash(document: dict[str, Any]) -> str:
    text = json.dumps({name: document[name] for name in _HASHED if name in document}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
