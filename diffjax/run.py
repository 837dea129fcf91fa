"""A run's folder: what was configured, what the data were, and the way back from there to a denoiser.

config.json      the config, field by field, and the facts of the data set
checkpoints/     see training/checkpoint.py
metrics.jsonl    one line per logged step; the same for TensorBoard in tensorboard/
pictures/        samples as training went on
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose, prod
from pathlib import Path
from typing import Any, get_type_hints

from diffjax import build, slots
from diffjax.data import Dataset, augment, forms, open_dataset, parts
from diffjax.data.augment import Augment
from diffjax.data.conditioning import parts_of
from diffjax.data.forms import Form
from diffjax.data.parts import Part
from diffjax.data.vetting import check_class_names
from diffjax.errors import UserError
from diffjax.files import write_whole

CONFIG = "config.json"
LARGEST, MOST_PIXELS = 16_000_000, 2**30  # bytes of a config, and pixels of an image, that are believed
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
class Facts:
    """What a model must know of its data.

    Image shape, classes (0 when unlabelled), levels of a pixel, shares of the classes, the form that it sees, and what
    parts a condition may have beside the class.
    """

    shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...]
    levels: int
    label_frequencies: tuple[float, ...]
    form: str
    parts: tuple[build.Heard, ...] = ()

    @property
    def encoding(self) -> Form:
        """How the model sees a pixel."""
        return form_named(self.form)

    def as_learnt(self, learnt: "Facts") -> bool:
        """Whether data of these facts mean what those of a model's training meant."""
        kept = ("shape", "classes", "class_names", "levels", "form", "parts")
        return all(getattr(self, name) == getattr(learnt, name) for name in kept)


def built_model(fields: dict[str, Any], facts: Facts) -> build.Model:
    """The model of a config's `model` fields, for such data."""
    return build.model(
        net=fields["net"],
        noise=fields["noise"],
        schedule_of_noise=fields["schedule"],
        prediction=fields["prediction"],
        data_std=fields["data_std"],
        order=fields["order"],
        classes=facts.classes if fields["conditional"] else 0,
        vocab=facts.levels if facts.encoding.discrete else None,
        shape=facts.shape,
        adapters=fields.get("adapters", ""),
        conditions=tuple(fields.get("conditions", ())),
        parts=facts.parts,
    )


def read_config(workdir: Path) -> tuple[dict[str, Any], Facts]:
    """The config and the facts of a run. Raises UserError for what is no such, or has changed since it was written."""
    path = workdir / CONFIG
    if not workdir.is_dir():
        raise UserError(f"--workdir {workdir}: no such folder; train a model there first")
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
            raise ValueError("no file")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: larger than {LARGEST:,} bytes, so no run's config; restore it, or train again")
        saved = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"--workdir {workdir}: holds no run (there is no {CONFIG}); train a model there first"
        ) from None
    except UserError:
        raise
    except (ValueError, OSError, RecursionError):
        raise UserError(f"{path}: cannot be read as a run's config; restore it, or train again") from None
    return checked(saved, str(path))


def checked(saved: Any, name: str) -> tuple[dict[str, Any], Facts]:
    """Config and facts from what was read under that name: each field that a model is built of is of its kind."""
    try:
        config, told = saved["config"], saved["facts"]
        given: dict[str, Any] = {field: tuple(v) if isinstance(v, list) else v for field, v in told.items()}
        given["parts"] = tuple(build.Heard(name, tuple(shape), vocab) for name, shape, vocab in given.get("parts", ()))
        facts = Facts(**given)
        sound = all(
            isinstance(config[part], dict)
            and all(slots.holds(config[part][field], kind) for field, kind in kinds.items())
            for part, kinds in _KINDS.items()
        )
        later = [config["model"].get("adapters", ""), config["train"].get("keep_best", "")]  # not in older runs
        later += [config["sample"].get(f"guidance_{name}", "") for name in ("when", "rule", "form")]
        later += [*config["model"].get("conditions", ()), *config["data"].get("parts", ())]
        sound = sound and all(slots.holds(given, str) for given in later) and _sound(facts)
        changed = saved.get("sha256", _hash(saved)) != _hash(saved)  # what format 1 wrote has none
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise UserError(f"{name}: cannot be read as a run's config; restore it, or train again") from None
    if not sound:
        raise UserError(f"{name}: says what no run can be; restore it, or train again")
    check_class_names(facts.class_names, name)
    if changed:
        raise UserError(f"{name}: has changed since it was written; restore it, or train again")
    return config, facts


