"""kill -9 at moments drawn so that imports, the first compilation, steps, saves and deletions are all hit."""

import os
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reliable import runs

STEPS, SAVE_EVERY = 3_000, 50
A_RUN = 20  # kills of one run, before another is begun
START_SECONDS = 7.0  # imports, and what train.py does before it compiles
POLL_SECONDS = 0.001


@dataclass
class Tally:
    """What the kills of one run did."""

    kinds: list[str] = field(default_factory=list)  # of each kill
    steps_lost: list[int] = field(default_factory=list)  # by each kill
    checkpoints_lost: int = 0
    stale: int = 0  # lives that did not go on from the newest whole checkpoint
    repairs: int = 0  # runs that ended by themselves, and not well
    finals: list[bool] = field(default_factory=list)  # per finished run: is it the uninterrupted one, bit for bit?
    kept: list[bool] = field(default_factory=list)  # per finished run: are the kept checkpoints all there is?


def kills(folder: Path, count: int = 200, seed: int = 0, at_once: int = 1) -> dict[str, Any]:
    """Runs that are killed so many times in all, started again by the same command, and left to end."""
    begun, straight = time.perf_counter(), folder / "straight"
    runs.finish(straight, steps=STEPS, save_every_steps=SAVE_EVERY)
    shares = [min(A_RUN, count - done) for done in range(0, count, A_RUN)]
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(killed, folder, f"run{i}", n, (seed, i), straight) for i, n in enumerate(shares)]
        tallies = [future.result() for future in futures]
    lost = [steps for tally in tallies for steps in tally.steps_lost]
    finals, kept = ([one for tally in tallies for one in getattr(tally, name)] for name in ("finals", "kept"))
    return {
        "kills": len(lost),
        "kinds": dict(Counter(kind for tally in tallies for kind in tally.kinds)),
        "runs": len(finals),
        "checkpoints_lost": sum(tally.checkpoints_lost for tally in tallies),
        "stale": sum(tally.stale for tally in tallies),
        "repairs": sum(tally.repairs for tally in tallies),
        "most_steps_lost": max(lost),
        "save_every_steps": SAVE_EVERY,
        "runs_equal": sum(finals),
        "runs_kept": sum(kept),
        "seconds": time.perf_counter() - begun,
    }


def killed(folder: Path, name: str, count: int, seed: Any, straight: Path) -> Tally:
    """A run killed so many times; where it ends before, another goes on with the kills that are left."""
    rng, tally, number = np.random.default_rng(seed), Tally(), 0
    while len(tally.kinds) < count or not tally.finals:
        workdir, number = folder / f"{name}_{number}", number + 1
        known: set[int] = set()
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            code = life(workdir, rng if len(tally.kinds) < count else None, known, tally)
        tally.repairs += code != 0
        tally.finals.append(code == 0 and same(workdir, straight))
        tally.kept.append(runs.listing(workdir) == runs.listing(straight))
    return tally


def life(workdir: Path, rng: np.random.Generator | None, known: set[int], tally: Tally) -> int:
    """One process, killed at a moment that is drawn (never, without a generator), and what it left; its exit code.

    `known` are the steps whose checkpoints were whole before, and afterwards those that are whole now.
    """
    newest, process = max(known, default=0), runs.begin(workdir, steps=STEPS, save_every_steps=SAVE_EVERY)
    kind = wait(process, workdir, rng)
    if kind:
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    went_on = runs.resumed_from(workdir)
    tally.stale += went_on is not None and went_on != newest
    found = set(runs.whole(workdir))
    tally.checkpoints_lost += len(set(sorted(known | found)[-runs.KEEP :]) - found)
    if code == -signal.SIGKILL:
        tally.kinds.append(kind)
        tally.steps_lost.append(max(runs.last_told(workdir) - max(found, default=0), 0))
    known.clear()
    known.update(found)
    return code


def wait(process: subprocess.Popen, workdir: Path, rng: np.random.Generator | None) -> str:
    """Wait for the moment to kill, and name its kind; empty where the process ended before."""
    if rng is None:
        process.wait()
        return ""
    kind = str(rng.choice(["start", "after the start", "at a change of the folder"], p=[0.25, 0.35, 0.4]))
    if kind == "start":
        return kind if slept(process, rng.uniform(0, START_SECONDS)) else ""
    while runs.resumed_from(workdir) is None:
        if not slept(process, 10 * POLL_SECONDS):
            return ""
    if kind == "after the start":
        return kind if slept(process, np.exp(rng.uniform(np.log(0.01), np.log(8.0)))) else ""
    changes, jitter, before = rng.integers(1, 13), rng.exponential(0.002), runs.listing(workdir)
    while changes:  # a save begins, gets its name, and an old one is deleted: three changes, some seen as one
        if not slept(process, POLL_SECONDS):
            return ""
        now = runs.listing(workdir)
        changes, before = changes - (now != before), now
    return kind if slept(process, jitter) else ""


def slept(process: subprocess.Popen, seconds: float) -> bool:
    """Sleep; whether the process still runs then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def same(workdir: Path, straight: Path) -> bool:
    """Whether the last checkpoint and the whole trace are those of the uninterrupted run, bit for bit."""
    states = [runs.bits(path, STEPS) for path in (workdir, straight)]
    return states[0] == states[1] and runs.trace(workdir) == runs.trace(straight)
