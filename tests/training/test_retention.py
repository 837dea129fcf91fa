"""Which checkpoints stay, what a kill leaves of a deletion, and what a full disk costs: never what was good before."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax.errors import UserError
from diffjax.nets import MLP
from diffjax.training import manifest, retention
from diffjax.training.checkpoint import Saver, restore
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State, create


@pytest.fixture(scope="module")
def state() -> State:
    return create(jax.random.key(0), MLP(width=64, depth=2), optax.adamw(1e-3), (0.9,), jnp.zeros((1, 3)), None)


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in retention.complete_checkpoints(folder))


def save(folder: Path, keep: RetentionPolicy, state: State, losses: dict[int, float]) -> None:
    with contextlib.closing(Saver(folder, keep)) as saver:
        for step, loss in losses.items():
            saver.save(step, state, {"validation_loss": loss})


def test_the_last_the_every_and_the_best_are_kept(state, tmp_path) -> None:
    losses = {10: 0.5, 20: 0.1, 30: 0.9, 40: 0.3, 50: 0.4, 60: 0.2}
    keep = RetentionPolicy(last=2, every_steps=30, best_by="validation_loss")
    save(tmp_path, keep, state, losses)
    assert steps(tmp_path) == [20, 30, 50, 60]
    best = retention.best_checkpoint(tmp_path, "validation_loss")
    assert best is not None
    assert best.name == "00000020"
    save(tmp_path, keep, state, {70: 0.05})
    assert steps(tmp_path) == [30, 60, 70], "the best of before goes when there is a better one"
    assert retention.best_checkpoint(tmp_path, "loss") is None, "a metric that nobody has"


def test_a_policy_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.keep_checkpoints: "):
        RetentionPolicy(last=0)
    with pytest.raises(UserError, match=r"train\.keep_every_steps: .*-1"):
        RetentionPolicy(every_steps=-1)


def test_a_deletion_that_is_killed_leaves_no_half_checkpoint(state, tmp_path, monkeypatch) -> None:
    save(tmp_path, RetentionPolicy(), state, {10: 0.5})
    with monkeypatch.context() as killed:

        def halfway(path: Path, ignore_errors: bool = False) -> None:
            if path.exists():
                (path / manifest.MANIFEST).unlink()
                raise KeyboardInterrupt

        killed.setattr(shutil, "rmtree", halfway)
        with pytest.raises(KeyboardInterrupt):
            retention.delete(tmp_path / "00000010")
    assert retention.checkpoint_folders(tmp_path) == []
    retention.clean_up_partial(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_what_a_killed_save_left_is_taken_where_it_is_whole(state, tmp_path) -> None:
    """Killed after the manifest was written and before the folder had its name; and before the manifest was."""
    save(tmp_path, RetentionPolicy(), state, {10: 0.5, 20: 0.4, 30: 0.3})
    (tmp_path / "00000020").rename(tmp_path / ".00000020.partial")
    (tmp_path / "00000030").rename(tmp_path / ".00000030.partial")
    (tmp_path / ".00000030.partial" / manifest.MANIFEST).unlink()
    retention.clean_up_partial(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000010", "00000020"]


@contextlib.contextmanager
def tmpfs(folder: Path) -> Iterator[None]:
    """A disk of 1.1 MB. Skips where one may not be mounted."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1100k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs leave to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_nothing_that_was_good(state, tmp_path, capfd) -> None:
    """Two checkpoints fit onto the disk; the third does not, though an old one could have gone for it."""
    with tmpfs(tmp_path):
        saver = Saver(tmp_path / "run", RetentionPolicy(last=2))
        for step in (10, 20, 30):
            saver.save(step, state, {})
        saver.wait()
        assert not saver.contains(30)
        assert re.fullmatch(
            r"diffjax: .*step 30 could not be saved \(no space left: .* are free\); training goes on\n",
            capfd.readouterr().err,
        )
        whole = [path for path in retention.checkpoint_folders(tmp_path / "run") if not manifest.find_damage(path)]
        assert [path.name for path in whole] == ["00000020", "00000010"]
        with pytest.raises(UserError, match="step "):
            saver.close()
        assert restore(tmp_path / "run", state) is not None
        assert not [*(tmp_path / "run").glob(".*")], "nothing is left of what could not be written"


def test_a_bit_of_the_manifest_itself_is_noticed_wherever_it_flips(state, tmp_path) -> None:
    save(tmp_path, RetentionPolicy(), state, {10: 0.5})
    path = tmp_path / "00000010" / manifest.MANIFEST
    whole, bits = path.read_bytes(), np.random.default_rng(0).integers(0, 8, path.stat().st_size)
    assert not manifest.find_damage(path.parent)
    for place, bit in enumerate(bits):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        assert manifest.find_damage(path.parent), f"byte {place}, bit {bit}"
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        assert manifest.find_damage(path.parent), f"cut at {cut}"
