"""From the fields of a run's config to its data, the facts of them, and its model."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffjax.data import Dataset, augment, condition_parts, open_dataset, pixel_representation, split_rules
from diffjax.data.augment import Augment
from diffjax.data.condition_batches import build_parts
from diffjax.data.condition_parts import Part
from diffjax.data.pixel_representation import Form
from diffjax.data.split_rules import SplitRule
from diffjax.errors import UserError
from diffjax.experiment import build, specs


@dataclass(frozen=True)
class DataFacts:
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
    parts: tuple[build.PartSpec, ...] = ()

    @property
    def encoding(self) -> Form:
        """How the model sees a pixel."""
        return parse_form(self.form)

    @property
    def semantics(self) -> dict[str, Any]:
        """Those that decide what a model's numbers mean; shares of classes change as a set grows."""
        return {name: vars(self)[name] for name in ("shape", "classes", "class_names", "levels", "form", "parts")}

    def matches(self, other: "DataFacts") -> bool:
        """Whether data of these facts mean what those of a model's training meant."""
        return self.semantics == other.semantics


def build_model_for(fields: dict[str, Any], facts: DataFacts) -> build.ModelParts:
    """The model of a config's `model` fields, for such data."""
    return build.build_model(
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


def config_hash(config: dict[str, Any]) -> str:
    """Twelve digits that change with any field."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def open_configured(fields: dict[str, Any], rule: str = split_rules.CURRENT_RULE) -> Dataset:
    """The data set of a config's `data` fields, divided by that rule; what an older one does not have is empty."""
    size, left_out = fields["image_size"] or None, tuple(fields.get("leave_out", ()))
    made_by = parse_rule(rule)
    return open_dataset(fields["name"], fields["dir"] or None, image_size=size, leave_out=left_out, rule=made_by)


def parse_rule(text: str) -> SplitRule:
    """The rule of that name. Raises UserError for one that is not known."""
    return specs.parse_value(split_rules, text, "splits.rule", SplitRule)


def parse_form(text: str) -> Form:
    """The form of that name. Raises UserError for one that is not known."""
    return specs.parse_value(pixel_representation, text, "data.form", Form)


def parse_augment(texts: Sequence[str]) -> tuple[Augment, ...]:
    """The augmentations of these slots. Raises UserError for one that is not known."""
    return tuple(specs.instantiate(augment, text, "data.augment") for text in texts)


def parse_parts(texts: Sequence[str], dataset: Dataset) -> tuple[Part, ...]:
    """The parts of conditions of these slots. Raises UserError for one that is not known, or does not suit the set."""
    return build_parts([specs.instantiate(condition_parts, text, "data.parts") for text in texts], dataset)


def data_facts(dataset: Dataset, form: str, parts: Sequence[Part] = ()) -> DataFacts:
    """What a model must know of this data set in this form, with these parts of conditions."""
    real = dataset.law is not None
    if parse_form(form).real != real:
        problem = "real numbers; use real" if real else "levels, not real numbers; use unit, dequantised or tokens"
        raise UserError(f"data.form: pixels of {dataset.name!r} are {problem}, got {form!r}")
    names = tuple(dataset.class_names)
    shares = dataset.split("train").class_frequencies(dataset.classes) if dataset.classes else ()
    part_specs = tuple(build.PartSpec(part.name, part.shape, part.vocab) for part in parts)
    return DataFacts(dataset.shape, dataset.classes, names, dataset.levels, shares, form, part_specs)
