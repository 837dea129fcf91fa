"""Train a model: python train.py --config configs/digits.py --workdir runs/digits [--config.train.steps=10000 …]

Run again with the same --workdir, it goes on where it stopped; with more steps, it trains longer.
"""

import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.tree_util import Partial
from ml_collections import config_flags

from configs import Config
from diffjax import build, cli, draw, run
from diffjax.data import Dataset, batches, label_frequencies, open_dataset
from diffjax.errors import UserError
from diffjax.evaluation import grid, labelled_grid, write_png
from diffjax.files import check_writable
from diffjax.loss import Loss
from diffjax.noise import denoiser
from diffjax.randomness import keys
from diffjax.training import checkpoint
from diffjax.training.log import Log
from diffjax.training.loop import Event, fit
from diffjax.training.state import State, create

CONFIG = config_flags.DEFINE_config_file("config", help_string="Python file with get_config(), see configs/.")
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, pictures.")

# Fields that decide what the numbers of a state mean: a run keeps them.
KEPT = ("model", "data.name", "data.image_size", "data.dequantise", "data.batch_size", "train.seed", "train.ema")


def main() -> None:
    """Everything that can be known is checked before anything is written or compiled."""
    config: Config = CONFIG.value
    workdir = cli.folder("workdir")
    check_writable(workdir, "--workdir")
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    changed = compare(run.read_config(workdir)[0], fields, workdir) if (workdir / run.CONFIG).exists() else []
    check_numbers(config)
    dataset = open_dataset(config.data.name, config.data.dir or None, image_size=config.data.image_size or None)
    facts = facts_of(dataset, config.data.dequantise)
    built = run.built_model(fields["model"], facts.classes)
    t = config.train
    loss = build.training_loss(built, weight=t.weight, distribution=t.times, cond_drop=t.cond_drop)
    optimizer = build.optimizer(
        steps=t.steps,
        learning_rate=t.learning_rate,
        warmup_steps=t.warmup_steps,
        weight_decay=t.weight_decay,
        clip_norm=t.clip_norm,
    )
    picture = picture_event(config, built, facts, workdir)
    x = jnp.zeros((1, *facts.shape))
    cond = None if built.net.null_cond is None else jnp.zeros(1, jnp.int32)
    start = create(jax.random.key(t.seed), built.net, optimizer, t.ema, x, cond)
    jax.eval_shape(loss, keys(0, 1), Partial(built.net.apply, {"params": start.params}), x, cond)  # do they fit?
    start = checkpoint.restore(workdir / "checkpoints", start) or start
    stream = reading(config, dataset, cond is not None, int(start.step))
    run.write_config(workdir, fields, facts)
    for line in changed:
        print(line, file=sys.stderr)
    train(config, workdir, built, loss, optimizer, dataset, stream, start, picture)


def train(
    config: Config,
    workdir: Path,
    built: build.Model,
    loss: Loss,
    optimizer: Any,
    dataset: Dataset,
    stream: Iterator[Any],
    start: State,
    picture: Event,
) -> None:
    """The loop, with its log, checkpoints and pictures."""
    t, done = config.train, int(start.step)
    count = sum(leaf.size for leaf in jax.tree.leaves(start.params))
    devices = f"{jax.local_device_count()} {jax.default_backend()} device(s)"
    images = len(dataset.splits["train"])
    told = f"{count:,} parameters, {images:,} images, {devices}, step {done:,} to {t.steps:,}"
    print(f"{dataset.name}: {told}", file=sys.stderr)
    if done >= t.steps:
        print(f"{workdir}: already at step {done:,}; raise --config.train.steps to go on", file=sys.stderr)
        return
    log, saver = (
        Log(workdir, done, t.steps, config.data.batch_size),
        checkpoint.Saver(workdir / "checkpoints", t.keep_checkpoints),
    )

    def save(step: int, state: State, metrics: Any) -> None:
        if not bool(jnp.all(jnp.isfinite(metrics["loss"]))):
            raise UserError(
                f"train: the loss at step {step} is not finite; nothing of it was saved. Lower train.learning_rate"
            )
        saver.save(step, state)

    try:
        fit(
            start.key,
            built.net,
            loss,
            stream,
            t.steps,
            optimizer=optimizer,
            start=start,
            events=[(0, log.collect), (t.log_every_steps, log.write), (t.save_every_steps, save), picture],
        )
    finally:
        log.close()
        saver.close()
    print(f"{workdir}: step {t.steps:,} reached; pictures are in {workdir / 'pictures'}", file=sys.stderr)


