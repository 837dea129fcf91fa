"""Checkpoints: what comes back is bit for bit what was saved, and what is damaged is not taken."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax.errors import UserError
from diffjax.nets import MLP
from diffjax.training import checkpoint, retention, running_means
from diffjax.training.checkpoint import Saver, restore
from diffjax.training.manifest import MANIFEST, find_damage
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State, create

NET = MLP(width=8, depth=1)
FINE = {"loss": jnp.ones(1)}


def state(step: int) -> State:
    fresh = create(jax.random.key(3), NET, optax.adamw(1e-3), (0.9, 0.999), jnp.zeros((1, 3)), None)
    params = jax.tree.map(lambda leaf: leaf + jax.random.normal(jax.random.key(step), leaf.shape), fresh.params)
    return fresh.replace(params=params, step=jnp.asarray(step, jnp.int32))


def equal(one: State, other: State) -> bool:
    pairs = zip(jax.tree.leaves(checkpoint.to_orbax(one)), jax.tree.leaves(checkpoint.to_orbax(other)), strict=True)
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of steps 10, 20 and 30; 5 was saved before and is no longer kept."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    saver = Saver(folder, RetentionPolicy(last=3))
    for step in (5, 10, 20, 30):
        saver.save(step, state(step), FINE)
    saver.close()
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to damage."""
    return shutil.copytree(saved, tmp_path / "checkpoints")


def test_every_leaf_comes_back_bit_for_bit(saved) -> None:
    back = restore(saved, state(0))
    assert back is not None
    assert equal(back, state(30))
    np.testing.assert_array_equal(jax.random.uniform(back.key, (3,)), jax.random.uniform(state(30).key, (3,)))


def test_running_sums_are_those_of_the_step(tmp_path) -> None:
    """And none where none were saved, as older versions did, where there is no checkpoint, and where it is damaged."""
    saver, sums = Saver(tmp_path, RetentionPolicy()), {"loss": (0.1 + 0.2, 3), "grad_norm": (1e-300, 3)}
    saver.save(13, state(13), FINE, sums)
    saver.save(20, state(20), FINE)
    saver.close()
    assert [running_means.read_sums(tmp_path, step) for step in (13, 20, 0)] == [sums, {}, {}]
    (tmp_path / "00000013" / MANIFEST).write_text("{")
    assert running_means.read_sums(tmp_path, 13) == {}


def test_the_newest_are_kept(saved) -> None:
    assert [int(path.name) for path in retention.checkpoint_folders(saved)] == [30, 20, 10]


def test_nothing_saved_is_nothing_restored(tmp_path) -> None:
    assert restore(tmp_path / "checkpoints", state(0)) is None


def files(folder):
    return sorted(file for file in (folder / "00000030").rglob("*") if file.is_file())


def test_any_flipped_bit_is_noticed(folder, capsys) -> None:
    for file in files(folder):
        before = file.read_bytes()
        if not before:
            continue
        middle = len(before) // 2
        file.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
        newest = checkpoint.newest_valid(folder)
        assert newest is not None
        assert newest.name == "00000020", file
        assert "00000030" in capsys.readouterr().err
        file.write_bytes(before)
    assert equal(restore(folder, state(0)), state(30))


