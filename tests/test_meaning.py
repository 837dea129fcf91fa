"""The hash of what a state's numbers mean: it changes with each field that a run keeps, and with nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffjax.errors import UserError
from diffjax.experiment import config_files, meaning, user_parts
from diffjax.experiment.config import Config, Model
from diffjax.experiment.data_spec import DataSpec

CONFIG = Config(model=Model(data_std=1.0))
FIELDS = meaning.flatten_config(CONFIG)
FACTS = DataSpec((8, 8, 1), 2, ("a", "b"), 17, (0.4, 0.6), "unit")


def changed(config: Config, path: str) -> Config:
    section, name = path.split(".")
    return replace(config, **{section: replace(getattr(config, section), **{name: another(path)})})


def hash_of(config: Config, facts: DataSpec = FACTS) -> str:
    return meaning.meaning_hash(meaning.flatten_config(config), facts.semantics)


def another(path: str) -> Any:
    value = FIELDS[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 3
    if isinstance(value, tuple):
        return (*value, 0.5 if path.startswith("train.ema") else "x")
    return f"{value}x"


@pytest.mark.parametrize("path", FIELDS)
def test_each_kept_field_and_no_other_changes_it(path: str) -> None:
    config = changed(CONFIG, path)
    same = hash_of(config) == hash_of(CONFIG)
    assert same != path.startswith(meaning.MEANING_FIELDS)
    if same:
        assert len(meaning.changed_fields(CONFIG, config, Path("run"))) == 1
    else:
        with pytest.raises(UserError, match=f"config.{path}: .* run "):
            meaning.changed_fields(CONFIG, config, Path("run"))


def test_all_kept_fields_that_differ_are_in_one_message_and_no_others() -> None:
    config = CONFIG
    for path in FIELDS:
        config = changed(config, path)
    with pytest.raises(UserError) as refused:
        meaning.changed_fields(CONFIG, config, Path("run"))
    for path in FIELDS:
        assert (f"config.{path}: " in str(refused.value)) == path.startswith(meaning.MEANING_FIELDS)
    assert "\n" not in str(refused.value)


def test_the_data_change_it_but_for_the_shares_of_classes() -> None:
    assert hash_of(CONFIG, replace(FACTS, label_frequencies=(0.5, 0.5))) == hash_of(CONFIG)
    for change in ({"shape": (8, 8, 3)}, {"class_names": ("a", "c")}, {"levels": 256}, {"form": "dequantised"}):
        assert hash_of(CONFIG, replace(FACTS, **change)) != hash_of(CONFIG)


@pytest.mark.parametrize("empty", ["", 0, False, (), []])
def test_a_field_that_a_later_version_adds_changes_nothing_while_it_is_empty(empty: Any) -> None:
    assert meaning.meaning_hash({**FIELDS, "model.later": empty}, FACTS.semantics) == hash_of(CONFIG)
    assert meaning.meaning_hash({**FIELDS, "model.later": "x"}, FACTS.semantics) != hash_of(CONFIG)


def test_the_hash_is_that_of_runs_that_are_written() -> None:
    """Of a fixed config, so that no change of the code or of a default changes the identity of runs."""
    assert hash_of(CONFIG).startswith("bc9ae9414864a373")


@pytest.mark.parametrize(
    ("data", "sha256"),
    [
        ({"parts": ["caption(choices=2)", "sketch()", "measured('slant')"]}, "dce6dc4bfad51dd9"),
        ({"leave_out": ["bold three", "thin seven"]}, "e5d67e0090eff819"),
        ({"name": "described_digits", "leave_out": []}, "ae36cd51fd570ac9"),
    ],
)
def test_configs_of_older_versions_are_read_under_new_names_and_keep_their_meaning(data: Any, sha256: str) -> None:
    document = config_files.config_document(CONFIG)
    config = config_files.parse_config({**document, "data": {**document["data"], **data}}, "config")
    assert hash_of(config).startswith(sha256)
    assert config_files.parse_config(config_files.config_document(config), "config") == config
    with pytest.raises(UserError, match=r"data.*--allow_imports"):
        user_parts.check_leave(meaning.flatten_config(config), False, "run")


def test_equal_values_mean_the_same_however_they_are_spelt() -> None:
    """A whole number with a point or without, a tuple as a list."""
    for path, value in (("model.data_std", 1), ("train.ema", [0.999]), ("train.seed", 0.0)):
        assert meaning.meaning_hash({**FIELDS, path: value}, FACTS.semantics) == hash_of(CONFIG)
