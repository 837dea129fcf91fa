"""What a run remembers of its splits: evaluation and training say where a set has grown; small sets break nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Trained, trained
from PIL import Image

from diffjax.commands import evaluation_subject, training_plan
from diffjax.data import open_dataset, split_rules
from diffjax.experiment import run_record, trained_model
from diffjax.experiment.loading import load
from diffjax.training import manifest, retention

QUIET = ("--config.train.writers=('jsonl',)", "--config.train.picture_every_steps=0", "--config.model.data_std=0.5")


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


def counts(pets: Path, rule: split_rules.SplitRule = split_rules.by_key) -> dict[str, int]:
    return {name: len(split) for name, split in open_dataset(f"folder:{pets}", rule=rule).splits.items()}


def test_a_run_records_its_rule_and_its_splits(learnt) -> None:
    saved = run_record.read_record(learnt.workdir)
    pets = learnt.workdir.parent / "pets"
    assert saved.splits is not None
    assert (saved.rule, saved.splits.counts) == ("by_key", counts(pets))
    assert saved.splits.fingerprints.keys() == {"train", "validation", "test"}


EVALUATIONS = [  # what is said of the data is so of any part of a report
    pytest.param(("--num=12", "--bits_of=4", "--quick", "--without=features"), id="scores"),
    pytest.param(("--num=12", "--bits_of=4", "--likelihood=bound"), id="every part", marks=pytest.mark.long),
]


@pytest.mark.parametrize("evaluate", EVALUATIONS)
def test_a_set_that_has_grown_is_said_by_evaluation_and_by_training(
    evaluate, call, learnt, run, grown, tmp_path
) -> None:
    told = call("evaluate.py", "--workdir", run, "--out", tmp_path / "out", *evaluate)
    assert told.code == 0, told.err
    saved = run_record.read_record(run)
    assert saved.splits is not None
    before, after = saved.splits.counts["train"], counts(grown)["train"]
    line = f"train had {before} pictures and has {after}"
    assert sum(line in each for each in told.err.splitlines()) == 1
    assert line in json.loads((tmp_path / "out" / "report.json").read_text())["provenance"]["more"]["data"]
    argv = ["--config", learnt.config, "--workdir", run, *QUIET, f"--config.data.name=folder:{grown}"]
    told = call("train.py", *argv, "--config.train.steps=4")
    assert told.code == 0, told.err
    assert sum(line in each for each in told.err.splitlines()) == 1
    assert run_record.read_record(run).splits == saved.splits, "what it began with"


def test_a_set_that_has_not_is_not_spoken_of(learnt, capsys) -> None:
    found = evaluation_subject.open_subject(learnt.workdir, load(learnt.workdir), 100)
    assert found.changes == ""
    assert "data" not in found.provenance
    assert capsys.readouterr().err == ""


def of_before(run: Path) -> None:
    """The run as an older version wrote it."""
    for path in retention.complete_checkpoints(run / "checkpoints"):
        said = manifest.read_manifest(path)
        (path / manifest.MANIFEST).unlink()
        manifest.write_manifest(path, {name: said[name] for name in ("step", "position", "metrics", "config")})
    run_record.write_config(run, replace(run_record.read_record(run), run="", adoptions={}, splits=None))


def test_a_run_of_before_keeps_the_rule_that_made_its_splits(call, learnt, run) -> None:
    of_before(run)
    pets = learnt.workdir.parent / "pets"
    assert trained_model.load(run).info.splits is None
    found = evaluation_subject.open_subject(run, load(run), 100)
    older = counts(pets, split_rules.by_rank)
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
    saved = run_record.read_record(run)
    assert saved.splits is not None
    assert (saved.rule, saved.splits.counts) == ("by_rank", older)
    assert training_plan.plan_training(saved.config, run, saved).data.dataset.splits.keys() == older.keys()


def in_split(name: str, wanted: str) -> bool:
    """Whether the rule puts the picture of that path into that split."""
    place = split_rules.hash_positions([name.encode()])[0]
    return wanted == ("test" if place < 0.1 else "validation" if place < 0.2 else "train")


def small(folder: Path, **counts: int) -> Path:
    """A folder with so many pictures of each split: one alone is without a class, more are of one class."""
    inside = "" if sum(counts.values()) == 1 else "cat/"
    for wanted, count in counts.items():
        names = [name for i in range(2_000) if in_split(name := f"{inside}{i}.png", wanted)]
        for i, name in enumerate(names[:count]):
            save(folder / name, i + 100 * len(wanted))
    return folder


@pytest.mark.parametrize(
    ("pictures", "scored"),
    [
        ({"test": 1}, False),  # for training, being all there is
        pytest.param({"train": 1}, False, marks=pytest.mark.long),
        pytest.param({"train": 5}, False, marks=pytest.mark.long),
        pytest.param({"train": 2, "test": 3}, False, marks=pytest.mark.long),
        ({"train": 12}, True),
        pytest.param({"train": 12, "validation": 3, "test": 2}, True, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_a_small_folder_is_learnt_and_evaluated_on_what_there_is(call, learnt, tmp_path, pictures, scored) -> None:
    """With one line that says what stands for the images that are not there."""
    folder = small(tmp_path / "few", **pictures)
    argv = ["--config", learnt.config, "--workdir", tmp_path / "run", *QUIET]
    told = call("train.py", *argv, f"--config.data.name=folder:{folder}", "--config.data.batch_size=8")
    assert told.code == 0, told.err
    without = sum("no validation images" in line for line in told.err.splitlines())
    assert without == ("validation" not in pictures)
    few = ("--num=12", "--bits_of=4", "--likelihood=bound")
    told = call("evaluate.py", "--workdir", tmp_path / "run", "--out", tmp_path / "out", *few)
    assert told.code == 0, told.err
    assert sum("what is called test is" in line or "too few for scores" in line for line in told.err.splitlines()) == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert bool(report["scores"]) == scored
    assert report["bits_per_dim"]["this model"]["test"]["images"]
    assert "real images" in report["provenance"]["more"]


def test_the_best_checkpoint_by_a_loss_of_no_images_is_refused(call, learnt, tmp_path) -> None:
    folder = small(tmp_path / "few", train=5)
    argv = ["--config", learnt.config, "--workdir", tmp_path / "run", *QUIET, "--config.data.batch_size=8"]
    told = call("train.py", *argv, f"--config.data.name=folder:{folder}", "--config.train.keep_best=validation_loss")
    assert (told.code, len(told.err.splitlines())) == (2, 1), told.err
    assert "config.train.keep_best" in told.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["validation", "train"])
def test_real_images_are_of_the_split_that_is_asked_for(learnt, split) -> None:
    """Of train one half stands beside the other; nothing is in both."""
    pets = open_dataset(f"folder:{learnt.workdir.parent / 'pets'}")
    found = evaluation_subject.open_subject(learnt.workdir, load(learnt.workdir), 100, split)
    assert found.comparable
    assert split in found.provenance["real images"]
    test, train = (found.real[name][0] for name in ("test", "train"))
    both = {image.tobytes() for image in test} | {image.tobytes() for image in train}
    assert len(both) == len(test) + len(train)
    wanted = pets.arrays(split)[0]
    if split == "train":
        assert both == {image.tobytes() for image in wanted}
        assert abs(len(test) - len(train)) <= 1
    else:
        np.testing.assert_array_equal(test, wanted)


def test_an_unknown_split_is_named_with_those_that_there_are(call, learnt, tmp_path) -> None:
    told = call("evaluate.py", "--workdir", learnt.workdir, "--out", tmp_path / "out", "--split=tset")
    assert (told.code, len(told.err.splitlines())) == (2, 1), told.err
    assert all(name in told.err for name in ("'tset'", "test", "train", "validation"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("evaluate", EVALUATIONS)
def test_a_class_without_a_picture_for_training_is_said(evaluate, call, learnt, tmp_path) -> None:
    names = [f"{i}.png" for i in range(200)]
    place = dict(zip(names, split_rules.hash_positions([f"rare/{name}".encode() for name in names]), strict=True))
    for i in range(60):
        save(tmp_path / "some" / ("cat" if i % 2 else "dog") / f"{i}.png", i)
    save(tmp_path / "some" / "rare" / next(name for name in names if place[name] < 0.1), 99)
    argv = ["--config", learnt.config, "--workdir", tmp_path / "run", *QUIET]
    argv += [f"--config.data.name=folder:{tmp_path / 'some'}", "--config.data.batch_size=8"]
    told = call("train.py", *argv)
    assert told.code == 0, told.err
    assert sum("'rare'" in line for line in told.err.splitlines()) == 2  # it has one picture, and none for training
    told = call("evaluate.py", "--workdir", tmp_path / "run", "--out", tmp_path / "out", *evaluate)
    assert told.code == 0, told.err
    assert "Traceback" not in told.err
