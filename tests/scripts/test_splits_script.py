"""What a run remembers of its splits: evaluation and training say where a set has grown; small sets break nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Trained, trained
from PIL import Image

from diffjax import loading, plan, record, subject
from diffjax.data import open_dataset, rules
from diffjax.training import keeping, manifest

QUIET = ("--config.train.writers=('jsonl',)", "--config.model.data_std=0.5")


def save(path: Path, i: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)).save(path)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> Trained:
    """Two steps on sixty pictures of two classes, in a folder beside the run."""
    folder = tmp_path_factory.mktemp("pets")
    for i in range(60):
        save(folder / "pets" / ("cat" if i % 2 else "dog") / f"{i}.png", i)
    return trained(folder, folder, True, *QUIET, f"--config.data.name=folder:{folder / 'pets'}")


@pytest.fixture
def run(learnt, tmp_path) -> Path:
    return shutil.copytree(learnt.workdir, tmp_path / "run")


@pytest.fixture
def grown(learnt):
    """Twenty pictures more in the folder, until the test ends."""
    pets = learnt.workdir.parent / "pets"
    new = [pets / "cat" / f"new{i}.png" for i in range(20)]
    for i, path in enumerate(new):
        save(path, 100 + i)
    yield pets
    for path in new:
        path.unlink()


def counts(pets: Path, rule: rules.Rule = rules.by_key) -> dict[str, int]:
    return {name: len(split) for name, split in open_dataset(f"folder:{pets}", rule=rule).splits.items()}


def test_a_run_records_its_rule_and_its_splits(learnt) -> None:
    saved = record.read(learnt.workdir)
    pets = learnt.workdir.parent / "pets"
    assert saved.splits is not None
    assert (saved.rule, saved.splits.counts) == ("by_key", counts(pets))
    assert saved.splits.fingerprints.keys() == {"train", "validation", "test"}


def test_a_set_that_has_grown_is_said_by_evaluation_and_by_training(call, learnt, run, grown, tmp_path) -> None:
    few = ("--num=12", "--bits_of=2", "--likelihood=none")
    told = call("evaluate.py", "--workdir", run, "--out", tmp_path / "out", *few)
    assert told.code == 0, told.err
    saved = record.read(run)
    assert saved.splits is not None
    before, after = saved.splits.counts["train"], counts(grown)["train"]
    line = f"train had {before} pictures and has {after}"
    assert sum(line in each for each in told.err.splitlines()) == 1
    assert line in json.loads((tmp_path / "out" / "report.json").read_text())["provenance"]["more"]["data"]
    argv = ["--config", learnt.config, "--workdir", run, *QUIET, f"--config.data.name=folder:{grown}"]
    told = call("train.py", *argv, "--config.train.steps=4")
    assert told.code == 0, told.err
    assert sum(line in each for each in told.err.splitlines()) == 1
    assert record.read(run).splits == saved.splits, "what it began with"


def test_a_set_that_has_not_is_not_spoken_of(learnt, capsys) -> None:
    found = subject.opened(learnt.workdir, None, None, 100)
    assert found.changes == ""
    assert "data" not in found.told
    assert capsys.readouterr().err == ""


def of_before(run: Path) -> None:
    """The run as an older version wrote it."""
    for path in keeping.finished(run / "checkpoints"):
        said = manifest.about(path)
        (path / manifest.MANIFEST).unlink()
        manifest.write(path, {name: said[name] for name in ("step", "position", "metrics", "config")})
    record.write_config(run, replace(record.read(run), run="", adoptions={}, splits=None))


def test_a_run_of_before_keeps_the_rule_that_made_its_splits(call, learnt, run) -> None:
    of_before(run)
    pets = learnt.workdir.parent / "pets"
    assert loading.load(run)[3].splits is None
    found = subject.opened(run, None, None, 100)
    older = counts(pets, rules.by_rank)
    assert (
        {name: len(images) for name, (images, _) in found.real.items()}
        == older
        == {
            "train": 48,
            "validation": 6,
            "test": 6,
        }
    )
    argv = ["--config", learnt.config, "--workdir", run, *QUIET, f"--config.data.name=folder:{pets}"]
    told = call("train.py", *argv, "--config.train.steps=4")
    assert told.code == 0, told.err
    assert "48 images" in told.err
    saved = record.read(run)
    assert saved.splits is not None
    assert (saved.rule, saved.splits.counts) == ("by_rank", older)
    assert plan.planned(saved.config, run, saved).dataset.splits.keys() == older.keys()


def test_a_small_set_names_what_it_lacks(call, learnt, tmp_path) -> None:
    """Five pictures for training, and none for the rest."""
    names = [f"{i}.png" for i in range(200)]
    place = dict(zip(names, rules.places([f"cat/{name}".encode() for name in names]), strict=True))
    for name in [name for name in names if place[name] > 0.2][:5]:
        save(tmp_path / "few" / "cat" / name, int(name.removesuffix(".png")))
    argv = ["--config", learnt.config, "--workdir", tmp_path / "run", *QUIET]
    argv += [f"--config.data.name=folder:{tmp_path / 'few'}", "--config.data.batch_size=8"]
    told = call("train.py", *argv)
    assert (told.code, len(told.err.splitlines())) == (2, 1), told.err
    assert "config.train.validate_images" in told.err
    assert not (tmp_path / "run").exists()
    told = call("train.py", *argv, "--config.train.validate_images=0")
    assert told.code == 0, told.err
    told = call("evaluate.py", "--workdir", tmp_path / "run", "--out", tmp_path / "out")
    assert (told.code, len(told.err.splitlines())) == (2, 1), told.err
    assert "split 'validation' is empty, of 5 images in all" in told.err


def test_a_class_without_a_picture_for_training_is_said(call, learnt, tmp_path) -> None:
    names = [f"{i}.png" for i in range(200)]
    place = dict(zip(names, rules.places([f"rare/{name}".encode() for name in names]), strict=True))
    for i in range(60):
        save(tmp_path / "some" / ("cat" if i % 2 else "dog") / f"{i}.png", i)
    save(tmp_path / "some" / "rare" / next(name for name in names if place[name] < 0.1), 99)
    argv = ["--config", learnt.config, "--workdir", tmp_path / "run", *QUIET]
    argv += [f"--config.data.name=folder:{tmp_path / 'some'}", "--config.data.batch_size=8"]
    told = call("train.py", *argv)
    assert told.code == 0, told.err
    assert sum("no picture for training of class 'rare'" in line for line in told.err.splitlines()) == 1
    few = ("--num=12", "--bits_of=4", "--likelihood=bound")
    told = call("evaluate.py", "--workdir", tmp_path / "run", "--out", tmp_path / "out", *few)
    assert told.code == 0, told.err
    assert "Traceback" not in told.err
