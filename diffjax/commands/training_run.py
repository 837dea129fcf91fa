"""A training run from its config to its last step: checkpoints, metrics, pictures, and what to do when it stops."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
from absl import flags

from diffjax.commands import run_profile
from diffjax.commands.flags import folder_flag, refuse_flags
from diffjax.commands.picture_check import decode_folder, describe_pictures, sheet_folder
from diffjax.commands.run_files import attempt, report_fault
from diffjax.commands.run_profile import RunProfile
from diffjax.commands.training_plan import TrainingPlan, plan_run
from diffjax.commands.training_summary import (
    describe_data,
    describe_needs,
    describe_plan,
    describe_size,
    measure_step,
    run_steps,
    steps_that_fit,
)
from diffjax.data import split_rules
from diffjax.errors import UserError, tell
from diffjax.experiment import config_files, run_record, trained_model
from diffjax.experiment.config import Config
from diffjax.reports import write_png
from diffjax.training import checkpoint, retention, running_means
from diffjax.training.data_parallel import barrier, initialize_distributed, watched
from diffjax.training.fit_arguments import Event
from diffjax.training.identity import Identity
from diffjax.training.nonfinite import Diverged
from diffjax.training.progress import Log, RunLength
from diffjax.training.signals import SignalMonitor
from diffjax.training.state import State
from diffjax.training.step import Metrics
from diffjax.utils.files import check_writable, clear_parts, lock_folder

PICTURES = "pictures"


def main() -> None:
    """Join the other hosts, then check the run or train it."""
    values = flags.FLAGS
    with watched(None if values.hosts is None else initialize_distributed(values.hosts, values.hosts_timeout)):
        workdir = folder_flag("workdir")
        check_writable(workdir, "--workdir")
        if values.check:
            refuse_flags(("profile",), "--check takes no step of the run")
            check_run(values.config, workdir, values.allow_imports, sheet_folder())
        else:
            refuse_flags(("check_out",), "belongs to --check")
            train_run(values.config, workdir, values.allow_imports, values.profile)


def check_run(config: Config, workdir: Path, allow_imports: bool, out: Path | None) -> None:
    """Print the plan of a run, what its pictures are, and the memory and time of a step.

    Nothing is written but pictures into `out`, if that is a folder, and what is remembered of a folder of pictures.
    """
    decode_folder(config.data.name, config.data.follow_links)
    plan = plan_run(config, workdir, allow_imports)
    pictures = describe_pictures(plan.data.dataset, out if jax.process_index() == 0 else None)
    print(*describe_plan(plan, workdir), *describe_data(plan), *plan.notes, *pictures, sep="\n", flush=True)
    print(*measure_step(plan), sep="\n")


def train_run(config: Config, workdir: Path, allow_imports: bool, profiled: bool = False) -> None:
    """Train a run, or resume it, to its last step or until a signal stops it."""
    first = jax.process_index() == 0
    deadline = time.monotonic() + 60 * config.train.minutes if config.train.minutes else math.inf
    with (
        SignalMonitor(config.train.hang_limit_s, workdir / "stacks.txt") as monitor,
        lock_folder(workdir if first else None),
    ):
        if first:
            _remove_partial_files(workdir)
        barrier("tidy")
        plan = plan_run(config, workdir, allow_imports)
        if deadline < math.inf and plan.previous is None:
            plan = plan_run(
                config, workdir, allow_imports, steps_that_fit(deadline, plan, configured=config.train.steps > 0)
            )
        _train_plan(plan, workdir, lambda: monitor.stopping or time.monotonic() > deadline, monitor, profiled)


def _remove_partial_files(workdir: Path) -> None:
    retention.clean_up_partial(workdir / "checkpoints")
    for folder in (workdir, workdir / PICTURES, workdir / trained_model.SNAPSHOTS):
        clear_parts(folder)


def _train_plan(
    plan: TrainingPlan, workdir: Path, stopping: Callable[[], bool], monitor: SignalMonitor, profiled: bool
) -> None:
    """Report the plan, record the run, train it, and report how it ended."""
    train = plan.config.train
    done = int(plan.start.step)
    heading = f"{plan.config.data.name}: {describe_size(plan)}, step {done:,} to {train.steps:,}"
    tell(heading, describe_needs(plan), *describe_data(plan), *plan.notes)
    if done >= train.steps:
        tell(f"{workdir}: already at step {done:,}; raise --config.train.steps to train longer")
        return
    profile = RunProfile(plan, workdir) if profiled else None
    splits = split_rules.split_record(plan.data.dataset, plan.data.rule)
    record = run_record.record_at_start(plan.previous, plan.config, plan.data.spec, splits, workdir)
    if jax.process_index() == 0:
        run_record.write_config(workdir, record)
    done = _train(profile.plan if profile else plan, workdir, record.identity, stopping, monitor, profile)
    if done < train.steps:
        tell(f"{workdir}: stopped at step {done:,} and saved; the same command resumes")
        return
    pictures = f"; pictures are in {workdir / PICTURES}" if _picture_interval(plan) else ""
    tell(f"{workdir}: step {train.steps:,} reached{pictures}")


def _picture_interval(plan: TrainingPlan) -> int:
    """The steps between two pictures; 0 for arrays that are no images."""
    return plan.config.train.picture_every_steps if plan.data.sample_spec.of_images else 0


def _train(
    plan: TrainingPlan,
    workdir: Path,
    identity: Identity,
    stopping: Callable[[], bool],
    monitor: SignalMonitor,
    profile: RunProfile | None,
) -> int:
    """Train with checkpoints and, on the first host, logs and pictures; the step that was reached."""
    with _open_run(plan, workdir, identity, monitor, profile) as run:
        try:
            state = run_steps(
                plan,
                plan.config.train.steps,
                events=run.events,
                watch=run.watch,
                on_fault=plan.setup.policy,
                restore=run.restore,
                report=partial(report_fault, workdir if run.first else None),
                stopping=stopping,
            )
        except Diverged as end:
            if end.fault.sound:
                run.save_missing(end.state, end.fault.step)
            raise UserError(f"{workdir}: {end}") from None
        run.save_missing(state, int(state.step))
    return int(state.step)


@dataclass(frozen=True)
class _Run:
    """What happens at intervals of a run."""

    plan: TrainingPlan
    workdir: Path
    identity: Identity
    saver: checkpoint.Saver
    log: Log
    monitor: SignalMonitor
    profile: RunProfile | None
    first: bool

    @property
    def events(self) -> list[Event]:
        """Intervals in steps, and what is called; 0: after the last step alone."""
        train = self.plan.config.train
        optional = [(_picture_interval(self.plan), self.picture), (train.snapshot_every_steps, self.snapshot)]
        measured = [] if self.profile is None else [(self.profile.steps, self.advance_profile)]
        return [*measured, (train.save_every_steps, self.save), *[event for event in optional if event[0]]]

    def advance_profile(self, step: int, state: State, metrics: Metrics) -> None:
        """Begin or end a part of the profile."""
        if self.first and self.profile is not None:
            attempt(self.workdir / run_profile.FOLDER, partial(self.profile.advance, step, state))
            self.log.restart_clock(step)

    def save(self, step: int, state: State, metrics: Metrics) -> None:
        """Measure the validation loss, and begin to save a checkpoint."""
        validate = self.plan.setup.validate
        values = {} if validate is None else validate(state.ema["params"])
        if values:
            self.log.log_values(step, values)
        self.saver.save(step, state, {**metrics, **values}, self.log.sums)

    def save_missing(self, state: State, step: int) -> None:
        """Save the state of a step that has no checkpoint."""
        if not self.saver.contains(step):
            self.saver.save(step, state, {}, self.log.sums)

    def picture(self, step: int, state: State, metrics: Metrics) -> None:
        """Write a picture of samples as `pictures/step_00001000.png`."""
        if self.first:
            samples = self.plan.setup.gallery(state.ema)
            path = self.workdir / PICTURES / f"step_{step:08d}.png"
            attempt(path, lambda: write_png(path, samples))

    def snapshot(self, step: int, state: State, metrics: Metrics) -> None:
        """Write the averages from which others can be made."""
        if self.first:
            path = self.workdir / trained_model.SNAPSHOTS / f"{step:08d}"
            attempt(path, lambda: trained_model.store_snapshot(self.workdir, step, state.emas, self.identity))

    def watch(self, step: int, metrics: Metrics) -> None:
        """Log the metrics of a dispatch, which shows that the run has not hung."""
        self.monitor.beat(step)
        self.log.log_steps(step, metrics)

    def restore(self) -> State | None:
        """The newest whole checkpoint, with the running means of its step."""
        self.saver.wait()
        folder = self.workdir / "checkpoints"
        state = checkpoint.restore(folder, self.plan.start, self.identity)
        self.log.sums = running_means.read_sums(folder, int((state or self.plan.start).step))
        return state


@contextmanager
def _open_run(
    plan: TrainingPlan, workdir: Path, identity: Identity, monitor: SignalMonitor, profile: RunProfile | None
) -> Iterator[_Run]:
    """The run with its log and its checkpoints open."""
    config = plan.config
    first = jax.process_index() == 0
    folder = workdir / "checkpoints"
    start = int(plan.start.step)
    about = {"config": config_files.config_hash(config), **identity.about}
    length = RunLength(start, config.train.steps, config.train.log_every_steps, config.data.batch_size)
    log = Log(plan.writers if first else (), length, not first, running_means.read_sums(folder, start))
    if profile is not None:
        log.rates = profile.rates
    with (
        closing(checkpoint.Saver(folder, plan.setup.retention, about)) as saver,
        closing(log),
        closing(profile) if profile is not None and first else nullcontext(),
    ):
        yield _Run(plan, workdir, identity, saver, log, monitor, profile, first)
