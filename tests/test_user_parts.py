"""Parts of a user's own, `package.module:name(…)`: in every field that names a part, recorded, and read with leave."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diffjax import grids, order, predict, schedule
from diffjax.data import condition_parts, decoded_cache, duplicates, fits, unreadable
from diffjax.errors import UserError
from diffjax.experiment import build, data_spec, guidance_spec, meaning, specs, user_parts
from diffjax.experiment.config import Config, Model
from diffjax.experiment.data_spec import DataSpec, PartSpec
from diffjax.noise import Gaussian

NAME = "parts_of_theirs"
SOURCE = """
from diffjax.data import open_dataset
from diffjax.data.aspect_buckets import buckets
from diffjax.data.augment import flip
from diffjax.data.condition_parts import low_res
from diffjax.data.decoded_cache import disk
from diffjax.data.duplicates import once
from diffjax.data.fits import pad
from diffjax.data.pixel_representation import unit
from diffjax.data.unreadable import refuse
from diffjax.grids import karras
from diffjax.guidance import cfg, interval, rescaled
from diffjax.loss import regression
from diffjax.net_inputs import discrete_steps
from diffjax.nets import MLP
from diffjax.nets.adapters import lora
from diffjax.nets.condition_encoders import Number
from diffjax.noise import Gaussian
from diffjax.order import rolling
from diffjax.predict import v
from diffjax.schedule import flow, shift
from diffjax.steps import ddim
from diffjax.times import logit_normal
from diffjax.training.metric_writers import jsonl
from diffjax.training.nonfinite import skip
from diffjax.training.optimizers import adamw
from diffjax.weights import min_snr

def pictures(side, image_size=None):
    return open_dataset(f"known{side}", image_size=image_size)
