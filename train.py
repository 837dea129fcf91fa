"""Train a model: python train.py --config configs/digits.py --workdir runs/digits [--config.train.steps=10000 …]

With the --workdir of a run, alone or with the same --config, it goes on where that stopped; with more steps, it trains
longer. With --check it only looks whether all of it fits, and says what it would do and how long that would take.
"""

import dataclasses
import json
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from configs import Config
from diffjax import cli, loading, meaning, record, run, run_outputs
from diffjax.checks import Fields, most_kept, size
from diffjax.errors import UserError, tell, warn
from diffjax.files import check_writable, claimed, clear_parts
from diffjax.plan import Plan, planned
from diffjax.record import Record
from diffjax.training import checkpoint, keeping, running_means
from diffjax.training.faults import Diverged, Fault
from diffjax.training.identity import Identity
from diffjax.training.log import Log
from diffjax.training.loop import fit
from diffjax.training.parallel import join, together, watched
from diffjax.training.sentry import Sentry
from diffjax.training.state import State

CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="Python file with get_config(), see configs/ and docs/reference.md; by default the run's own."
)
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, pictures.")
CHECK = flags.DEFINE_boolean(
    "check", False, "Check everything, print the plan, take two steps to time them; write none."
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
    workdir = cli.folder("workdir")
    check_writable(workdir, "--workdir")
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    if CHECK.value:
        plan, _, changed = begun(fields, workdir)
        print(*described(fields, plan, workdir), *plan.notes, *changed, sep="\n", flush=True)
        print(timed(fields, plan))
        return
    first = jax.process_index() == 0
    with Sentry(config.train.hang_limit_s, workdir / "stacks.txt") as sentry, claimed(workdir if first else None):
        if first:
            keeping.tidy(workdir / "checkpoints")
            for folder in (workdir, workdir / run_outputs.PICTURES, workdir / loading.SNAPSHOTS):
                clear_parts(folder)
        together("tidy")
        trained(fields, workdir, sentry)


def begun(fields: Fields, workdir: Path) -> tuple[Plan, Record | None, list[str]]:
    """The plan of a new run, or of an old one that goes on, what that has recorded, and what has changed since."""
    before = record.earlier(workdir)
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
    done, steps = int(plan.start.step), fields["train"]["steps"]
    tell(f"{fields['data']['name']}: {told(plan)}, step {done:,} to {steps:,}", *plan.notes, *changed)
    if done >= steps:
        tell(f"{workdir}: already at step {done:,}; raise --config.train.steps to go on")
        return
    now = record.at_start(before, fields, plan.facts, plan.splits, workdir)
    if jax.process_index() == 0:
        record.write_config(workdir, now)
    done = train(fields, workdir, plan, now.identity, sentry)
    if done < steps:
        tell(f"{workdir}: stopped at step {done:,}, saved; the same command goes on from there")
        return
    tell(f"{workdir}: step {steps:,} reached; pictures are in {workdir / run_outputs.PICTURES}")


def train(fields: Fields, workdir: Path, plan: Plan, identity: Identity, sentry: Sentry) -> int:
    """The loop, with its checkpoints, and on the first host its log and pictures; the step that was reached."""
    t, first = fields["train"], jax.process_index() == 0
    batch_size, writers = fields["data"]["batch_size"], plan.writers if first else ()
    about = {"config": run.config_hash(fields), **identity.about}
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

        events = [
            (t["save_every_steps"], save),
            (t["picture_every_steps"], picture),
            (t["snapshot_every_steps"], snapshot),
        ]
        try:
            state = fitted(
                plan,
                t,
                events=[(every, call) for every, call in events if every],
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


def fitted(plan: Plan, t: Fields, steps: int | None = None, **options: Any) -> State:
    """The loop over the plan's own parts, to the config's last step or another."""
    return fit(
        plan.start.key,
        plan.net,
        plan.loss,
        plan.stream,
        steps or t["steps"],
        optimizer=plan.optimizer,
        start=plan.start,
        accumulate=t["accumulate"],
        **options,
    )


def reported(folder: Path | None, fault: Fault) -> None:
    """Report a step whose numbers are not finite, on the first host also in faults.jsonl."""
    warn(fault.told(), new_line=True)
    if folder is not None:
        run_outputs.write_fault(folder, fault)


def told(plan: Plan) -> str:
    """The size of what is trained, of the data and of the machine."""
    images = len(plan.dataset.splits["train"])
    return f"{parameters(plan)}, {images:,} images, {jax.device_count()} {jax.default_backend()} device(s)"


def parameters(plan: Plan) -> str:
    """How many numbers are trained, and of how many, where some are not."""
    trained, every = plan.trained
    return f"{every:,} parameters" if trained == every else f"{trained:,} of {every:,} parameters trained"


def described(fields: Fields, plan: Plan, workdir: Path) -> list[str]:
    """What a run would do, a line for each part of it."""
    t, facts, images = fields["train"], plan.facts, len(plan.dataset.splits["train"])
    done, batch = int(plan.start.step), fields["data"]["batch_size"]
    shape, left = " x ".join(map(str, facts.shape)), t["steps"] - done
    spread = f", standard deviation {plan.data_std:.3g}" if plan.data_std else ""
    kept = most_kept(plan.keep, t["steps"], t["save_every_steps"])
    return [
        f"data:        {fields['data']['name']}, {images:,} images of {shape}, {facts.classes} classes, {facts.levels} "
        f"levels as {facts.form}{spread}",
        f"model:       {fields['model']['net']}, {parameters(plan)}",
        f"state:       {size(plan.state_bytes)} on each of {jax.device_count()} {jax.default_backend()} device(s): "
        f"parameters, optimizer, averages {', '.join(plan.start.emas)}",
        f"steps:       {done:,} to {t['steps']:,}, of {batch} images each: {left * batch:,} images, "
        f"{left * batch / images:.1f} epochs",
        f"checkpoints: at most {kept}, of {size(plan.state_bytes)} each, in {workdir / 'checkpoints'}",
    ]


def timed(fields: Fields, plan: Plan) -> str:
    """How long a run would take, from two steps, of which nothing is kept."""
    t, done, ends = fields["train"], int(plan.start.step), [time.monotonic()]
    fitted(plan, t, done + 3, watch=lambda *_: ends.append(time.monotonic()), dispatch=1)
    first, each = ends[1] - ends[0], (ends[3] - ends[1]) / 2
    left, speed = max(t["steps"] - done, 0) * each, fields["data"]["batch_size"] / each
    return (
        f"time:        {1000 * each:.3g} ms a step ({speed:,.0f} images/s), {clock(left)} in all, {first:.1f} s before "
        "the first; a dispatch of several steps may be faster"
    )


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{int(seconds % 60):02d} h"


if __name__ == "__main__":
    cli.run(main, CONFIG, resumes=Config)
