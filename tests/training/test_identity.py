"""A checkpoint is taken as a run's own where it says so; where another is in the folder, it is named and refused."""

import contextlib
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

from diffjax.errors import UserError
from diffjax.nets import MLP
from diffjax.training import checkpoint, identity, manifest, retention
from diffjax.training.checkpoint import Saver
from diffjax.training.identity import Identity
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State, create

NET = MLP(width=8, depth=1)
OURS, THEIRS = Identity("0a" * 16, "1b" * 32), Identity("2c" * 16, "1b" * 32)
OLDER = Identity("", "1b" * 32)
ABOUT = {"ours": OURS.about, "theirs": THEIRS.about, "older": {}}


@pytest.fixture(scope="module")
def fresh() -> State:
    return create(jax.random.key(3), NET, optax.adamw(1e-3), (0.9,), jnp.zeros((1, 3)), None)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, fresh) -> Path:
    """Steps 10 and 20 of three runs of one shape."""
    folder = tmp_path_factory.mktemp("runs")
    for name, about in ABOUT.items():
        with contextlib.closing(Saver(folder / name, RetentionPolicy(last=2), about)) as saver:
            for step in (10, 20):
                saver.save(step, fresh, {"loss": 1.0})
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A run of ours, to put others' checkpoints into."""
    return shutil.copytree(saved / "ours", tmp_path / "checkpoints")


def put(saved: Path, name: str, step: int, folder: Path) -> Path:
    place = folder / f"{step:08d}"
    shutil.rmtree(place, ignore_errors=True)
    return shutil.copytree(saved / name / place.name, place)


def test_a_run_takes_its_own_in_silence(saved, folder, fresh, capsys) -> None:
    assert checkpoint.restore(folder, fresh, OURS) is not None
    assert checkpoint.read(folder, 10, tuple, OURS)[0] == 10
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("step", [10, 20])
@pytest.mark.parametrize("whose", ["theirs", "older"])
def test_any_of_another_run_is_named_and_refused_and_nothing_is_taken_for_it(saved, folder, fresh, whose, step) -> None:
    """Also where it is not the newest: it would be kept as the run's own, and be taken some day."""
    place = put(saved, whose, step, folder)
    with pytest.raises(UserError, match=rf"{place}: .*config\.json"):
        checkpoint.restore(folder, fresh, OURS)
    with pytest.raises(UserError, match=f"{place}: "):
        checkpoint.read(folder, step, tuple, OURS)
    if step == 20:
        with pytest.raises(UserError, match=f"{place}: "):
            checkpoint.read(folder, None, tuple, OURS)


def test_another_meaning_is_refused(folder, fresh) -> None:
    other = Identity(OURS.run, "3d" * 32)
    with pytest.raises(UserError, match=r"00000020: .*meaning"):
        checkpoint.restore(folder, fresh, other)
    with pytest.raises(UserError, match=r"00000020: .*meaning"):
        checkpoint.read(folder, None, tuple, other)


def test_a_damaged_one_is_passed_over_and_the_one_before_is_held_to_the_same(saved, folder, fresh, capsys) -> None:
    (folder / "00000020" / manifest.MANIFEST).write_text("{")
    assert checkpoint.read(folder, None, tuple, OURS)[0] == 10
    assert checkpoint.restore(folder, fresh, OURS) is not None
    assert "00000020" in capsys.readouterr().err
    put(saved, "theirs", 10, folder)
    with pytest.raises(UserError, match="00000010: "):
        checkpoint.read(folder, None, tuple, OURS)


def test_a_run_of_before_is_taken_and_said_so(saved, fresh, capsys) -> None:
    assert checkpoint.restore(saved / "older", fresh, OLDER) is not None
    assert checkpoint.read(saved / "older", None, tuple, OLDER)[0] == 20
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert all(f"{saved / 'older' / '00000020'} " in line for line in told)


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_run_of_before_takes_none_that_has_an_identity(saved, fresh, whose) -> None:
    with pytest.raises(UserError, match="000000"):
        checkpoint.restore(saved / whose, fresh, OLDER)
    with pytest.raises(UserError, match="000000"):
        checkpoint.read(saved / whose, None, tuple, OLDER)


def test_what_was_adopted_is_taken_and_nothing_else_without_an_identity(saved, tmp_path, fresh, capsys) -> None:
    folder = shutil.copytree(saved / "older", tmp_path / "checkpoints")
    adopting = Identity(OURS.run, OURS.meaning, identity.manifest_hashes(folder))
    with contextlib.closing(Saver(folder, RetentionPolicy(last=9), adopting.about)) as saver:
        saver.save(30, fresh, {"loss": 1.0})
    for step in (10, 20, 30):
        assert checkpoint.read(folder, step, tuple, adopting)[0] == step
    assert checkpoint.restore(folder, fresh, adopting) is not None
    assert capsys.readouterr().err == ""
    other = json.loads((folder / "00000010" / manifest.MANIFEST).read_text())
    (folder / "00000010" / manifest.MANIFEST).unlink()
    manifest.write_manifest(folder / "00000010", {"step": 10, "metrics": {**other["metrics"], "loss": 2.0}})
    with pytest.raises(UserError, match="00000010: "):
        checkpoint.restore(folder, fresh, adopting)
    put(saved, "theirs", 10, folder)
    with pytest.raises(UserError, match="00000010: "):
        checkpoint.read(folder, 10, tuple, adopting)


def test_identities_are_drawn_anew() -> None:
    drawn = {identity.draw_identity() for _ in range(100)}
    assert len(drawn) == 100
    assert {len(each) for each in drawn} == {2 * identity.ID_BYTES}


def test_snapshots_of_before_are_adopted_with_the_checkpoints_that_follow_them() -> None:
    adopted = Identity(OURS.run, OURS.meaning, {"00000020": "…"})
    identity.check_snapshot(Path("00000020.safetensors"), {"step": 20}, adopted)
    identity.check_snapshot(Path("00000030.safetensors"), {"step": 30, **OURS.about}, adopted)
    identity.check_snapshot(Path("00000030.safetensors"), {"step": 30}, OLDER)
    for said, whose in (({}, adopted), ({}, OURS), (THEIRS.about, adopted), (OURS.about, OLDER)):
        with pytest.raises(UserError, match=r"00000030\.safetensors: "):
            identity.check_snapshot(Path("00000030.safetensors"), {"step": 30, **said}, whose)


def test_a_manifest_that_is_no_file_has_no_hash(saved, tmp_path) -> None:
    folder = shutil.copytree(saved / "older", tmp_path / "checkpoints")
    (folder / "00000010" / manifest.MANIFEST).unlink()
    (folder / "00000010" / manifest.MANIFEST).symlink_to("/dev/zero")
    assert identity.manifest_hashes(folder).keys() == {"00000020"}
    assert [path.name for path in retention.complete_checkpoints(folder)] == ["00000020", "00000010"]
