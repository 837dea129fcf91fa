"""Many steps with many saves: what the process holds afterwards."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from reliable import runs
from reliable.kills import slept

PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_SECONDS = 0.2


def endurance(folder: Path, steps: int = 100_000, save_every: int = 1_000) -> dict[str, Any]:
    """Memory and open files of one long run, after its first tenth and at its end (the last tenth)."""
    begun, workdir = time.perf_counter(), folder / "long"
    process = runs.begin(workdir, steps=steps, save_every_steps=save_every, log_every_steps=100)
    samples = []  # of checkpoints seen: the newest step, resident bytes, open files
    while slept(process, SAMPLE_SECONDS):
        try:
            resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * PAGE
            files = len([*Path(f"/proc/{process.pid}/fd").iterdir()])
        except (OSError, IndexError):
            break  # it is ending
        newest = max((int(name) for name in runs.listing(workdir) if name.isdecimal()), default=0)
        samples.append((newest, resident, files))
    if process.wait():
        raise runs.failure(workdir)
    told = np.array(samples)
    warm = told[(told[:, 0] >= steps // 10) & (told[:, 0] < steps // 5)]
    late = told[(told[:, 0] >= steps * 9 // 10) & (told[:, 0] < steps)]  # the picture of the last step compiles anew
    expected = [f"{step:08d}" for step in range(steps, 0, -save_every)][: runs.KEEP]
    return {
        "steps": steps,
        "saves": steps // save_every,
        "megabytes": [float(np.median(part[:, 1])) / 2**20 for part in (warm, late)],
        "drift": float(np.median(late[:, 1]) / np.median(warm[:, 1]) - 1),
        "open_files": [[int(part[:, 2].min()), int(np.median(part[:, 2]))] for part in (warm, late)],
        "kept_exactly": runs.listing(workdir) == sorted(expected),
        "seconds": time.perf_counter() - begun,
    }
