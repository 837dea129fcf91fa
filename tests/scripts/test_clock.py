"""train.minutes: a new run sets its steps to what fits into the time, and every run ends, saved, when it is over."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffjax.commands import training_run, training_summary
from diffjax.commands.training_summary import Timing, steps_that_fit


def saved_steps(run: Path) -> int:
    return json.loads((run / "config.json").read_text())["config"]["train"]["steps"]


def test_the_steps_are_those_that_fit(monkeypatch: pytest.MonkeyPatch, untyped: None) -> None:
    """Of what is left once a program is compiled for each size of batches."""
    monkeypatch.setattr(training_summary, "time_steps", lambda plan: Timing(step_s=0.01, steps=3, first_s=5.0))
    one, three = (SimpleNamespace(data=SimpleNamespace(sizes=range(count))) for count in (1, 3))
    steps = steps_that_fit(time.monotonic() + 25.0, one, True)
    assert 1_780 <= steps <= 1_800  # nine tenths of 20 s
    assert 1_780 <= steps_that_fit(time.monotonic() + 35.0, three, True) <= 1_800
    assert steps_that_fit(time.monotonic() - 1.0, one, True) == 1


def test_a_run_ends_when_its_time_is_over_and_goes_on_with_its_steps(tiny, tmp_path, call, monkeypatch) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(training_run, "steps_that_fit", lambda deadline, plan, configured: 40)
    command = ["train.py", "--config", tiny.config, "--workdir", run, "--config.train.steps=7"]
    told = call(*command, "--config.train.minutes=1e-6")
    assert told.code == 0, told.err
    assert "the same command resumes" in told.err
    assert saved_steps(run) == 40
    again = call(*command, "--config.train.minutes=10")
    assert again.code == 0, again.err
    assert "step 40 reached" in again.err
    assert saved_steps(run) == 40


def test_a_negative_time_is_refused(tiny, tmp_path, call) -> None:
    told = call("train.py", "--config", tiny.config, "--workdir", tmp_path / "run", "--config.train.minutes=-1.0")
    assert told.code == 2
    assert "config.train.minutes" in told.err