def test_truncated_missing_and_added_files_are_noticed(folder, capsys) -> None:
    largest = max(files(folder), key=lambda file: file.stat().st_size)
    whole = largest.read_bytes()
    for content in (whole[: len(whole) // 2], b"", None):
        largest.unlink() if content is None else largest.write_bytes(content)
        assert equal(restore(folder, state(0)), state(20))
        assert str(largest.relative_to(folder / "00000030")) in capsys.readouterr().err
    largest.write_bytes(whole)
    (folder / "00000030" / "state" / "stray").write_text("?")
    assert equal(restore(folder, state(0)), state(20))


def test_unfinished_and_empty_folders_are_passed_over(folder, capsys) -> None:
    (folder / "00000030" / MANIFEST).unlink()
    (folder / "00000040").mkdir()
    (folder / ".00000050.partial").mkdir()
    assert equal(restore(folder, state(0)), state(20))
    told = capsys.readouterr().err
    assert "00000040" in told


def test_nothing_good_is_an_error_and_not_a_fresh_start(folder) -> None:
    for path in retention.checkpoint_folders(folder):
        (path / MANIFEST).write_text("{")
    with pytest.raises(UserError, match=" 3 checkpoints"):
        restore(folder, state(0))


def test_a_step_asked_for_is_that_step_or_an_error(folder) -> None:
    step, emas = checkpoint.read(folder, 20, tuple)
    assert step == 20
    for one, other in zip(jax.tree.leaves(emas), jax.tree.leaves(state(20).emas), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UserError, match="30, 20, 10"):
        checkpoint.read(folder, 15, tuple)


def test_another_model_is_refused(saved) -> None:
    other = create(jax.random.key(3), MLP(width=12, depth=2), optax.adamw(1e-3), (0.9,), jnp.zeros((1, 3)), None)
    with pytest.raises(UserError, match="000000"):
        restore(saved, other)


def test_only_what_is_chosen_is_read(saved) -> None:
    def chosen(emas):
        assert {name: jax.tree.map(jnp.shape, params) for name, params in emas.items()} == {
            name: jax.tree.map(jnp.shape, params) for name, params in state(0).emas.items()
        }
        return ["0.9"]

    assert checkpoint.read(saved, None, chosen)[1].keys() == {"0.9"}


def test_a_save_replaces_what_a_killed_one_left(folder) -> None:
    left = folder / ".00000040.partial" / "state"
    left.mkdir(parents=True)
    (left / "junk").write_text("half")
    saver = Saver(folder, RetentionPolicy(last=2))
    saver.save(40, state(40), FINE)
    saver.close()
    assert [int(path.name) for path in retention.checkpoint_folders(folder)] == [40, 30]
    assert equal(restore(folder, state(0)), state(40))


def test_folders_that_are_no_checkpoints_push_nothing_out(folder) -> None:
    """After a fall-back, damaged folders of later steps stand beside what is saved: nothing good may go for them."""
    for step in (40, 50, 60):
        (folder / f"{step:08d}").mkdir()
    saver = Saver(folder, RetentionPolicy(last=3))
    saver.save(35, state(35), FINE)
    saver.close()
    good = [int(path.name) for path in retention.checkpoint_folders(folder) if not find_damage(path)]
    assert good == [35, 30, 20]


def test_what_is_not_finite_is_not_saved(tmp_path) -> None:
    saver, good = Saver(tmp_path / "checkpoints", RetentionPolicy()), state(7)
    for name in ("params", "emas", "opt_state"):
        with jax.debug_nans(False):
            nan = {name: jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), getattr(good, name))}
            with pytest.raises(UserError, match="step 7 "):
                saver.save(7, dataclasses.replace(good, **nan), FINE)
    saver.close()
    assert restore(tmp_path / "checkpoints", state(0)) is None


def test_a_checkpoint_that_is_deleted_while_it_is_read_is_read_from_a_newer_one(folder, monkeypatch, capsys) -> None:
    """The trainer deletes before the arrays are read, the first time, and before the hashes are, the second."""
    newer = folder.parent / "newer"
    (folder / "00000030").rename(newer)
    described, damage_of = checkpoint.checkpoint_validation.array_specs, checkpoint.manifest.find_damage

    def described_late(state, *args):
        if state.parent.name == "00000020":
            shutil.rmtree(folder / "00000020")
        return described(state, *args)

    def damage_late(path):
        if path.name == "00000010" and not (folder / "00000030").exists():
            newer.rename(folder / "00000030")
            shutil.rmtree(path)
        return damage_of(path)

    monkeypatch.setattr(checkpoint.checkpoint_validation, "array_specs", described_late)
    monkeypatch.setattr(checkpoint.manifest, "find_damage", damage_late)
    assert checkpoint.read(folder, None, tuple)[0] == 30
    assert not capsys.readouterr().err, "what went in the usual course is no damage"


def test_a_step_that_is_deleted_while_it_is_read_is_named(folder, monkeypatch) -> None:
    def gone(state, *args):
        shutil.rmtree(state.parent)
        raise ValueError("gone")

    monkeypatch.setattr(checkpoint.checkpoint_validation, "array_specs", gone)
    with pytest.raises(UserError, match=r"00000020: .*30, 10"):
        checkpoint.read(folder, 20, tuple)


def test_files_that_go_while_they_are_hashed_are_damage(folder, monkeypatch) -> None:
    def gone(file):
        raise FileNotFoundError(file)

    monkeypatch.setattr("diffjax.utils.untrusted.file_sha256", gone)
    assert "deleted" in find_damage(folder / "00000030")
