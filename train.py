"""Train a model: python train.py --config configs/digits.py --workdir runs/digits [--config.train.steps=10000 …]

With the --workdir of a run, alone or with the same --config, it goes on where that stopped; with more steps, it trains
longer. With --check it only looks whether all of it fits, and says what it would do and how long that would take.
"""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from diffjax.commands import command_line, run_outputs
from diffjax.commands.preflight import describe_data, describe_plan, describe_size, measure_step, run_steps
from diffjax.commands.training_plan import TrainingPlan, plan_training
from diffjax.errors import UserError, tell, warn
from diffjax.experiment import config_files, meaning, run_record, trained_model
from diffjax.experiment.config import Config
from diffjax.experiment.run_record import Record
from diffjax.training import checkpoint, retention, running_means
from diffjax.training.data_parallel import barrier, initialize_distributed, watched
from diffjax.training.identity import Identity
from diffjax.training.nonfinite import Diverged, Fault
from diffjax.training.progress import Log, RunLength
from diffjax.training.signals import SignalMonitor
from diffjax.training.state import State
from diffjax.utils.files import check_writable, clear_parts, lock_folder

CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="Python file with get_config(), see configs/ and docs/reference.md; by default the run's own."
)
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, pictures.")
command_line.define_allow_imports()
CHECK = flags.DEFINE_boolean(
    "check", False, "Check everything, print the plan and the memory and time of a step; write nothing."
)
HOSTS = flags.DEFINE_string(
    "hosts", None, "Train on several hosts, each started like this: auto, or ADDRESS:PORT,HOSTS,HOST of the first's."
)
HOSTS_TIMEOUT = flags.DEFINE_float(
    "hosts_timeout", 60.0, "Seconds until a host that does not come, or is not heard of, is lost.", lower_bound=1.0
)


def main() -> None:
    """Everything that can be known is checked before anything is written or compiled."""
    with watched(None if HOSTS.value is None else initialize_distributed(HOSTS.value, HOSTS_TIMEOUT.value)):
        run_on_this_host(CONFIG.value)


def run_on_this_host(config: Config) -> None:
    """Check the run, or train it, once all hosts are there."""
    workdir = command_line.folder_flag("workdir")
    check_writable(workdir, "--workdir")
    if CHECK.value:
        plan, _, changed = prepare_run(config, workdir)
        lines = [*describe_plan(plan, workdir), *describe_data(plan), *plan.notes, *changed]
        print(*lines, sep="\n", flush=True)
        print(*measure_step(plan), sep="\n")
        return
    first = jax.process_index() == 0
    with (
        SignalMonitor(config.train.hang_limit_s, workdir / "stacks.txt") as sentry,
        lock_folder(workdir if first else None),
    ):
        if first:
            retention.clean_up_partial(workdir / "checkpoints")
            for folder in (workdir, workdir / run_outputs.PICTURES, workdir / trained_model.SNAPSHOTS):
                clear_parts(folder)
        barrier("tidy")
        run_training(config, workdir, sentry)


def prepare_run(config: Config, workdir: Path) -> tuple[TrainingPlan, Record | None, list[str]]:
    """The plan of a new run, or of an old one that goes on, what that has recorded, and what has changed since."""
    # The config is the user's, or was read with leave: of the record nothing is imported that it does not name too.
    previous = run_record.existing_record(workdir, allow_imports=True)
    changed: list[str] = []
    if previous:
        config = meaning.inherit_measured(config, previous.config)
        changed = meaning.changed_fields(previous.config, config, workdir)
    plan = plan_training(config, workdir, previous, flags.FLAGS.allow_imports)
    if previous and not plan.facts.matches(previous.facts):
        name = config.data.name
        raise UserError(f"config.data.name: {name} has changed since {workdir} was begun; use a new --workdir")
    return plan, previous, changed