"""
DATA = DataSpec((8, 8, 1), 2, ("a", "b"), 17, (0.5, 0.5), "unit", (PartSpec("slant", ()),))
NET = "MLP(width=8, depth=1)"
CONFIG = Config(model=Model(net=NET, data_std=1.0))
NOISE = Gaussian(schedule.cosine, predict.v)


def model(config: Config) -> Any:
    return build.build_model(config.model, DATA)


def loss(config: Config) -> Any:
    return build.build_loss(model(CONFIG), config.train)


def sampler(config: Config) -> Any:
    return build.build_sampler(NOISE, order.together, step=config.sample.sampler, grid=config.sample.grid, count=3)


def guided(config: Config) -> Any:
    grid = grids.uniform(NOISE, 3)
    return guidance_spec.build_guidance(lambda x, t, cond: x, NOISE, grid, 0, replace(config.sample, guidance=2.0))


def writers(config: Config) -> Any:
    return build.build_writers(config.train.writers, folder=Path(), start=0, about={})


def parts(config: Config) -> Any:
    return [specs.instantiate(condition_parts, text, "data.parts") for text in config.data.parts]


def value(module: ModuleType, config: Config, field: str, kind: type) -> Any:
    return specs.parse_value(module, vars(config.data)[field], f"data.{field}", kind)


FIELDS: dict[str, tuple[str, Callable[[Config], Any]]] = {
    "data.name": ("pictures(16)", lambda config: data_spec.open_configured(config.data)),
    "data.form": ("unit", lambda config: data_spec.parse_form(config.data.form)),
    "data.augment": ("flip(rate=0.3)", lambda config: data_spec.parse_augment(config.data.augment)),
    "data.parts": ("low_res(factor=4)", parts),
    "data.image_size": (
        "buckets(area=256)",
        lambda config: data_spec.parse_image_size(config.data.image_size),
    ),
    "data.fit": ("pad('black')", lambda config: value(fits, config, "fit", fits.Fit)),
    "data.cache": ("disk(max_gb=1.0)", lambda config: value(decoded_cache, config, "cache", decoded_cache.CacheRule)),
    "data.unreadable": ("refuse", lambda config: value(unreadable, config, "unreadable", unreadable.Unreadable)),
    "data.duplicates": (
        "once(near=False)",
        lambda config: value(duplicates, config, "duplicates", duplicates.Duplicates),
    ),
    "model.net": (NET, model),
    "model.noise": ("Gaussian", model),
    "model.prediction": ("v", model),
    "model.schedule": ("shift(flow, 3.0)", model),
    "model.inputs": ("discrete_steps(count=50)", model),
    "model.order": ("rolling(0.3)", model),
    "model.adapters": ("lora(rank=2)", model),
    "model.conditions": ("Number(part='slant')", model),
    "train.optimizer": ("adamw(beta2=0.9)", lambda config: build.build_optimizer(config.train)),
    "train.loss": ("regression()", loss),
    "train.weight": ("min_snr(gamma=4.0)", loss),
    "train.times": ("logit_normal(mean=0.5)", loss),
    "train.on_fault": ("skip(limit=3)", lambda config: build.build_policy(config.train.on_fault)),
    "train.writers": ("jsonl", writers),
    "sample.sampler": ("ddim(eta=0.5)", sampler),
    "sample.grid": ("karras(rho=5.0)", sampler),
    "sample.guidance_when": ("interval(low=0.2, high=0.8)", guided),
    "sample.guidance_rule": ("rescaled(phi=0.5)", guided),
    "sample.guidance_form": ("cfg()", guided),
}


def with_field(path: str, text: str) -> Config:
    section, name = path.split(".")
    value = (text,) if isinstance(vars(getattr(CONFIG, section))[name], tuple) else text
    return replace(CONFIG, **{section: replace(getattr(CONFIG, section), **{name: value})})


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the module of parts, on Python's path."""
    (tmp_path / f"{NAME}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    return tmp_path / f"{NAME}.py"


def test_every_field_that_names_a_part_is_tried() -> None:
    named = {path for path, value in meaning.flatten_config(Config()).items() if isinstance(value, str | tuple)}
    plain = {
        "data.dir",
        "data.latents",
        "data.image",
        "data.label",
        "data.background",
        "train.init_from",
        "train.keep_best",
    }
    plain |= {"train.freeze", "train.ema", "train.ema_std"}
    assert FIELDS.keys() == named - plain


@pytest.mark.parametrize("path", FIELDS)
def test_a_part_of_ones_own_is_built_where_one_of_the_library_is(path: str, theirs: Path) -> None:
    text, read = FIELDS[path]
    ours = None if path == "data.name" else read(with_field(path, text))
    mine = read(with_field(path, f"{NAME}:{text}"))
    assert type(mine) is type(ours) or ours is None
    if path.startswith("model."):
        assert (mine.order, mine.net) == (ours.order, ours.net)


@pytest.mark.parametrize("path", FIELDS)
def test_what_cannot_be_imported_is_named_by_its_field(path: str, theirs: Path) -> None:
    _, read = FIELDS[path]
    field = path.removeprefix("sample.")
    for text, says in (
        (f"{NAME}:missing_part()", "missing_part"),
        ("no_such_package.parts:thing", "no_such_package.*PYTHONPATH"),
        (f"{NAME}.:thing", ""),
        (f"{NAME}:thing.other", ""),
    ):
        with pytest.raises(UserError, match=rf"^{field}: .*{says}"):
            read(with_field(path, text))


def test_a_module_that_fails_and_a_part_of_another_kind_are_named(theirs: Path) -> None:
    theirs.write_text(f"{SOURCE}\nthing = 3\ndef maker():\n    return 3\n")
    for text in (f"{NAME}:thing", f"{NAME}:maker()"):
        with pytest.raises(UserError, match=r"^model\.order: .*Order"):
            model(with_field("model.order", text))
    with pytest.raises(UserError, match=r"^model\.net: .*conditional=False"):
        model(with_field("model.net", f"{NAME}:maker()"))
    theirs.with_name("faulty_parts.py").write_text("1 / 0")
    with pytest.raises(UserError, match=r"^model\.order: faulty_parts .*ZeroDivisionError"):
        model(with_field("model.order", "faulty_parts:x"))


def test_a_part_of_ones_own_takes_parts_of_the_library(theirs: Path) -> None:
    text = f"{NAME}:shift(flow, 3.0)"
    assert model(with_field("model.schedule", text)) == model(with_field("model.schedule", "shift(flow, 3.0)"))
    nested = f"shift({NAME}:flow, 3.0)"
    assert model(with_field("model.schedule", nested)) == model(with_field("model.schedule", "shift(flow, 3.0)"))


@pytest.mark.parametrize("path", FIELDS)
def test_leave_is_asked_for_every_field(path: str) -> None:
    fields = meaning.flatten_config(with_field(path, f"harm:{FIELDS[path][0]}"))
    with pytest.raises(UserError, match=rf"^run: {path} .*--allow_imports"):
        user_parts.check_leave(fields, False, "run")
    user_parts.check_leave(fields, True, "run")
    assert "harm" not in sys.modules


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("data.name", "folder:pets"),
        ("data.dir", "C:sets"),
        ("train.init_from", "a:b"),
        ("model.conditions", "Text(part='a:b')"),
        ("sample.guidance_form", "several(scales={'text': 3.0})"),
    ],
)
def test_what_only_looks_like_an_import_path_needs_no_leave(path: str, text: str) -> None:
    user_parts.check_leave(meaning.flatten_config(with_field(path, text)), False, "run")


def test_the_module_is_recorded_with_the_hash_of_its_file(theirs: Path) -> None:
    config = with_field("model.net", f"{NAME}:{NET}")
    model(config)
    recorded = user_parts.module_hashes(meaning.flatten_config(config))
    assert recorded.keys() == {NAME}
    assert not user_parts.changed_modules(recorded)
    theirs.write_text(f"{SOURCE}\n")
    assert user_parts.changed_modules(recorded) == [NAME]
