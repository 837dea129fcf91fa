"""New closures and repeated fits keep nothing: the process does not grow (benchmarks/memory.py, in one of its own)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST = {"closures": 20.0, "fits": 20.0, "alone": 40.0}  # MB in all; a program of its own is a fifth of one at most


@pytest.mark.parametrize(
    "part",
    ["closures=40", "fits=8", *(pytest.param(each, marks=pytest.mark.long) for each in ("closures", "fits", "alone"))],
)
def test_the_process_does_not_grow(part) -> None:
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "benchmarks/memory.py", part]
    shown = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    *_, each, grown = shown.strip().splitlines()[-1].strip("| ").split(" | ")
    assert float(grown) < MOST[part.partition("=")[0]], shown
    assert part == "alone" or float(each) < 0.5, shown  # seconds of a call; one that compiles takes a second and more
