"""How a run ends before its end: told to stop, gone wrong, out of an older version; and the plan of one."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quickly import few

from diffjax.commands import training_data
from diffjax.data import pipeline
from diffjax.experiment import trained_model
from diffjax.training import checkpoint, metrics_file, retention
from diffjax.training.signals import SignalMonitor
from diffjax.utils.files import lock_folder

OLD = Path(__file__).parents[1] / "training" / "old" / "without_identity"
QUIET = [
    "--config.train.writers=('jsonl',)",
    "--config.train.validate_images=0",
    "--config.train.picture_every_steps=0",
]


def once_logged(workdir: Path, lines: int, number: signal.Signals) -> threading.Thread:
    """Send this process a signal when so many lines are there."""

    def wait() -> None:
        path = workdir / metrics_file.NAME
        while not path.exists() or len(path.read_text().splitlines()) < lines:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_told_to_stop_a_run_saves_its_last_step_and_goes_on_from_there(number, call, tiny, tmp_path) -> None:
    argv = ["--config", tiny.config, "--workdir", tmp_path / "run", *QUIET, "--config.train.log_every_steps=1"]
    thread = once_logged(tmp_path / "run", 5, number)
    told = call("train.py", *argv, "--config.train.steps=1000000", "--config.train.save_every_steps=1000000")
    thread.join()
    step = metrics_file.read(tmp_path / "run" / metrics_file.NAME)[-1].step
    assert told.code == 0, told.err
    assert f"stopped at step {step:,} and saved" in told.err
    assert [int(path.name) for path in retention.complete_checkpoints(tmp_path / "run" / "checkpoints")] == [step]
    told = call("train.py", *argv, f"--config.train.steps={step + 2}")
    assert told.code == 0, told.err
    assert f"step {step:,} to {step + 2:,}" in told.err
    assert [row.step for row in metrics_file.read(tmp_path / "run" / metrics_file.NAME)] == list(range(1, step + 3))


def test_numbers_that_go_wrong_end_a_run_with_the_last_good_state_saved(call, tiny, tmp_path) -> None:
    argv = ["--config", tiny.config, "--workdir", tmp_path / "run", *QUIET, "--config.train.steps=50"]
    wild = ["--config.train.learning_rate=1e38", "--config.train.warmup_steps=0", "--config.train.log_every_steps=1"]
    with jax.debug_nans(False):
        told = call("train.py", *argv, *wild)
    assert told.code == 2, told.err
    fault, end = (line for line in told.err.splitlines() if "not finite" in line)
    assert fault.startswith("diffjax: step ")
    assert end.startswith("train.py: ")
    assert "lower the learning rate" in end
    assert "noise levels" in end
    (report,) = [json.loads(line) for line in (tmp_path / "run" / "faults.jsonl").read_text().splitlines()]
    assert report["leaves"]
    assert len(report["levels"]) == 64
    kept = [int(path.name) for path in retention.complete_checkpoints(tmp_path / "run" / "checkpoints")]
    assert max(kept) == report["step"]
    _, tree = checkpoint.read(tmp_path / "run" / "checkpoints", None, tuple)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def trace(workdir: Path) -> dict[int, dict[str, float]]:
    """What was logged at each step, but for the speed, which is the clock's."""
    rows = metrics_file.read(workdir / metrics_file.NAME)
    return {row.step: {name: row.values[name] for name in ("loss", "grad_norm")} for row in rows}


@pytest.mark.long  # the sums that travel are tested at every step in tests/training/test_log.py
def test_a_run_stopped_at_any_step_logs_what_one_that_is_not_stopped_logs(call, tiny, tmp_path, monkeypatch) -> None:
    """Told to stop twice within one interval and once in the next; and killed after the checkpoint of step 7."""
    argv = ["--config", tiny.config, *QUIET, "--config.train.log_every_steps=5", "--config.train.steps=12"]
    argv.append("--config.train.ema_std=(0.05,0.1)")
    every = [*argv, "--config.train.save_every_steps=1", "--config.train.keep_checkpoints=12"]
    assert call("train.py", *every, "--workdir", tmp_path / "straight").code == 0
    straight = trace(tmp_path / "straight")
    assert [*straight] == [5, 10, 12]
    for step in (2, 4, 8):
        with monkeypatch.context() as patched:
            patched.setattr(
                SignalMonitor, "beat", lambda self, done, step=step: setattr(self, "stopping", done >= step - 1)
            )
            told = call("train.py", *argv, "--config.train.snapshot_every_steps=1", "--workdir", tmp_path / "stopped")
        assert f"stopped at step {step} and saved" in told.err, "one step later than it is told to"
    assert call("train.py", *argv, "--workdir", tmp_path / "stopped").code == 0
    assert trace(tmp_path / "stopped") == straight
    for step in range(8, 13):
        shutil.rmtree(tmp_path / "straight" / "checkpoints" / f"{step:08d}")
    told = call("train.py", *argv, "--workdir", tmp_path / "straight")
    assert "step 7 to 12" in told.err
    assert trace(tmp_path / "straight") == straight


def test_a_run_that_goes_back_logs_no_step_twice(call, tiny, tmp_path, monkeypatch) -> None:
    """From the fault after step 5 to the checkpoint of step 4: what is logged are the means of what each step logs."""
    spoil(monkeypatch, 5)
    argv = ["--config", tiny.config, *QUIET, "--config.train.on_fault=rewind", "--config.train.steps=9"]
    traces = []
    for every in (1, 3):
        more = ["--config.train.save_every_steps=4", f"--config.train.log_every_steps={every}"]
        with jax.debug_nans(False):
            told = call("train.py", *argv, *more, "--workdir", tmp_path / str(every))
        assert "diffjax: step 6 (batch 5 of the data's order)" in told.err
        traces.append(trace(tmp_path / str(every)))
    each, means = traces
    assert [*each] == list(range(1, 10))
    assert [*means] == [3, 6, 9]
    for step, values in means.items():
        for name, value in values.items():
            expected = np.mean([each[step - back][name] for back in range(3)])
            np.testing.assert_allclose(value, expected, rtol=1e-6)


