"""docs/reference.md is what the fields say of themselves, all of them, and the ranges are those that are enforced."""

import dataclasses
import inspect
import math
import re
import runpy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from shell import ROOT, called

from diffjax import nets
from diffjax.errors import UserError
from diffjax.experiment.config import Config
from diffjax.nets import condition_encoders
from diffjax.nets.shared_arguments import EncoderArguments, NetArguments

REFERENCE = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
INTERVAL = re.compile(r"(?P<each>each in )?(?P<left>[\[(])(?P<low>[^,]+), (?P<high>[^\])]+)(?P<right>[\])])")
NETS = [*nets.__all__]
CONFIG = """
from diffjax.experiment.config import Config, Data, Model, Sample, Train

def get_config():
    return Config(
        data=Data(name="known16", form="real", batch_size=8),
        model=Model(net="MLP(width=8, depth=1)", data_std=0.67),
        train=Train(steps=1, validate_images=8, writers=("jsonl",)),
        sample=Sample(sampler="ddim"),
    )
"""


class Limits(NamedTuple):
    """Values at the ends of an interval that it includes, and values just outside."""

    inside: list[Any]
    outside: list[Any]


def limits(text: str, whole: bool, names: dict[str, float]) -> Limits | None:
    """Of the interval that a range begins with; None where it begins with none. Names stand for these numbers."""
    found = INTERVAL.match(text)
    if found is None:
        return None
    inside, outside = [], []
    for end, closed, away in (("low", found["left"] == "[", -1), ("high", found["right"] == "]", 1)):
        number = names.get(found[end], math.inf) if found[end] in (*names, "∞") else float(found[end])
        if math.isinf(number):
            continue
        step = 1 if whole else 0.001
        inside.append(number if closed else number - away * step)
        outside.append(number + away * step if closed else number)
    wrap = (lambda value: (value,)) if found["each"] else (lambda value: value)
    kind = int if whole else float
    return Limits(*([wrap(kind(value)) for value in values] for values in (inside, outside)))


def sections() -> list[tuple[str, Any, Any]]:
    """Each field of a config as `train.steps`, with its annotation and its description."""
    config: Any = Config
    return [
        (f"{section.name}.{row.name}", section.type.__annotations__[row.name], row)
        for section in dataclasses.fields(config)
        for row in REFERENCE["of_class"](section.type)
    ]


LIMITS = {name: limits(row.range, "int" in str(kind), {}) or Limits([], []) for name, kind, row in sections()}
FIELDS = [(name, value) for name, found in LIMITS.items() for value in found.outside]


def test_the_page_is_what_the_fields_say() -> None:
    assert Path(REFERENCE["PAGE"]).read_text() == REFERENCE["page"](), "run make reference"


def test_every_field_and_argument_is_described() -> None:
    """Also with its unit and range where it is a number, and nothing is described that is not there."""
    numbers = 0
    for _, kind, row in sections():
        if "int" in str(kind) or "float" in str(kind):
            assert row.range, row.name
            numbers += 1
    assert numbers > 20
    for module, shared in ((nets, NetArguments), (condition_encoders, EncoderArguments)):
        kinds = [getattr(module, name) for name in module.__all__]
        rows = [row for kind in kinds for row in REFERENCE["of_class"](kind, shared)]
        assert {*REFERENCE["texts_of"](shared)} <= {row.name for row in rows}
        for kind in kinds:
            arguments = {*inspect.signature(kind).parameters} - {"parent", "name"}
            assert {row.name for row in REFERENCE["of_class"](kind, shared)} == arguments
            assert {*REFERENCE["texts_of"](kind)} <= arguments


def test_a_field_without_a_description_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"Nameless\.width"):
        REFERENCE["described"](type("Nameless", (), {}), "width", 1, {})


@pytest.mark.parametrize("name", NETS)
def test_the_ranges_of_a_nets_arguments_are_those_that_it_checks(name) -> None:
    kind = getattr(nets, name)
    rows = REFERENCE["of_class"](kind, NetArguments)
    needed = {"vocab": 3, "shape": (4,)} if name == "Transformer" else {}
    suit = {"width": {"heads": 1}, "multipliers": {"heads": 1}, "heads": {"width": 1024}}  # one divides the other
    net, known = kind(**needed), {row.name for row in rows}
    names = {"depth": getattr(net, "depth", 0), "depths": len(getattr(net, "multipliers", ()))}
    for row in rows:
        more = {other: value for other, value in suit.get(row.name, {}).items() if other in known}
        found = limits(row.range, row.name != "dropout", names) or Limits([], [])
        for value in found.inside:
            kind(**{**needed, **more, row.name: value})
        for value in found.outside:
            with pytest.raises(UserError) as mistake:
                kind(**{**needed, **more, row.name: value})
            assert row.name.rstrip("s") in str(mistake.value), (row.name, value)


@pytest.mark.parametrize("name", condition_encoders.__all__)
def test_the_ranges_of_an_encoders_arguments_are_those_that_a_net_checks(name) -> None:
    kind = getattr(condition_encoders, name)
    rows = REFERENCE["of_class"](kind, EncoderArguments)
    has_heads = "heads" in {row.name for row in rows}
    for row in rows:
        found = limits(row.range, row.name not in ("drop", "spread"), {}) or Limits([], [])
        for value in found.inside:
            more = {"width": {"heads": 1}, "heads": {"width": 1024}}.get(row.name, {}) if has_heads else {}
            nets.MLP(conditions=(kind(**{**more, row.name: value}),))
        for value in found.outside:
            with pytest.raises(UserError) as mistake:
                nets.MLP(conditions=(kind(**{row.name: value}),))
            assert row.name in str(mistake.value), (row.name, value)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "tiny.py"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize(("name", "value"), FIELDS, ids=str)
def test_a_value_outside_its_range_is_refused_by_the_name_of_its_field(name, value, config, tmp_path, capfd) -> None:
    argv = ["--config", config, "--workdir", tmp_path / "run", f"--config.{name}={value}"]
    assert called("train.py", *argv) == 2
    told = capfd.readouterr().err
    assert len(told.splitlines()) == 1
    assert name.split(".")[1] in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("end", [0, -1], ids=["low", "high"])
def test_a_run_takes_the_ends_of_all_ranges_at_once(end, config, tmp_path, capfd) -> None:
    ends = {name: found.inside[end] for name, found in LIMITS.items() if found.inside}
    ends |= {"data.batch_size": 8, "train.label_drop": 0.0}  # need others beside them
    ends["train.steps"] = 2  # 0 is chosen, and would be thousands
    del ends["model.data_std"]  # follows from the data
    argv = [f"--config.{name}={value}" for name, value in ends.items()]
    assert called("train.py", "--config", config, "--workdir", tmp_path / "run", *argv) == 0, capfd.readouterr().err