def reading(config: Config, dataset: Dataset, conditional: bool, step: int) -> Iterator[Any]:
    """The batches from that step on, the first of them read now, so that an image that cannot be is told now."""
    read = batches(
        dataset,
        "train",
        config.data.batch_size,
        config.train.seed,
        start_step=step,
        host=jax.process_index(),
        hosts=jax.process_count(),
        dequantise=config.data.dequantise,
    )
    stream = (batch if conditional else {**batch, "cond": None} for batch in read)
    return itertools.chain([next(stream)], stream)


def picture_event(config: Config, built: build.Model, facts: run.Facts, workdir: Path) -> Event:
    """Draws the same keys every so many steps, one row per class, so that one sees the pictures grow."""
    settings, each = dataclasses.asdict(config.sample), 10
    names = facts.class_names if built.net.null_cond is not None else ()
    cond = np.repeat(np.arange(len(names), dtype=np.int32), each) if names else None
    count = each * (len(names) or each)

    def painter(variables: Any) -> draw.Painter:
        return draw.painter(
            denoiser(built.noise, built.net, variables), built.noise, built.order, built.net, facts, settings
        )

    def picture(step: int, state: State, metrics: Any) -> None:
        images = draw.images(painter(state.ema), jax.random.key(0), count, count, cond)
        shown = grid(images, each) if cond is None else labelled_grid(images, cond, names, each)
        write_png(workdir / "pictures" / f"step_{step:08d}.png", shown)

    painter({})  # so that a mistake in the config's sample fields is told now
    return config.train.picture_every_steps, picture


def facts_of(dataset: Dataset, dequantised: bool) -> run.Facts:
    """What the model must know of its data."""
    shares = label_frequencies(dataset.splits["train"].labels(), dataset.classes) if dataset.classes else ()
    return run.Facts(
        dataset.shape,
        dataset.classes,
        tuple(dataset.class_names),
        dataset.levels,
        tuple(float(share) for share in shares),
        dequantised,
    )


def check_numbers(config: Config) -> None:
    """Raise UserError for numbers that cannot be."""
    for name in ("steps", "log_every_steps", "save_every_steps", "picture_every_steps", "keep_checkpoints"):
        if getattr(config.train, name) < 1:
            raise UserError(f"config.train.{name}: expected at least 1, got {getattr(config.train, name)}")
    if config.data.batch_size < 1 or config.data.batch_size % jax.device_count():
        raise UserError(
            f"config.data.batch_size: expected a multiple of the {jax.device_count()} device(s), "
            f"got {config.data.batch_size}"
        )
    if not 0 <= config.train.seed < 2**32:
        raise UserError(f"config.train.seed: expected 0 … 2**32 - 1, got {config.train.seed}")
    if not 0 <= config.train.cond_drop <= 1:
        raise UserError(f"config.train.cond_drop: expected a share in [0, 1], got {config.train.cond_drop}")


def compare(saved: dict[str, Any], given: dict[str, Any], workdir: Path) -> list[str]:
    """Refuse fields that would change what the saved state means; the others that are new, in words."""
    new = sorted(differences(saved, given).items())
    for path, (before, now) in new:
        if path.startswith(KEPT):
            raise UserError(
                f"config.{path}: {workdir} was trained with {before!r}, not {now!r}; use that value, or a new --workdir"
            )
    return [f"config.{path}: {before!r} before, {now!r} from here on" for path, (before, now) in new]


def differences(saved: Any, given: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted path → (saved, given) of every field that differs."""
    if not (isinstance(saved, dict) and isinstance(given, dict)):
        return {} if saved == given else {path[:-1]: (saved, given)}
    found = {}
    for name in saved.keys() | given.keys():
        found |= differences(saved.get(name), given.get(name), f"{path}{name}.")
    return found


if __name__ == "__main__":
    cli.run(main, CONFIG)