def spoil(monkeypatch, bad: int) -> None:
    """One batch of all that a run reads holds a NaN."""

    def spoiled(*args, **options):
        for number, batch in enumerate(pipeline.batches(*args, **options)):
            yield {**batch, "x": batch["x"].at[5].set(jnp.nan)} if number == bad else batch

    monkeypatch.setattr(training_data, "batches", spoiled)


@pytest.mark.parametrize("policy", few(["skip", "rewind"], "rewind"))
def test_a_bad_batch_is_passed_and_the_run_reaches_its_end(policy, call, tiny, tmp_path, monkeypatch) -> None:
    spoil(monkeypatch, 3)
    argv = ["--config", tiny.config, "--workdir", tmp_path / "run", *QUIET, "--config.train.log_every_steps=1"]
    more = [f"--config.train.on_fault={policy}(limit=2)", "--config.train.steps=6"]
    with jax.debug_nans(False):
        told = call("train.py", *argv, *more, "--config.train.save_every_steps=2")
    assert told.code == 0, told.err
    assert "diffjax: step 4 (batch 3 of the data's order): batch/x and " in told.err
    (report,) = [json.loads(line) for line in (tmp_path / "run" / "faults.jsonl").read_text().splitlines()]
    assert (report["step"], report["leaves"][0], len(report["levels"])) == (3, "batch/x", 64)
    rows = metrics_file.read(tmp_path / "run" / metrics_file.NAME)
    assert {row.step for row in rows} == {1, 2, 3, 4, 5, 6}
    assert all(np.isfinite(row.values["loss"]) for row in rows)
    assert [path.name for path in retention.complete_checkpoints(tmp_path / "run" / "checkpoints")] == [
        "00000006",
        "00000004",
        "00000002",
    ]


def test_an_interrupted_evaluation_is_one_line_and_leaves_nothing(call, tiny, tmp_path, monkeypatch) -> None:
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("diffjax.experiment.trained_model.load", interrupted)
    told = call("evaluate.py", "--workdir", tiny.workdir, "--out", tmp_path / "out")
    assert (told.code, told.out) == (130, "")
    assert told.err.strip().startswith("evaluate.py: interrupted")
    assert not (tmp_path / "out").exists()


def test_the_plan_is_printed_and_nothing_is_written(call, tiny, tmp_path) -> None:
    told = call("train.py", "--config", tiny.config, "--workdir", tmp_path / "run", "--check")
    assert (told.code, told.err) == (0, "")
    names = [line.split(":")[0] for line in told.out.splitlines()]
    assert names == [
        "data",
        "data_std",
        "model",
        "state",
        "steps",
        "checkpoints",
        "digits",
        "examples",
        "memory",
        "time",
    ]
    weights = sum(leaf.size for leaf in jax.tree.leaves(trained_model.load(tiny.workdir).denoise.variables))
    assert f"{weights:,} parameters" in told.out
    assert "1,257 images of 8 x 8 x 1, 10 classes, 17 levels as unit" in told.out
    assert "0 to 2, 64 images each: 128 images" in told.out
    assert not (tmp_path / "run").exists()
    before = {path: path.stat().st_mtime_ns for path in tiny.workdir.rglob("*")}
    told = call("train.py", "--config", tiny.config, "--workdir", tiny.workdir, "--config.train.steps=9", "--check")
    assert "2 to 9, 64 images each" in told.out
    assert "config.train.steps: 2 before, 9 from here on" in told.out
    assert {path: path.stat().st_mtime_ns for path in tiny.workdir.rglob("*")} == before


def test_a_disk_without_room_is_told_before_anything_is_done(call, tiny, tmp_path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    told = call("train.py", "--config", tiny.config, "--workdir", tmp_path / "run", "--check")
    assert told.code == 2
    assert "checkpoints of" in told.err
    assert "10 kB of free space; make room, or lower train.keep_checkpoints" in told.err


def test_a_run_of_another_process_is_left_alone(call, tiny, tmp_path) -> None:
    copy = shutil.copytree(tiny.workdir, tmp_path / "run")
    with lock_folder(copy):
        told = call("train.py", "--config", tiny.config, "--workdir", copy, "--config.train.steps=4")
    assert told.code == 2
    assert "another process is at work here" in told.err


def test_a_run_from_before_identities_goes_on_and_is_read(call, tiny, tmp_path) -> None:
    """Stopped at step 2 of 4 by an early version, whose loss of step 4 is kept."""
    copy = shutil.copytree(OLD, tmp_path / "run")
    was = metrics_file.read(OLD / metrics_file.NAME)[-1]
    assert trained_model.load(copy).info.step == 2
    every = ["--config.train.log_every_steps=2", "--config.train.steps=4"]
    told = call("train.py", "--config", tiny.config, "--workdir", copy, *every)
    assert told.code == 0, told.err
    assert "step 2 to 4" in told.err
    now = metrics_file.read(copy / metrics_file.NAME)[-1]
    assert (was.step, now.step) == (4, 4)
    np.testing.assert_allclose(now.values["loss"], was.values["loss"], rtol=1e-6)
    np.testing.assert_allclose(now.values["grad_norm"], was.values["grad_norm"], rtol=1e-6)
    assert "sha256" in json.loads((copy / "config.json").read_text())
