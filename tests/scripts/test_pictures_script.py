"""configs/pictures.py: settings that are chosen when a run begins, said, recorded, and kept as it resumes."""

from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_PICTURES
from PIL import Image
from shell import ROOT, called

from diffjax.experiment import run_record
from diffjax.experiment.config import Config
from diffjax.experiment.picture_defaults import unset_fields

CONFIG = ROOT / "configs" / "pictures.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty colour pictures of 8 × 8 pixels."""
    out = tmp_path_factory.mktemp("pictures")
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(out / f"{number}.png")
    return out


def argv(folder: Path, workdir: Path, *more: str) -> list[object]:
    source = (f"--config.data.name=folder:{folder}", "--config.data.image_size=8")
    return ["--config", CONFIG, "--workdir", workdir, *source, *SMALL_PICTURES, *more]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run") / "run"
    assert called("train.py", *argv(folder, workdir)) == 0
    return workdir


def recorded(workdir: Path) -> Config:
    return run_record.read_record(workdir).config


def test_the_record_has_no_field_that_is_to_be_chosen(run: Path) -> None:
    from diffjax.experiment import meaning

    config = recorded(run)
    assert not unset_fields(meaning.flatten_config(config))
    assert config.model.net == "UNet(width=8, multipliers=(1,))"
    assert config.model.schedule == "shift(cosine, 0.125)"


def test_choices_are_said_with_reasons_and_fields_that_are_set_are_not(folder: Path, call, tmp_path: Path) -> None:
    said = call("train.py", *argv(folder, tmp_path / "run"))
    assert said.code == 0, said.err
    lines = [line for line in said.err.splitlines() if line.startswith("chosen: config.")]
    names = {line.removeprefix("chosen: config.").split("=")[0] for line in lines}
    assert {"model.schedule", "train.learning_rate", "data.augment", "sample.grid"} <= names
    assert not {"model.net", "data.batch_size", "train.steps"} & names
    assert all(line.endswith(")") and "(" in line for line in lines)
    assert sum("checkpoints at most" in line and "state" in line for line in said.err.splitlines()) == 1


def test_a_run_resumes_with_the_config_and_alone(run: Path, folder: Path, call, tmp_path: Path) -> None:
    before = recorded(run)
    assert call("train.py", *argv(folder, run)).code == 0
    assert recorded(run) == before
    assert call("train.py", "--workdir", run).code == 0
    assert recorded(run) == before


def test_samples_are_drawn_by_the_recorded_settings(run: Path, call, tmp_path: Path) -> None:
    assert call("sample.py", "--workdir", run, "--out", tmp_path / "out", "--num=4", "--steps=2").code == 0
    assert len([*(tmp_path / "out" / "samples").glob("*.png")]) == 4


def test_check_says_what_is_chosen(folder: Path, call, tmp_path: Path) -> None:
    said = call("train.py", *argv(folder, tmp_path / "run"), "--check")
    assert said.code == 0, said.err
    assert "chosen: config.model.schedule=" in said.out
    assert not (tmp_path / "run").exists()


def test_a_handful_of_pictures_is_trained_on_and_said(folder: Path, call, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for number in range(6):
        (few / f"{number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    said = call("train.py", *argv(few, tmp_path / "run"))
    assert said.code == 0, said.err
    assert sum("memorized" in line for line in said.err.splitlines()) == 1


def test_tokens_name_the_field_that_must_be_set(folder: Path, call, tmp_path: Path) -> None:
    tokens = ("--config.data.form=tokens", "--config.model.noise=Masking", "--config.model.prediction=")
    said = call("train.py", *argv(folder, tmp_path / "run", *tokens))
    assert (said.code, len(said.err.splitlines())) == (2, 1), said.err
    assert "model." in said.err
