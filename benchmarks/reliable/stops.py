"""Asked to stop (SIGTERM), and cut at a step and resumed."""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from reliable import runs
from reliable.kills import POLL_SECONDS, slept

PATIENCE_SECONDS = 60.0
ENDLESS = 10**7


def stops(folder: Path, count: int = 20, seed: int = 0) -> dict[str, Any]:
    """One run, asked to stop at so many moments, and started again.

    Every other time soon after it said where it goes on from, which hits compilation; else while it makes steps.
    """
    rng, workdir, codes, seconds, saved = np.random.default_rng(seed), folder / "stopped", [], [], 0
    begun = time.perf_counter()
    for number in range(count):
        process = runs.begin(workdir, steps=ENDLESS, save_every_steps=1_000)
        until(process, workdir, "device(s), step ")
        if number % 2:
            until(process, workdir, f" of {ENDLESS:,}: ")
        slept(process, rng.uniform(0, 3))
        asked = time.perf_counter()
        process.terminate()
        try:
            codes.append(process.wait(PATIENCE_SECONDS))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            codes.append(process.wait())
        seconds.append(time.perf_counter() - asked)
        saved += max(runs.whole(workdir), default=0) >= runs.last_told(workdir)
    return {
        "stops": count,
        "while_stepping": count // 2,
        "codes": {str(code): many for code, many in Counter(codes).items()},
        "slowest_seconds": max(seconds),
        "saved": saved,
        "seconds": time.perf_counter() - begun,
    }


def until(process: subprocess.Popen, workdir: Path, words: str) -> None:
    """Wait until the process has said these words."""
    while words not in runs.log_of(workdir).read_text(errors="replace"):
        if not slept(process, 10 * POLL_SECONDS):
            raise runs.failure(workdir)


def cuts(folder: Path, count: int = 5, seed: int = 0, steps: int = 200) -> dict[str, Any]:
    """Runs that are killed once the save at a step that is drawn is there, and resumed from it to the end."""
    begun, straight = time.perf_counter(), folder / "whole"
    runs.finish(straight, steps=steps, save_every_steps=steps)
    chosen = np.random.default_rng(seed).choice(np.arange(steps // 2 + 1, steps), count, replace=False)
    states = traces = 0
    for cut in sorted(int(cut) for cut in chosen):
        workdir = folder / f"cut{cut}"
        process = runs.begin(workdir, steps=steps, save_every_steps=cut)
        while f"{cut:08d}" not in runs.listing(workdir):
            if not slept(process, POLL_SECONDS):
                raise runs.failure(workdir)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        runs.finish(workdir, steps=steps, save_every_steps=steps)
        if runs.resumed_from(workdir) != cut:
            raise RuntimeError(f"{workdir}: went on from {runs.resumed_from(workdir)}, not from {cut}")
        states += runs.bits(workdir, steps) == runs.bits(straight, steps)
        traces += runs.trace(workdir) == runs.trace(straight)
    told = {"cuts": count, "steps": steps, "states_equal": states, "traces_equal": traces}
    return {**told, "seconds": time.perf_counter() - begun}
