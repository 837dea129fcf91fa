"""Training on a folder of one's own: the measured deviation, what is said of the data, and what 0 steps mean."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Trained, trained
from PIL import Image

from diffjax.data import open_dataset
from diffjax.experiment import run_record, trained_model
from diffjax.noise import Gaussian
from diffjax.training import manifest, retention

QUIET = ("--config.train.writers=('jsonl',)", "--config.data.batch_size=8", "--config.train.validate_images=2")
NEVER = [f"--config.train.{name}_every_steps=0" for name in ("log", "save", "picture", "snapshot", "keep")]


def save(path: Path, i: int) -> None:
    """A transparent picture: what is seen through has another colour than white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 4), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> Trained:
    """Two steps on forty transparent pictures, with no field of the config but the folder's name and the sizes."""
    folder = tmp_path_factory.mktemp("own")
    for i in range(40):
        save(folder / "pictures" / f"{i}.png", i)
    return trained(folder, folder, False, *QUIET, f"--config.data.name=folder:{folder / 'pictures'}", *NEVER)


def pictures(run: Trained) -> Path:
    return run.workdir.parent / "pictures"


def argv(run: Trained, workdir: Path, *more: str) -> list[object]:
    name = f"--config.data.name=folder:{pictures(run)}"
    return ["--config", run.config, "--workdir", workdir, *QUIET, name, *NEVER, *more]


def recorded(workdir: Path) -> float:
    return run_record.read_record(workdir).config.model.data_std


def test_a_new_run_records_the_deviation_of_its_training_images(learnt) -> None:
    images, _ = open_dataset(f"folder:{pictures(learnt)}").arrays("train")
    assert recorded(learnt.workdir) == pytest.approx((images / 127.5 - 1).std(), rel=5e-3), "to three digits"


def test_it_is_built_with_that_number_wherever_it_is_read(learnt, call, tmp_path) -> None:
    told = call("export.py", "--workdir", learnt.workdir, "--out", tmp_path / "weights.safetensors")
    assert told.code == 0, told.err
    for source in (learnt.workdir, tmp_path / "weights.safetensors"):
        noise = trained_model.load(source).noise
        assert isinstance(noise, Gaussian)
        assert noise.data_std == recorded(learnt.workdir)


@pytest.mark.parametrize("alone", [True, False])
def test_a_run_that_goes_on_keeps_its_number_whatever_the_folder_has_become(learnt, call, tmp_path, alone) -> None:
    run = shutil.copytree(learnt.workdir, tmp_path / "run")
    before = recorded(run)
    black = [pictures(learnt) / f"black{i}.png" for i in range(40)]
    try:
        for path in black:
            Image.new("RGB", (8, 8)).save(path)
        given = ["--workdir", run, "--config.train.steps=3"] if alone else argv(learnt, run, "--config.train.steps=3")
        told = call("train.py", *given)
    finally:
        for path in black:
            path.unlink()
    assert told.code == 0, told.err
    assert recorded(run) == before
    assert max(int(path.name) for path in retention.complete_checkpoints(run / "checkpoints")) == 3


def test_a_number_that_is_given_is_kept_and_noted_where_it_is_far_off(learnt, call, tmp_path) -> None:
    told = call("train.py", *argv(learnt, tmp_path / "run", "--config.model.data_std=1.0"))
    assert told.code == 0, told.err
    assert recorded(tmp_path / "run") == 1.0
    assert sum("config.model.data_std" in line for line in told.err.splitlines()) == 1


def test_a_model_of_tokens_records_a_number_that_nothing_reads(masked) -> None:
    assert recorded(masked.workdir) == 1.0


def test_pictures_of_one_colour_have_no_deviation(learnt, call, tmp_path) -> None:
    for i in range(20):
        (tmp_path / "grey").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 99).save(tmp_path / "grey" / f"{i}.png")
    name = f"--config.data.name=folder:{tmp_path / 'grey'}"
    told = call("train.py", *argv(learnt, tmp_path / "run"), name)
    assert (told.code, len(told.err.splitlines())) == (2, 1), told.err
    assert "config.model.data_std" in told.err
    assert not (tmp_path / "run").exists()


def test_check_says_the_deviations_the_splits_the_background_and_what_a_step_takes(
    learnt, call, tmp_path, untyped
) -> None:
    told = call("train.py", *argv(learnt, tmp_path / "run", "--config.model.data_std=1.0"), "--check")
    assert told.code == 0, told.err
    lines = {line.split(":")[0]: line for line in told.out.splitlines() if re.match(r"\w+: ", line)}
    assert "data_std:    1;" in lines["data_std"]
    assert f"{recorded(learnt.workdir):g}" in lines["data_std"]
    units = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    peak, state = (
        float(value) * units[unit]
        for value, unit in (re.findall(r"([\d.]+) (bytes|kB|MB|GB)", lines[name])[0] for name in ("memory", "state"))
    )
    assert peak > state
    assert re.search(r"ms per step, the minimum of \d+", lines["time"])
    assert not (tmp_path / "run").exists()
    counts = {name: len(split) for name, split in open_dataset(f"folder:{pictures(learnt)}").splits.items()}
    for name, count in counts.items():
        assert f"{count} for {name}" in told.out
    assert "40 of 40 images" in told.out
    assert "white" in told.out


def test_0_is_never_and_the_last_step_is_saved_and_logged(learnt) -> None:
    """With its validation loss, as every save; and without a picture."""
    saved = retention.complete_checkpoints(learnt.workdir / "checkpoints")
    assert [int(path.name) for path in saved] == [2]
    assert "validation_loss" in manifest.read_manifest(saved[0])["metrics"]
    steps = [json.loads(line)["step"] for line in (learnt.workdir / "metrics.jsonl").read_text().splitlines()]
    assert set(steps) == {2}
    assert not list(learnt.workdir.glob("pictures/*"))


def test_start_says_how_the_data_are_divided_and_that_pictures_are_laid_on_white(learnt, call, tmp_path) -> None:
    told = call("train.py", *argv(learnt, tmp_path / "run"))
    assert told.code == 0, told.err
    assert sum("for validation" in line and "for train" in line for line in told.err.splitlines()) == 1
    assert sum("40 of 40 images" in line and "white" in line for line in told.err.splitlines()) == 1
