"""What is known before a step is compiled: that memory, disk, loss and data will do."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax import loss, order, predict, schedule, times, weights
from diffjax.commands.preflight import (
    check_data_std,
    check_disk,
    check_loss,
    check_size,
    format_bytes,
    max_checkpoints,
)
from diffjax.errors import UserError
from diffjax.nets import MLP
from diffjax.noise import Gaussian
from diffjax.training import checkpoint, manifest, retention
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import create

NET, X = MLP(width=8, depth=1), jnp.zeros((1, 3))
NEW = partial(create, net=NET, optimizer=optax.adamw(1e-3), averages=(0.9, 0.99), x=X, cond=None)


@pytest.fixture(scope="module")
def state_bytes() -> int:
    """What a state takes that was made."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(checkpoint.to_orbax(NEW(jax.random.key(0)))))


def test_a_state_fits_a_device_to_the_byte(state_bytes, monkeypatch) -> None:
    for room, fits in ((state_bytes, True), (state_bytes - 1, False)):
        device = SimpleNamespace(memory_stats=lambda room=room: {"bytes_limit": room}, platform="gpu")
        monkeypatch.setattr("jax.local_devices", lambda device=device: [device])
        if fits:
            assert check_size(NEW, jax.random.key(0))[0] == state_bytes
        else:
            with pytest.raises(UserError, match=r"^config\.model\.net: .*gpu"):
                check_size(NEW, jax.random.key(0))


def test_processors_share_the_memory_of_the_machine(state_bytes, monkeypatch) -> None:
    """Eight devices, and so eight copies of the state; pages of one byte."""
    for room, fits in ((8 * state_bytes, True), (8 * state_bytes - 1, False)):
        monkeypatch.setattr("os.sysconf", lambda name, room=room: 1 if name == "SC_PAGE_SIZE" else room)
        if fits:
            assert check_size(NEW, jax.random.key(0))[0] == state_bytes
        else:
            with pytest.raises(UserError, match=r"^config\.model\.net: .*cpu"):
                check_size(NEW, jax.random.key(0))


def saved(folder: Path, step: int, metrics: dict[str, float]) -> None:
    """A checkpoint as those see it who count them."""
    (folder / f"{step:08d}").mkdir(parents=True)
    (folder / f"{step:08d}" / manifest.MANIFEST).write_text(json.dumps({"metrics": metrics}))


def test_without_saves_on_the_way_the_last_one_is_kept_and_one_of_a_stop() -> None:
    assert [max_checkpoints(RetentionPolicy(last), 95, 0) for last in (1, 2, 3)] == [1, 2, 2]


POLICIES = [
    RetentionPolicy(3),
    RetentionPolicy(1),
    RetentionPolicy(2, 30),
    RetentionPolicy(1, 10),
    RetentionPolicy(2, 0, "loss"),
    RetentionPolicy(1, 30, "loss"),
    RetentionPolicy(50, 40, "loss"),
]


@pytest.mark.parametrize("keep", POLICIES, ids=str)
@pytest.mark.parametrize("fall", [1.0, -1.0, 0.0])
def test_no_run_has_more_checkpoints_than_were_counted(keep, fall, tmp_path) -> None:
    """Whatever the losses: they fall, rise, or come at random. One more is there while it takes another's place."""
    rng, most = np.random.default_rng(0), max_checkpoints(keep, 95, 10)
    for step in (*range(10, 95, 10), 95):
        saved(tmp_path, step, {"loss": -fall * step if fall else float(rng.normal())})
        assert len(retention.complete_checkpoints(tmp_path)) <= most + 1
        retention.prune(tmp_path, keep, step)
        assert len(retention.complete_checkpoints(tmp_path)) <= most
    assert len(retention.complete_checkpoints(tmp_path)) >= most - bool(keep.best_by) - bool(keep.every_steps)


@pytest.mark.parametrize("keep", POLICIES, ids=str)
def test_a_disk_has_room_for_them_to_the_byte(keep, tmp_path, monkeypatch) -> None:
    """Those that are there already need no room of their own."""
    each = 1_000
    needed = max_checkpoints(keep, 95, 10) + 1
    for there in range(2):
        for free, fits in (((needed - there) * each, True), ((needed - there) * each - 1, False)):
            monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: SimpleNamespace(free=free))
            if fits:
                check_disk(tmp_path / "run", keep, 95, 10, each)
            else:
                with pytest.raises(UserError, match=r"--workdir .*train\.keep_checkpoints"):
                    check_disk(tmp_path / "run", keep, 95, 10, each)
        saved(tmp_path / "run" / "checkpoints", 10 * (there + 1), {})


NOISE = Gaussian(schedule.cosine, predict.v)


def test_a_loss_that_is_finite_at_every_level_is_let_through() -> None:
    params = NEW(jax.random.key(0)).params
    for weight in (weights.snr(), weights.min_snr(), weights.edm()):
        for distribution in (times.uniform(), times.logit_normal()):
            check_loss(loss.regression(NOISE, order.together, weight=weight, times=distribution), NET, params, X, None)


def test_a_loss_that_is_not_is_named_with_the_levels() -> None:
    """Finite but at one end, and nowhere."""
    params, levels = NEW(jax.random.key(0)).params, r"^train\.weight: "
    for weight in (weights.p2(gamma=-20.0), lambda log_snr: jnp.full_like(log_snr, jnp.inf)):
        with pytest.raises(UserError, match=levels), jax.debug_nans(False):
            check_loss(loss.regression(NOISE, order.together, weight=weight), NET, params, X, None)


@pytest.mark.parametrize(
    ("given", "notes"), [(1.0, 0), (1.19, 0), (1 / 1.19, 0), (1.21, 1), (1 / 1.21, 1), (3.9, 1), (1 / 3.9, 1)]
)
def test_a_given_deviation_may_be_four_times_off_and_is_noted_from_a_fifth_on(given, notes) -> None:
    for measured in (1.0, 0.37):
        found = check_data_std(given * measured, measured)
        assert len(found) == notes
        assert all("config.model.data_std" in note and f"{measured:g}" in note for note in found)
    for wrong in (4.1, 1 / 4.1):
        with pytest.raises(UserError, match=r"config\.model\.data_std"):
            check_data_std(wrong, 1.0)
    with pytest.raises(UserError, match=r"config\.model\.data_std"):
        check_data_std(-1.0, 1.0)
    assert check_data_std(given, 0.0) == [], "tokens have none"


def test_bytes_are_told_in_three_digits() -> None:
    assert [format_bytes(count) for count in (0, 999, 1_000, 1_500_000, 10**9, 3 * 10**12, 10**16)] == [
        *("0 bytes", "999 bytes", "1 kB", "1.5 MB", "1 GB", "3 TB", "1e+04 TB")
    ]
