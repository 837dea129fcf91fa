"""train.py --profile: a page on where a step's time goes, and a run like any other."""

import re
from collections import Counter

import jax
import numpy as np
import pytest

from diffjax.commands.run_profile import choose_steps
from diffjax.errors import UserError
from diffjax.experiment import trained_model
from diffjax.profiling.hlo_operations import Operation
from diffjax.profiling.peak import Peak
from diffjax.profiling.summary import StepProfile, format_summary
from diffjax.training import metrics_file

STEPS = ["--config.train.steps=26", "--config.train.log_every_steps=13", "--config.train.picture_every_steps=0"]


def test_a_profiled_run_writes_a_page_and_ends_as_one_that_is_not(tiny, tmp_path, call) -> None:
    """Bit for bit, though their steps are dispatched in other numbers."""
    runs = tmp_path / "plain", tmp_path / "profiled"
    train = ["train.py", "--config", tiny.config, *STEPS, "--config.train.save_every_steps=26", "--workdir"]
    assert call(*train, runs[0]).code == 0
    told = call(*train, runs[1], "--profile")
    assert told.code == 0, told.err
    page = (runs[1] / "profile" / "summary.md").read_text()
    assert page in told.err
    assert {path.name.split(".", 1)[1] for path in runs[1].glob("profile/plugins/**/*.*")} == {
        "xplane.pb",
        "trace.json.gz",
    }
    kinds, modules, _ = re.findall(r"(?:^\|.*\n)+", page, re.M)
    for table, column in ((kinds, 2), (modules, 4)):
        shares = [float(row.split("|")[column].strip(" %")) for row in table.splitlines()[2:]]
        assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares) + 1e-6)
    assert "MLP/Dense_0" in modules
    plain, profiled = (trained_model.load(run).denoise.variables for run in runs)
    jax.tree.map(np.testing.assert_array_equal, plain, profiled)
    last = next(row.values for row in metrics_file.read(runs[1] / metrics_file.NAME) if row.step == 26)
    assert last["tflops_per_device"] > 0
    assert last["share_of_peak"] > 0


def test_a_run_that_is_too_short_to_be_profiled_is_one_line(tiny, tmp_path, call) -> None:
    told = call("train.py", "--config", tiny.config, "--workdir", tmp_path / "run", "--profile")
    assert told.code == 2
    assert told.err.splitlines()[-1].startswith("train.py: --profile: needs 25 steps, and this run has 2 left")
    assert not (tmp_path / "run").exists()


def test_a_check_takes_no_profile(tiny, tmp_path, call) -> None:
    told = call("train.py", "--config", tiny.config, "--workdir", tmp_path / "run", "--profile", "--check")
    assert told.code == 2
    assert "--profile: --check" in told.err


def test_steps_are_profiled_between_the_events_of_a_run() -> None:
    assert choose_steps(0, 1000, []) == (5, 15, 25)
    assert choose_steps(100, 1000, [50]) == (105, 115, 125)
    assert choose_steps(0, 1000, [24, 40]) == (49, 59, 69), "step 48 has an event, as 40 and 72 have"
    assert choose_steps(0, 25, [2]) == (5, 15, 25), "there is no room between them"
    with pytest.raises(UserError, match="--profile"):
        choose_steps(990, 1000, [])


def test_the_page_says_what_the_backend_does_not() -> None:
    float32 = np.dtype(np.float32)
    profile = StepProfile(
        steps=10,
        images=8,
        devices=2,
        step_s=0.5,
        traced_step_s=0.6,
        operations={"dot.1": Operation("matrix product", "")},
        seconds={"waiting": 6.0},
        flops=Counter({float32: 10**12}),
        xla_flops=None,
        peak=Peak(4e12, 512, float32),
    )
    assert profile.flops_per_second == 2e12
    assert profile.share_of_peak == 0.5
    page = format_summary(profile, "Title", "here")
    assert "XLA gives no count" in page
    assert "names no operations" in page


def test_a_profile_that_cannot_be_written_stops_no_training(tiny, tmp_path, call, monkeypatch) -> None:
    stop_trace = jax.profiler.stop_trace

    def fail() -> None:
        stop_trace()
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(jax.profiler, "stop_trace", fail)
    told = call("train.py", "--config", tiny.config, *STEPS, "--workdir", tmp_path / "run", "--profile")
    assert told.code == 0, told.err
    assert "profile: cannot be written (No space left on device)" in told.err
    assert "step 26 reached" in told.err