def _sound(facts: Facts) -> bool:
    """Whether there can be data of these facts."""
    kinds = get_type_hints(Facts).items()
    return (
        all(slots.holds(getattr(facts, field), kind) for field, kind in kinds)
        and len(facts.shape) == 3
        and min(facts.shape) > 0
        and prod(facts.shape) <= MOST_PIXELS
        and 2 <= facts.levels <= 2**16
        and facts.classes == len(facts.class_names) == len(facts.label_frequencies)
        and min(facts.label_frequencies, default=0) >= 0
        and (isclose(sum(facts.label_frequencies), 1, abs_tol=1e-3) or not facts.classes)
        and all(_can_be(part) for part in facts.parts)
    )


def _can_be(part: build.Heard) -> bool:
    """Whether a part of a condition can be so."""
    sound = slots.holds(part.part, str) and slots.holds(part.shape, tuple[int, ...]) and slots.holds(part.vocab, int)
    return sound and min(part.shape, default=1) > 0 and prod(part.shape) <= MOST_PIXELS and 0 <= part.vocab <= 2**20


def write_config(workdir: Path, config: dict[str, Any], facts: Facts) -> None:
    """Write both into the run's folder."""
    text = json.dumps(told(config, facts), indent=1) + "\n"
    write_whole(workdir / CONFIG, lambda file: file.write(text.encode()))


def told(config: dict[str, Any], facts: Facts) -> dict[str, Any]:
    """What `checked` reads, as JSON has it, with a hash of all."""
    said = {"config": config, "facts": vars(facts)}
    return {**said, "sha256": _hash(said)}


def _hash(said: dict[str, Any]) -> str:
    text = json.dumps({name: said[name] for name in ("config", "facts")}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def config_hash(config: dict[str, Any]) -> str:
    """Twelve digits that change with any field."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def dataset_of(fields: dict[str, Any]) -> Dataset:
    """The data set of a config's `data` fields; what an older one does not have is empty."""
    size, left_out = fields["image_size"] or None, tuple(fields.get("leave_out", ()))
    return open_dataset(fields["name"], fields["dir"] or None, image_size=size, leave_out=left_out)


def form_named(text: str) -> Form:
    """The form of that name. Raises UserError for one that is not known."""
    return slots.value(forms, text, "data.form", Form)


def augment_named(texts: Sequence[str]) -> tuple[Augment, ...]:
    """The augmentations of these slots. Raises UserError for one that is not known."""
    return tuple(slots.made(augment, text, "data.augment") for text in texts)


def parts_named(texts: Sequence[str], dataset: Dataset) -> tuple[Part, ...]:
    """The parts of conditions of these slots. Raises UserError for one that is not known, or does not suit the set."""
    return parts_of([slots.made(parts, text, "data.parts") for text in texts], dataset)


def facts_of(dataset: Dataset, form: str, parts: Sequence[Part] = ()) -> Facts:
    """What a model must know of this data set in this form, with these parts of conditions."""
    real = dataset.law is not None
    if form_named(form).real != real:
        told = "real numbers; use real" if real else "levels, not real numbers; use unit, dequantised or tokens"
        raise UserError(f"data.form: pixels of {dataset.name!r} are {told}, got {form!r}")
    names = tuple(dataset.class_names)
    shares = dataset.split("train").shares(dataset.classes) if dataset.classes else ()
    heard = tuple(build.Heard(part.name, part.shape, part.vocab) for part in parts)
    return Facts(dataset.shape, dataset.classes, names, dataset.levels, shares, form, heard)


def changes(saved: dict[str, Any], given: dict[str, Any], kept: tuple[str, ...], workdir: Path) -> list[str]:
    """The fields that differ from the run's, in words. Raises UserError for those that a run keeps."""
    new = sorted(_differences(saved, given).items())
    for path, (before, now) in new:
        if path.startswith(kept):
            raise UserError(
                f"config.{path}: {workdir} was trained with {before!r}, not {now!r}; use that value, or a new --workdir"
            )
    return [f"config.{path}: {before!r} before, {now!r} from here on" for path, (before, now) in new]


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
