"""The hash of what a state's numbers mean: it changes with each field that a run keeps, and with nothing else."""

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from diffjax.errors import UserError
from diffjax.experiment import meaning
from diffjax.experiment.config import Config, Model
from diffjax.experiment.data_spec import DataFacts

FIELDS: dict[str, Any] = json.loads(json.dumps(asdict(Config(model=Model(data_std=1.0)))))  # as a run records it
FACTS = DataFacts((8, 8, 1), 2, ("a", "b"), 17, (0.4, 0.6), "unit")


def paths(fields: Any, path: str = "") -> list[str]:
    if not isinstance(fields, dict):
        return [path[:-1]]
    return [each for name, value in fields.items() for each in paths(value, f"{path}{name}.")]


def changed(path: str, change: Any) -> dict[str, Any]:
    fields = copy.deepcopy(FIELDS)
    part, name = path.split(".")
    fields[part][name] = change(fields[part][name])
    return fields


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 3
    return [*value, "x"] if isinstance(value, list) else f"{value}x"


@pytest.mark.parametrize("path", paths(FIELDS))
def test_each_kept_field_and_no_other_changes_it(path: str) -> None:
    fields = changed(path, another)
    same = meaning.meaning_hash(fields, FACTS.semantics) == meaning.meaning_hash(FIELDS, FACTS.semantics)
    assert same != path.startswith(meaning.MEANING_FIELDS)
    if same:
        assert len(meaning.changed_fields(FIELDS, fields, Path("run"))) == 1
    else:
        with pytest.raises(UserError, match=f"config.{path}: .* run "):
            meaning.changed_fields(FIELDS, fields, Path("run"))


def test_all_kept_fields_that_differ_are_in_one_message_and_no_others() -> None:
    fields = {part: {name: another(value) for name, value in values.items()} for part, values in FIELDS.items()}
    with pytest.raises(UserError) as refused:
        meaning.changed_fields(FIELDS, fields, Path("run"))
    for path in paths(FIELDS):
        assert (f"config.{path}: " in str(refused.value)) == path.startswith(meaning.MEANING_FIELDS)
    assert "\n" not in str(refused.value)


def test_facts_change_it_but_for_the_shares_of_classes() -> None:
    grown = DataFacts((8, 8, 1), 2, ("a", "b"), 17, (0.5, 0.5), "unit")
    assert meaning.meaning_hash(FIELDS, grown.semantics) == meaning.meaning_hash(FIELDS, FACTS.semantics)
    for other in (
        DataFacts((8, 8, 3), 2, ("a", "b"), 17, (0.4, 0.6), "unit"),
        DataFacts((8, 8, 1), 2, ("a", "c"), 17, (0.4, 0.6), "unit"),
        DataFacts((8, 8, 1), 2, ("a", "b"), 256, (0.4, 0.6), "unit"),
        DataFacts((8, 8, 1), 2, ("a", "b"), 17, (0.4, 0.6), "dequantised"),
    ):
        assert meaning.meaning_hash(FIELDS, other.semantics) != meaning.meaning_hash(FIELDS, FACTS.semantics)


@pytest.mark.parametrize("empty", ["", 0, False, (), []])
def test_a_field_that_a_later_version_adds_changes_nothing_while_it_is_empty(empty: Any) -> None:
    later = {**FIELDS, "model": {**FIELDS["model"], "later": empty}}
    assert meaning.meaning_hash(later, FACTS.semantics) == meaning.meaning_hash(FIELDS, FACTS.semantics)
    assert meaning.meaning_hash(
        {**FIELDS, "model": {**FIELDS["model"], "later": "x"}}, FACTS.semantics
    ) != meaning.meaning_hash(FIELDS, FACTS.semantics)


def test_equal_values_mean_the_same_however_they_are_spelt() -> None:
    """As `changes` compares them: a whole number with a point or without, a tuple as a list."""
    spelt = [
        changed("model.data_std", lambda value: 1),
        changed("train.ema", tuple),
        changed("train.seed", lambda value: 0.0),
    ]
    for fields in spelt:
        assert meaning.meaning_hash(fields, FACTS.semantics) == meaning.meaning_hash(FIELDS, FACTS.semantics)
