"""A program that is stopped does its last work and ends in time, also within compiled code."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffjax.commands import interruption

ROOT = Path(__file__).parents[1]
PROGRAM = """
import ctypes, os, sys, time
from diffjax.commands.interruption import ended_in_time

def wait():
    {wait}

with ended_in_time(lambda: print("last work", flush=True)):
    print("begun", flush=True)
    wait()
print("went on")
"""
WAITS = {
    "python": "time.sleep(60)",
    "compiled code that does not give way": "ctypes.CDLL(None).sleep(30) or ctypes.CDLL(None).sleep(30)",
    "an end that hangs": "import atexit; atexit.register(lambda: ctypes.CDLL(None).sleep(60)); time.sleep(60)",
}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param(name, number, marks=[] if (name == "python") == (number == signal.SIGINT) else pytest.mark.long)
        for name in WAITS
        for number in (signal.SIGINT, signal.SIGTERM)
    ],
)
def test_a_program_ends_in_time_and_does_its_last_work_once(name, number, tmp_path) -> None:
    program = tmp_path / "program.py"
    wait = WAITS[name]
    if name.startswith("compiled"):  # a call that goes on after a signal, as a decomposition does
        wait = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)"
    program.write_text(PROGRAM.format(wait=wait))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen([sys.executable, program], env=environment, stdout=-1, stderr=-1, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    begun = time.monotonic()
    running.send_signal(number)
    out, _ = running.communicate(timeout=30)
    assert time.monotonic() - begun < interruption.END_S + 1
    assert out == "last work\n"
    assert running.returncode != 0


def test_what_is_not_stopped_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruption.ended_in_time(lambda: pytest.fail("nobody stopped it")):
        pass
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ValueError, match="own"), interruption.ended_in_time(lambda: pytest.fail("nobody stopped it")):
        raise ValueError("own")


def test_an_interrupt_of_its_own_does_the_last_work() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interruption.ended_in_time(lambda: done.append(1)):
        raise KeyboardInterrupt
    assert done == [1]
