"""What is to be done, what is done, how long the rest takes; and doing it, a training on each core at a time."""

import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np

from comparing.families import Family, changed, named
from comparing.places import scores_in, stored, workdir_of
from comparing.scores import left, measures
from configs.compare import Compare
from diffjax.errors import UserError

ROOT = Path(__file__).parents[2]
TRAIN, SCORE = "train.py", "benchmarks/comparing/scores.py"
TRAINED = "trained.json"  # among a run's scores: how long its training took
Launch = Callable[[Sequence[str], Path, int | None], None]


class Job(NamedTuple):
    """One training, and the families that are measured of it."""

    family: Family
    seed: int
    measured: tuple[Family, ...]

    @property
    def name(self) -> str:
        return f"{self.family.name}, seed {self.seed}"

    def record(self, folder: Path) -> Path:
        """Tells that it is trained."""
        return scores_in(folder, self.family.name, self.seed) / TRAINED

    def left(self, compare: Compare, folder: Path) -> list[Family]:
        """Of which something has not been measured."""
        return [family for family in self.measured if any(left(compare, folder, family, self.seed))]


def launch(command: Sequence[str], log: Path, core: int | None) -> None:
    """One script in a process of its own, on a core of its own; its words go into a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=file, stderr=file)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    if code := process.wait():
        told = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise UserError(f"{command[0]} ended with {code} ({told:.300}); all it said is in {log}")


def jobs(compare: Compare) -> list[Job]:
    """Every family that has nets of its own from the first seed, then from the next."""
    every = named(compare.families)
    measured = {family.name: tuple(o for o in every if family.name in (o.name, o.net)) for family in every}
    trained = [family for family in every if not family.net]
    return [Job(family, seed, measured[family.name]) for seed in compare.train_seeds for family in trained]


def training(compare: Compare, folder: Path, job: Job) -> list[str]:
    """The command that trains, or goes on training."""
    fields = {**changed(job.family, compare), "train.seed": job.seed}
    told = [
        "--config",
        f"configs/{job.family.config}.py",
        "--workdir",
        str(workdir_of(folder, job.family.name, job.seed).absolute()),
    ]
    return [TRAIN, *told, *(f"--config.{name}={value}" for name, value in fields.items())]


def done(compare: Compare, folder: Path, job: Job, start: Launch = launch, core: int | None = None) -> None:
    """Train and measure what is not there yet."""
    record = job.record(folder)
    log = folder / "logs" / f"{job.family.name}_{job.seed}.txt"
    if not record.exists():
        begun = time.monotonic()
        start(training(compare, folder, job), log, core)
        last = workdir_of(folder, job.family.name, job.seed) / "checkpoints" / f"{compare.steps:08d}"
        if not last.exists():
            raise UserError(f"{job.name}: its training was stopped; the same command goes on from there")
        stored(record, {"seconds": time.monotonic() - begun})
    for family in job.left(compare, folder):
        start([SCORE, str(folder.absolute()), family.name, str(job.seed)], log, core)


def everything(compare: Compare, folder: Path, start: Launch = launch) -> None:
    """All that is left, with a line as each job ends."""
    todo = [job for job in jobs(compare) if not _is_done(compare, folder, job)]
    for count, job in enumerate(_ended(compare, folder, todo, start), 1):
        rest = f"{told_time(compare, folder)} left" if count < len(todo) else "all is done"
        print(f"[{count}/{len(todo)}] {job.name}: trained and measured; {rest}", flush=True)


def _ended(compare: Compare, folder: Path, todo: list[Job], start: Launch) -> Iterator[Job]:
    """The jobs as they end: one after the other, or so many at a time, each of them on a core of its own."""
    if compare.at_once == 1:
        for job in todo:
            done(compare, folder, job, start)
            yield job
        return
    here = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None]
    cores: queue.Queue[int | None] = queue.Queue()
    for k in range(compare.at_once):
        cores.put(here[k % len(here)])

    def run(job: Job) -> Job:
        core = cores.get()
        try:
            done(compare, folder, job, start, core)
        finally:
            cores.put(core)
        return job

    with ThreadPoolExecutor(compare.at_once) as pool:
        running = [pool.submit(run, job) for job in todo]
        try:
            yield from (each.result() for each in as_completed(running))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def plan(compare: Compare, folder: Path) -> str:
    """What is to be done, and what is done."""
    paths = _paths(compare, folder)
    done = {kind: sum(path.exists() for path in some) for kind, some in paths.items()}
    return "\n".join(
        [
            f"{compare.name}: {len(compare.families)} families from {len(compare.train_seeds)} training seeds, "
            f"{compare.steps:,} steps of {compare.batch_size} images; {compare.samples} pictures from each of "
            f"{len(compare.sample_seeds)} sampling seeds",
            f"trainings:    {done['training']} of {len(paths['training'])} are done",
            f"measurements: {done['measuring']} of {len(paths['measuring'])} are done",
            f"time:         {told_time(compare, folder)} left, {compare.at_once} at a time",
        ]
    )


def told_time(compare: Compare, folder: Path) -> str:
    """How long the rest takes, by what its like took; unknown as long as there is none."""
    took: dict[str, list[float]] = {}
    rest: dict[str, int] = {}
    for kind, some in _paths(compare, folder).items():
        there = [path for path in some if path.exists()]
        took[kind] = [json.loads(path.read_text())["seconds"] for path in there]
        rest[kind] = len(some) - len(there)
    if any(rest[kind] and not took[kind] for kind in took):
        return "not measured yet how long is"
    minutes = sum(rest[kind] * np.mean(took[kind]) for kind in took if rest[kind]) / compare.at_once / 60
    return f"about {int(minutes // 60)}:{int(minutes % 60):02d} h"


def _paths(compare: Compare, folder: Path) -> dict[str, list[Path]]:
    """Of all that is to be done, by its kind."""
    every = jobs(compare)
    of_all = [measures(compare, folder, family, job.seed) for job in every for family in job.measured]
    return {"training": [job.record(folder) for job in every], "measuring": [path for one in of_all for path in one]}


def _is_done(compare: Compare, folder: Path, job: Job) -> bool:
    return job.record(folder).exists() and not job.left(compare, folder)
