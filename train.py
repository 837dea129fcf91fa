"""Train a model: python train.py --config configs/digits.py --workdir runs/digits [--config.train.steps=10000 …]

Run again with the same --workdir, it goes on where it stopped; with more steps, it trains longer.
"""

import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from jax.tree_util import Partial
from ml_collections import config_flags

from configs import Config
from diffjax import build, cli, draw, run
from diffjax.data import Dataset, batches, open_dataset
from diffjax.data.forms import Form
from diffjax.errors import UserError
from diffjax.evaluation import write_png
from diffjax.files import check_writable
from diffjax.loss import Loss
from diffjax.randomness import keys
from diffjax.training import checkpoint, keeping
from diffjax.training.faults import Diverged, Fault, Policy
from diffjax.training.keeping import Keep
from diffjax.training.log import Log
from diffjax.training.loop import fit
from diffjax.training.sentry import Sentry
from diffjax.training.state import State, create
from diffjax.training.validation import held_out
from diffjax.training.writers import Writer

CONFIG = config_flags.DEFINE_config_file("config", help_string="Python file with get_config(), see configs/.")
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, pictures.")

# Fields that decide what the numbers of a state mean: a run keeps them.
KEPT = ("model", "data.name", "data.image_size", "data.form", "data.batch_size", "train.seed", "train.ema")


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything a run is made of."""

    dataset: Dataset
    facts: run.Facts
    model: build.Model
    loss: Loss
    optimizer: optax.GradientTransformation
    policy: Policy
    keep: Keep
    gallery: Callable[[Any], Any]
    validate: Callable[[Any], float] | None
    start: State
    stream: Iterator[Any]
    writers: tuple[Writer, ...]


def main() -> None:
    """Everything that can be known is checked before anything is written or compiled."""
    config: Config = CONFIG.value
    workdir = cli.folder("workdir")
    check_writable(workdir, "--workdir")
    check_numbers(config)
    with Sentry(config.train.hang_limit_s, workdir / "stacks.txt") as sentry:
        begun(config, workdir, sentry)


def begun(config: Config, workdir: Path, sentry: Sentry) -> None:
    """A new run, or an old one that goes on."""
    fields, defaults = (json.loads(json.dumps(dataclasses.asdict(each))) for each in (config, Config()))
    before = run.read_config(workdir) if (workdir / run.CONFIG).exists() else None
    changed = run.changes(run.completed(before[0], defaults), fields, KEPT, workdir) if before else []
    if jax.process_index() == 0:
        keeping.tidy(workdir / "checkpoints")
    plan = planned(config, fields, workdir)
    if before and not plan.facts.as_learnt(before[1]):
        raise UserError(
            f"config.data.name: {config.data.name} has changed since {workdir} was begun; use a new --workdir"
        )
    done, t = int(plan.start.step), config.train
    print(f"{config.data.name}: {told(plan)}, step {done:,} to {t.steps:,}", *changed, sep="\n", file=sys.stderr)
    if done >= t.steps:
        print(f"{workdir}: already at step {done:,}; raise --config.train.steps to go on", file=sys.stderr)
        return
    if jax.process_index() == 0:
        run.write_config(workdir, fields, plan.facts)
    done = train(config, workdir, plan, sentry, run.config_hash(fields))
    if done < t.steps:
        print(f"{workdir}: stopped at step {done:,}, saved; the same command goes on from there", file=sys.stderr)
        return
    print(f"{workdir}: step {t.steps:,} reached; pictures are in {workdir / 'pictures'}", file=sys.stderr)


def planned(config: Config, fields: dict[str, Any], workdir: Path) -> Plan:
    """From fields to objects, and to the state to start from: the last whole checkpoint, or a fresh one."""
    d, t = config.data, config.train
    dataset = open_dataset(d.name, d.dir or None, image_size=d.image_size or None)
    facts = run.facts_of(dataset, d.form)
    model = run.built_model(fields["model"], facts)
    a_loss = partial(build.training_loss, model, loss=t.loss, weight=t.weight, distribution=t.times)
    loss, policy = a_loss(cond_drop=t.cond_drop), build.policy(t.on_fault)
    keep = Keep(t.keep_checkpoints, t.keep_every_steps, t.keep_best)
    optimizer = build.optimizer(
        steps=t.steps,
        learning_rate=t.learning_rate,
        warmup_steps=t.warmup_steps,
        weight_decay=t.weight_decay,
        clip_norm=t.clip_norm,
    )
    gallery = draw.gallery(model, facts, fields["sample"])
    x, cond = facts.encoding.nothing(facts.shape), None if model.net.null_cond is None else jnp.zeros(1, jnp.int32)
    fresh = create(jax.random.key(t.seed), model.net, optimizer, t.ema, x, cond)
    jax.eval_shape(loss, keys(0, 1), Partial(model.net.apply, {"params": fresh.params}), x, cond)  # do they fit?
    validate = (
        held_out(model.net, a_loss(cond_drop=0.0), *some(dataset, t.validate_images, facts, cond is not None))
        if t.validate_images
        else None
    )
    start = checkpoint.restore(workdir / "checkpoints", fresh) or fresh
    stream = reading(config, dataset, facts.encoding, cond is not None, int(start.position))
    writers = build.writers(t.writers, folder=workdir, start=int(start.step), about=fields)
    return Plan(dataset, facts, model, loss, optimizer, policy, keep, gallery, validate, start, stream, writers)


def train(config: Config, workdir: Path, plan: Plan, sentry: Sentry, config_hash: str) -> int:
    """The loop, with its checkpoints, and on the first host its log and pictures; the step that was reached."""
    t = config.train
    folder = workdir if jax.process_index() == 0 else None
    with (
        closing(checkpoint.Saver(workdir / "checkpoints", plan.keep, {"config": config_hash})) as saver,
        closing(
            Log(
                plan.writers if folder else (),
                int(plan.start.step),
                t.steps,
                t.log_every_steps,
                config.data.batch_size,
                quiet=folder is None,
            )
        ) as log,
    ):

        def save(step: int, state: State, metrics: Any) -> None:
            more = {} if plan.validate is None else {"validation_loss": plan.validate(state.ema["params"])}
            if more:
                log.tell(step, more)
            saver.save(step, state, {**metrics, **more})

        def picture(step: int, state: State, metrics: Any) -> None:
            if folder is not None:
                write_png(folder / "pictures" / f"step_{step:08d}.png", plan.gallery(state.ema))

        def watch(step: int, metrics: Any) -> None:
            sentry.beat(step)
            log.watch(step, metrics)

        def restore() -> State | None:
            saver.wait()
            return checkpoint.restore(workdir / "checkpoints", plan.start)

        try:
            state = fit(
                plan.start.key,
                plan.model.net,
                plan.loss,
                plan.stream,
                t.steps,
                optimizer=plan.optimizer,
                start=plan.start,
                events=[(t.save_every_steps, save), (t.picture_every_steps, picture)],
                watch=watch,
                on_fault=plan.policy,
                restore=restore,
                report=partial(reported, folder),
                stopping=lambda: sentry.stopping,
                accumulate=t.accumulate,
            )
        except Diverged as end:
            if end.fault.sound and saver.saved != end.fault.step:
                saver.save(end.fault.step, end.state, {})
            raise UserError(f"{workdir}: {end}") from None
        if saver.saved != int(state.step):
            saver.save(int(state.step), state, {})
    return int(state.step)


def reported(folder: Path | None, fault: Fault) -> None:
    """Tell a step whose numbers went wrong, and write all that is known of it into faults.jsonl."""
    print(f"\ndiffjax: {fault.told()}", file=sys.stderr, flush=True)
    if folder is not None:
        with (folder / "faults.jsonl").open("a") as file:
            file.write(json.dumps(vars(fault)) + "\n")


def some(dataset: Dataset, count: int, facts: run.Facts, conditional: bool) -> tuple[Any, Any, Any]:
    """Keys, x and classes of evenly chosen images that are not trained on, as the model sees them."""
    images, labels = dataset.arrays("validation")
    rows = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    root = keys(0, len(rows))
    x = facts.encoding.encode(root, jnp.asarray(images[rows]), facts.levels)
    return root, x, jnp.asarray(labels[rows]) if conditional and labels is not None else None


def reading(config: Config, dataset: Dataset, form: Form, conditional: bool, step: int) -> Iterator[Any]:
    """The batches from that step on, the first of them read now, so that an image that cannot be is told now."""
    read = batches(
        dataset,
        "train",
        config.data.batch_size,
        config.train.seed,
        start_step=step,
        host=jax.process_index(),
        hosts=jax.process_count(),
        form=form,
        balance=config.data.balance,
        augment=run.augment_named(config.data.augment),
    )
    stream = (batch if conditional else {**batch, "cond": None} for batch in read)
    return itertools.chain([next(stream)], stream)


def told(plan: Plan) -> str:
    """The size of what is trained, of the data and of the machine."""
    count = sum(leaf.size for leaf in jax.tree.leaves(plan.start.params))
    images = len(plan.dataset.splits["train"])
    return f"{count:,} parameters, {images:,} images, {jax.device_count()} {jax.default_backend()} device(s)"


def check_numbers(config: Config) -> None:
    """Raise UserError for numbers that cannot be."""
    t, devices = config.train, jax.device_count()
    for name in ("steps", "log_every_steps", "save_every_steps", "picture_every_steps", "accumulate"):
        if getattr(t, name) < 1:
            raise UserError(f"config.train.{name}: expected at least 1, got {getattr(t, name)}")
    given = config.data.batch_size
    if given < 1 or given % devices:
        raise UserError(f"config.data.batch_size: expected a multiple of the {devices} device(s), got {given}")
    if given // devices % t.accumulate:
        raise UserError(
            f"config.train.accumulate: a device's share of {given // devices} examples does not divide by "
            f"{t.accumulate}; use a divisor of it"
        )
    if t.validate_images < 0:
        raise UserError(f"config.train.validate_images: expected 0 (not at all) or more, got {t.validate_images}")
    if not 0 <= t.seed < 2**32:
        raise UserError(f"config.train.seed: expected 0 … 2**32 - 1, got {t.seed}")
    if not 0 <= t.cond_drop <= 1:
        raise UserError(f"config.train.cond_drop: expected a share in [0, 1], got {t.cond_drop}")


if __name__ == "__main__":
    cli.run(main, CONFIG)
