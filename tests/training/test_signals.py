"""Signals are heard while the program is deep in something else, and silence is told."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.training.signals import SignalMonitor

PROGRAM = """
import sys, time
from pathlib import Path
from diffjax.training.signals import SignalMonitor
with SignalMonitor(0.0, Path("stacks.txt")) as sentry:
    if "stepping" in sys.argv:
        sentry.beat(7)
    print("ready", flush=True)
    time.sleep(60)
    sentry.stopping and time.sleep(60)
"""


def until(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return met


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_an_orderly_end(number, tmp_path, capfd) -> None:
    before = signal.getsignal(number)
    with SignalMonitor(0.0, tmp_path / "stacks.txt") as sentry:
        sentry.beat(3)
        assert not sentry.stopping
        os.kill(os.getpid(), number)
        assert until(lambda: sentry.stopping)
    assert signal.getsignal(number) == before
    assert f"{number.name}: " in capfd.readouterr().err


def test_it_is_heard_while_the_main_thread_computes(tmp_path) -> None:
    """As in a compilation, or a wait for the device: no Python runs in the main thread then."""
    matrix, heard = np.random.default_rng(0).normal(size=(200, 200)), []
    with SignalMonitor(0.0, tmp_path / "stacks.txt") as sentry:
        sentry.beat(3)
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        threading.Thread(target=lambda: until(lambda: sentry.stopping) and heard.append(time.monotonic())).start()
        np.linalg.svd(np.tile(matrix, (5, 5)))
        end = time.monotonic()
        assert until(lambda: bool(heard))
    assert heard[0] < end, "only after the computation"


@pytest.mark.parametrize(
    ("stage", "codes"),
    [
        ("stepping", [None, 128 + signal.SIGTERM]),
        pytest.param("starting", [0], marks=pytest.mark.long),
    ],
)
def test_before_the_first_step_one_signal_ends_and_later_a_second_one_does(stage, codes, tmp_path) -> None:
    command = [sys.executable, "-c", PROGRAM, stage]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        for code in codes:
            process.terminate()
            process.terminate()  # as `timeout` does: to the process, and to its group
            if code is None:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
        assert process.wait(10) == codes[-1]
        assert "SIGTERM" in process.stderr.read()


def test_silence_is_told_with_where_each_thread_stands(tmp_path, capfd) -> None:
    with SignalMonitor(0.1, tmp_path / "run" / "stacks.txt") as sentry:
        assert until((tmp_path / "run" / "stacks.txt").exists)
        assert "first step" in capfd.readouterr().err
        sentry.beat(1_234)
        assert until(lambda: "1,234" in capfd.readouterr().err)
    assert "test_silence_is_told" in (tmp_path / "run" / "stacks.txt").read_text()


def test_steps_are_no_silence_and_zero_is_no_limit(tmp_path, capfd) -> None:
    for limit in (0.5, 0.0):
        with SignalMonitor(limit, tmp_path / "stacks.txt") as sentry:
            for step in range(10):
                sentry.beat(step)
                time.sleep(0.1)
    assert capfd.readouterr().err == ""
    with pytest.raises(UserError, match=r"train\.hang_limit_s"):
        SignalMonitor(-1.0, tmp_path / "stacks.txt")
