"""A run is itself: checkpoints of another, or a config that is not theirs, are refused by every script that reads."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Trained, trained
from shell import called

from diffjax.errors import UserError
from diffjax.experiment import run_record, trained_model
from diffjax.training import manifest, retention, safetensors_io

OLD = Path(__file__).parents[1] / "training" / "old" / "without_identity"
QUIET = ("--config.train.picture_every_steps=0", "--config.train.validate_images=0")
AVERAGES = (*QUIET, "--config.train.ema_std=(0.05, 0.1)", "--config.train.snapshot_every_steps=2")


@pytest.fixture(scope="module")
def twin(tmp_path_factory, data_dir) -> Trained:
    """A run of the same config as `tiny`, and of the same numbers, that goes on to step 4."""
    return trained(tmp_path_factory.mktemp("twin"), data_dir, True, "--config.train.steps=4")


@pytest.fixture
def run(tiny, tmp_path) -> Path:
    return shutil.copytree(tiny.workdir, tmp_path / "run")


def put(source: Path, step: int, workdir: Path) -> Path:
    place = workdir / "checkpoints" / f"{step:08d}"
    shutil.rmtree(place, ignore_errors=True)
    return shutil.copytree(source / "checkpoints" / place.name, place)


def content(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def refuse(call, config: Path, run: Path, named: str) -> None:
    """Every script, in one line that has this name, with exit code 2, and nothing written."""
    out, before = run.parent / "out", content(run)
    for script, argv in {
        "train.py": ["--config", config, "--config.train.steps=6"],
        "sample.py": ["--out", out],
        "evaluate.py": ["--out", out],
        "export.py": ["--out", out / "w.safetensors"],
    }.items():
        told = call(script, "--workdir", run, *argv)
        assert told.code == 2, script
        assert len(told.err.splitlines()) == 1, told.err
        assert named in told.err
    assert content(run) == before
    assert not out.exists()
    with pytest.raises(UserError):
        trained_model.load(run)


def test_checkpoints_of_another_run_are_refused(call, tiny, twin, run) -> None:
    place = put(twin.workdir, 4, run)
    refuse(call, tiny.config, run, f"{place}: ")
    assert trained_model.load(run, step=2).info.step == 2
    told = call("train.py", "--config", tiny.config, "--workdir", run, "--check")
    assert (told.code, str(place) in told.err) == (2, True)


def test_the_config_of_another_run_is_refused(call, tiny, twin, run) -> None:
    shutil.copy(twin.workdir / run_record.CONFIG, run)
    refuse(call, tiny.config, run, "00000002: ")


def test_a_config_that_means_something_else_is_refused(tiny, run) -> None:
    """A hand has changed the field, and left out the hash of the file."""
    said = json.loads((run / run_record.CONFIG).read_text())
    del said["sha256"]
    said["config"]["train"]["seed"] = 1
    (run / run_record.CONFIG).write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"00000002: .*meaning"):
        trained_model.load(run)


def test_checkpoints_without_a_config_are_not_gone_on_from(call, tiny, run) -> None:
    (run / run_record.CONFIG).unlink()
    more = ["--config.model.prediction=eps", "--config.model.schedule=linear_beta", "--config.train.steps=6"]
    before = content(run)
    for check in ([], ["--check"]):
        told = call("train.py", "--config", tiny.config, "--workdir", run, *more, *check)
        assert told.code == 2
        assert len(told.err.splitlines()) == 1
        assert f"--workdir {run}: " in told.err
        assert "config.json" in told.err
    assert content(run) == before


def test_a_run_keeps_the_identity_that_it_began_with(call, tiny, run) -> None:
    first = run_record.read_record(tiny.workdir)
    assert call("train.py", "--config", tiny.config, "--workdir", run, "--config.train.steps=4").code == 0
    now = run_record.read_record(run)
    assert (now.run, now.adoptions, now.splits) == (first.run, {}, first.splits)
    for path in retention.complete_checkpoints(run / "checkpoints"):
        said = manifest.read_manifest(path)
        assert (said["run"], said["meaning"]) == (now.run, now.identity.meaning)


def test_a_run_of_before_is_taken_and_gets_an_identity(call, tiny, tmp_path) -> None:
    run = shutil.copytree(OLD, tmp_path / "run")
    place = run / "checkpoints" / "00000002"
    told = call("sample.py", "--workdir", run, "--out", tmp_path / "out", "--num=2")
    assert told.code == 0, told.err
    assert told.err.count(f"diffjax: {place} ") == 1
    assert run_record.read_record(run).run == ""
    for steps in (4, 6):
        argv = ["--config", tiny.config, "--workdir", run, f"--config.train.steps={steps}"]
        told = call("train.py", *argv)
        assert told.code == 0, told.err
        assert told.err.count(f"diffjax: {place} ") == (steps == 4)
    saved = run_record.read_record(run)
    assert saved.run
    assert saved.adoptions.keys() == {"00000002"}
    assert saved.rule == "by_rank"
    told = call("sample.py", "--workdir", run, "--out", tmp_path / "out", "--num=2", "--step=2")
    assert (told.code, str(place) in told.err) == (0, False)
    put(OLD, 2, run)
    assert trained_model.load(run, step=2).info.step == 2, "it is the one that was adopted"
    text = (place / manifest.MANIFEST).read_text()
    (place / manifest.MANIFEST).write_text(f"{text}\n")
    with pytest.raises(UserError, match="00000002: "):
        trained_model.load(run, step=2)


def test_snapshots_and_files_say_whose_they_are(tmp_path, data_dir) -> None:
    one, other = (
        trained(
            tmp_path / name, data_dir, True, *AVERAGES, "--config.train.steps=8", "--config.train.save_every_steps=8"
        )
        for name in ("one", "other")
        if (tmp_path / name).mkdir() is None
    )
    mine = run_record.read_record(one.workdir).identity
    path = one.workdir / trained_model.SNAPSHOTS / "00000004.safetensors"
    assert safetensors_io.read(path)[1] == {"step": 4, **mine.about}
    assert "of 3 snapshots" in trained_model.read_weights(one.workdir, "std=0.07").synthesis
    shutil.copy(other.workdir / trained_model.SNAPSHOTS / path.name, path)
    with pytest.raises(UserError, match=f"{path}: "):
        trained_model.read_weights(one.workdir, "std=0.07")
    exported = tmp_path / "w.safetensors"
    assert called("export.py", "--workdir", one.workdir, "--out", exported) == 0
    assert trained_model.read_weights(exported).record.identity == mine
    tree, about = safetensors_io.read(exported)
    safetensors_io.write(exported, tree, {**about, "meaning": "0" * 64})
    with pytest.raises(UserError, match=f"{exported}: .*meaning"):
        trained_model.read_weights(exported)
