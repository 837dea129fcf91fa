"""Train a model: python train.py --config configs/digits.py --workdir runs/digits [--config.train.steps=10000 …]

With the --workdir of a run, alone or with the same --config, it goes on where that stopped; with more steps, it trains
longer. With --check it only looks whether all of it fits, and says what it would do and how long that would take.
"""

import dataclasses
import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from configs import Config
from diffjax.commands import command_line, run_outputs
from diffjax.commands.config_checks import Fields
from diffjax.commands.preflight import describe_data, describe_plan, describe_size, measure_step, run_steps
from diffjax.commands.training_plan import Plan, planned
from diffjax.errors import UserError, tell, warn
from diffjax.experiment import data_spec, meaning, run_record, trained_model
from diffjax.experiment.run_record import Record
from diffjax.training import checkpoint, retention, running_means
from diffjax.training.data_parallel import join, together, watched
from diffjax.training.identity import Identity
from diffjax.training.nonfinite import Diverged, Fault
from diffjax.training.progress import Log
from diffjax.training.signals import Sentry
from diffjax.training.state import State
from diffjax.utils.files import check_writable, claimed, clear_parts

CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="Python file with get_config(), see configs/ and docs/reference.md; by default the run's own."
)
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, pictures.")
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
    with watched(None if HOSTS.value is None else join(HOSTS.value, HOSTS_TIMEOUT.value)):
        run_on_this_host(CONFIG.value)


def run_on_this_host(config: Config) -> None:
    """Check the run, or train it, once all hosts are there."""
    workdir = command_line.folder("workdir")
    check_writable(workdir, "--workdir")
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    if CHECK.value:
        plan, _, changed = begun(fields, workdir)
        told = [*describe_plan(plan, workdir), *describe_data(plan), *plan.notes, *changed]
        print(*told, sep="\n", flush=True)
        print(*measure_step(plan), sep="\n")
        return
    first = jax.process_index() == 0
    with Sentry(config.train.hang_limit_s, workdir / "stacks.txt") as sentry, claimed(workdir if first else None):
        if first:
            retention.tidy(workdir / "checkpoints")
            for folder in (workdir, workdir / run_outputs.PICTURES, workdir / trained_model.SNAPSHOTS):
                clear_parts(folder)
        together("tidy")
        trained(fields, workdir, sentry)


def begun(fields: Fields, workdir: Path) -> tuple[Plan, Record | None, list[str]]:
    """The plan of a new run, or of an old one that goes on, what that has recorded, and what has changed since."""
    before = run_record.earlier(workdir)
    fields = meaning.inherited(fields, before.config) if before else fields
    defaults = json.loads(json.dumps(dataclasses.asdict(Config())))
    changed = meaning.changes(meaning.completed(before.config, defaults), fields, workdir) if before else []
    plan = planned(fields, workdir, before)
    if before and not plan.facts.as_learnt(before.facts):
        name = fields["data"]["name"]
        raise UserError(f"config.data.name: {name} has changed since {workdir} was begun; use a new --workdir")
    return plan, before, changed


def trained(fields: Fields, workdir: Path, sentry: Sentry) -> None:
    """A run from where it is to its end, or until it is told to stop."""
    plan, before, changed = begun(fields, workdir)
    fields = plan.fields
    done, steps = int(plan.start.step), fields["train"]["steps"]
    tell(
        f"{fields['data']['name']}: {describe_size(plan)}, step {done:,} to {steps:,}",
        *describe_data(plan),
        *plan.notes,
        *changed,
    )
    if done >= steps:
        tell(f"{workdir}: already at step {done:,}; raise --config.train.steps to go on")
        return
    now = run_record.at_start(before, fields, plan.facts, plan.splits, workdir)
    if jax.process_index() == 0:
        run_record.write_config(workdir, now)
    done = train(workdir, plan, now.identity, sentry)
    if done < steps:
        tell(f"{workdir}: stopped at step {done:,}, saved; the same command goes on from there")
        return
    pictures = f"; pictures are in {workdir / run_outputs.PICTURES}" if fields["train"]["picture_every_steps"] else ""
    tell(f"{workdir}: step {steps:,} reached{pictures}")


def train(workdir: Path, plan: Plan, identity: Identity, sentry: Sentry) -> int:
    """The loop, with its checkpoints, and on the first host its log and pictures; the step that was reached."""
    fields, t, first = plan.fields, plan.fields["train"], jax.process_index() == 0
    batch_size, writers = fields["data"]["batch_size"], plan.writers if first else ()
    about = {"config": data_spec.config_hash(fields), **identity.about}
    folder, start = workdir / "checkpoints", int(plan.start.step)
    sums = running_means.of_checkpoint(folder, start)
    with (
        closing(checkpoint.Saver(folder, plan.keep, about)) as saver,
        closing(Log(writers, start, t["steps"], t["log_every_steps"], batch_size, not first, sums)) as log,
    ):

        def save(step: int, state: State, metrics: Any) -> None:
            more = {} if plan.validate is None else plan.validate(state.ema["params"])
            if more:
                log.tell(step, more)
            saver.save(step, state, {**metrics, **more}, log.sums)

        def picture(step: int, state: State, metrics: Any) -> None:
            if first:
                run_outputs.write_picture(workdir, step, plan.gallery(state.ema))

        def snapshot(step: int, state: State, metrics: Any) -> None:
            if first:
                run_outputs.write_snapshot(workdir, step, state.emas, identity)

        def watch(step: int, metrics: Any) -> None:
            sentry.beat(step)
            log.watch(step, metrics)

        def restore() -> State | None:
            saver.wait()
            back = checkpoint.restore(folder, plan.start, identity)
            log.sums = running_means.of_checkpoint(folder, int((back or plan.start).step))
            return back

        others = [(t["picture_every_steps"], picture), (t["snapshot_every_steps"], snapshot)]
        events = [
            (t["save_every_steps"], save),  # of 0: after the last step alone
            *[(every, call) for every, call in others if every],
        ]
        try:
            state = run_steps(
                plan,
                t["steps"],
                events=events,
                watch=watch,
                on_fault=plan.policy,
                restore=restore,
                report=partial(reported, workdir if first else None),
                stopping=lambda: sentry.stopping,
            )
        except Diverged as end:
            if end.fault.sound and not saver.has(end.fault.step):
                saver.save(end.fault.step, end.state, {}, log.sums)
            raise UserError(f"{workdir}: {end}") from None
        if not saver.has(int(state.step)):
            saver.save(int(state.step), state, {}, log.sums)
    return int(state.step)


def reported(folder: Path | None, fault: Fault) -> None:
    """Report a step whose numbers are not finite, on the first host also in faults.jsonl."""
    warn(fault.told(), new_line=True)
    if folder is not None:
        run_outputs.write_fault(folder, fault)


if __name__ == "__main__":
    command_line.run(main, CONFIG, resumes=Config)
