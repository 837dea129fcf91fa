"""The trainings, what is measured of each, and doing what is left of both."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from comparing.families import Family, changed, named
from comparing.places import scores_in, stored, workdir_of
from comparing.scores import left
from configs.compare import Compare
from diffjax.errors import UserError

ROOT = Path(__file__).parents[2]
TRAIN, SCORE = "train.py", "benchmarks/comparing/scores.py"
Launch = Callable[[Sequence[str], Path], None]


class Job(NamedTuple):
    """One training, and the families that are measured of it."""

    family: Family
    seed: int
    measured: tuple[Family, ...]

    def record(self, folder: Path) -> Path:
        """A file that is there once it is trained."""
        return scores_in(folder, self.family.name, self.seed) / "trained.json"

    def left(self, compare: Compare, folder: Path) -> list[Family]:
        """Of which something has not been measured."""
        return [family for family in self.measured if any(left(compare, folder, family, self.seed))]


def launch(command: Sequence[str], log: Path) -> None:
    """One script in a process of its own; its words go into a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        code = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=file, stderr=file, check=False).returncode
    if code:
        last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise UserError(f"{command[0]} ended with {code} ({last:.300}); all it said is in {log}")


def jobs(compare: Compare) -> list[Job]:
    """Every family that has nets of its own from the first seed, then from the next."""
    every = named(compare.families)
    measured = {family.name: tuple(o for o in every if family.name in (o.name, o.net)) for family in every}
    trained = [family for family in every if not family.net]
    return [Job(family, seed, measured[family.name]) for seed in compare.train_seeds for family in trained]


def training(compare: Compare, folder: Path, job: Job) -> list[str]:
    """The command that trains, or goes on training."""
    workdir = workdir_of(folder, job.family.name, job.seed).absolute()
    fields = {**changed(job.family, compare), "train.seed": job.seed}
    options = [f"--config.{name}={value}" for name, value in fields.items()]
    return [TRAIN, "--config", f"configs/{job.family.config}.py", "--workdir", str(workdir), *options]


def done(compare: Compare, folder: Path, job: Job, start: Launch = launch) -> Job:
    """Train and measure what is not there yet."""
    record = job.record(folder)
    log = folder / "logs" / f"{job.family.name}_{job.seed}.txt"
    if not record.exists():
        begun = time.monotonic()
        start(training(compare, folder, job), log)
        last = workdir_of(folder, job.family.name, job.seed) / "checkpoints" / f"{compare.steps:08d}"
        if not last.exists():
            raise UserError(f"{last}: the training was stopped before its end; the same command goes on from there")
        stored(record, {"seconds": time.monotonic() - begun})
    for family in job.left(compare, folder):
        start([SCORE, str(folder.absolute()), family.name, str(job.seed)], log)
    return job


def everything(compare: Compare, folder: Path, start: Launch = launch) -> None:
    """All that is left, `at_once` trainings at a time, with a line as each ends."""
    every = jobs(compare)
    todo = [job for job in every if not job.record(folder).exists() or job.left(compare, folder)]
    print(f"{compare.name}: {len(every) - len(todo)} of {len(every)} trainings are done and measured", flush=True)
    pool = ThreadPoolExecutor(compare.at_once)
    try:
        ended = (map if compare.at_once == 1 else pool.map)(lambda job: done(compare, folder, job, start), todo)
        for count, job in enumerate(ended, 1):
            print(f"[{count}/{len(todo)}] {job.family.name}, seed {job.seed}: trained and measured", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