def run_training(config: Config, workdir: Path, sentry: SignalMonitor) -> None:
    """A run from where it is to its end, or until it is told to stop."""
    plan, previous, changed = prepare_run(config, workdir)
    config = plan.config
    steps_done, steps = int(plan.start.step), config.train.steps
    tell(
        f"{config.data.name}: {describe_size(plan)}, step {steps_done:,} to {steps:,}",
        *describe_data(plan),
        *plan.notes,
        *changed,
    )
    if steps_done >= steps:
        tell(f"{workdir}: already at step {steps_done:,}; raise --config.train.steps to go on")
        return
    record = run_record.record_at_start(previous, config, plan.facts, plan.splits, workdir)
    if jax.process_index() == 0:
        run_record.write_config(workdir, record)
    steps_done = train(workdir, plan, record.identity, sentry)
    if steps_done < steps:
        tell(f"{workdir}: stopped at step {steps_done:,}, saved; the same command goes on from there")
        return
    pictures = f"; pictures are in {workdir / run_outputs.PICTURES}" if config.train.picture_every_steps else ""
    tell(f"{workdir}: step {steps:,} reached{pictures}")


def train(workdir: Path, plan: TrainingPlan, identity: Identity, sentry: SignalMonitor) -> int:
    """The loop, with its checkpoints, and on the first host its log and pictures; the step that was reached."""
    t = plan.config.train
    first = jax.process_index() == 0
    batch_size = plan.config.data.batch_size
    writers = plan.writers if first else ()
    about = {"config": config_files.config_hash(plan.config), **identity.about}
    folder, start = workdir / "checkpoints", int(plan.start.step)
    sums = running_means.read_sums(folder, start)
    length = RunLength(start, t.steps, t.log_every_steps, batch_size)
    with (
        closing(checkpoint.Saver(folder, plan.keep, about)) as saver,
        closing(Log(writers, length, not first, sums)) as log,
    ):

        def save(step: int, state: State, metrics: Any) -> None:
            validation_metrics = {} if plan.validate is None else plan.validate(state.ema["params"])
            if validation_metrics:
                log.log_values(step, validation_metrics)
            saver.save(step, state, {**metrics, **validation_metrics}, log.sums)

        def picture(step: int, state: State, metrics: Any) -> None:
            if first:
                run_outputs.write_picture(workdir, step, plan.gallery(state.ema))

        def snapshot(step: int, state: State, metrics: Any) -> None:
            if first:
                run_outputs.write_snapshot(workdir, step, state.emas, identity)

        def watch(step: int, metrics: Any) -> None:
            sentry.beat(step)
            log.log_steps(step, metrics)

        def restore() -> State | None:
            saver.wait()
            checkpoint_state = checkpoint.restore(folder, plan.start, identity)
            log.sums = running_means.read_sums(folder, int((checkpoint_state or plan.start).step))
            return checkpoint_state

        others = [(t.picture_every_steps, picture), (t.snapshot_every_steps, snapshot)]
        events = [
            (t.save_every_steps, save),  # of 0: after the last step alone
            *[(interval, call) for interval, call in others if interval],
        ]
        try:
            state = run_steps(
                plan,
                t.steps,
                events=events,
                watch=watch,
                on_fault=plan.policy,
                restore=restore,
                report=partial(report_fault, workdir if first else None),
                stopping=lambda: sentry.stopping,
            )
        except Diverged as end:
            if end.fault.sound and not saver.contains(end.fault.step):
                saver.save(end.fault.step, end.state, {}, log.sums)
            raise UserError(f"{workdir}: {end}") from None
        if not saver.contains(int(state.step)):
            saver.save(int(state.step), state, {}, log.sums)
    return int(state.step)


def report_fault(folder: Path | None, fault: Fault) -> None:
    """Report a step whose numbers are not finite, on the first host also in faults.jsonl."""
    warn(fault.describe(), new_line=True)
    if folder is not None:
        run_outputs.write_fault(folder, fault)


if __name__ == "__main__":
    command_line.run_script(main, CONFIG, resumes=Config)
