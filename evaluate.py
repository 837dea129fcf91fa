"""Score a trained model: python evaluate.py --workdir runs/digits

Draws as many pictures of each class, prints five measures beside what real held-out images get, and the bits per
dimension of train and test, and writes report.md with the pictures into --out.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from diffjax import bits, cli, draw, loading, run
from diffjax import evaluation as ev
from diffjax.data import open_dataset
from diffjax.errors import UserError
from diffjax.files import check_writable, write_whole
from diffjax.training import metrics

cli.sampling_flags()
flags.adopt_module_key_flags(cli)  # so that --help lists them
OUT = flags.DEFINE_string("out", None, "Folder for the report; by default WORKDIR/evaluation.")
NUM = flags.DEFINE_integer("num", 1_440, "How many pictures, as many of each class.", lower_bound=3)
MOST = flags.DEFINE_integer("most", 5_000, "How many real images of each split to compare with.", lower_bound=3)
LIKELIHOOD = flags.DEFINE_enum(
    "likelihood", "fitting", ["fitting", *bits.METHODS, "none"], "How bits per dimension are measured, or none."
)
BITS_OF = flags.DEFINE_integer("bits_of", 360, "Of how many images of each split.", lower_bound=2)


def main() -> None:
    """Everything that can be known is checked before anything is written or compiled."""
    workdir, asked = cli.folder("workdir"), flags.FLAGS
    if workdir.is_file() and not OUT.value:
        raise UserError(f"--out: give a folder for the report on {workdir}")
    out = Path(OUT.value) if OUT.value else workdir / "evaluation"
    check_writable(out, "--out")
    denoise, noise, order, info = loading.load(workdir, ema=asked.ema, step=cli.step())
    settings = cli.chosen(info.config["sample"])
    painter = draw.painter(denoise, noise, order, info.net, info.facts, settings)
    splits = reference(info, workdir)
    method = "" if LIKELIHOOD.value in ("fitting", "none") else LIKELIHOOD.value
    reader = bits.reader(denoise, noise, order, info.net, info.facts, method)
    likelihoods, contexts = (None, {}) if LIKELIHOOD.value == "none" else read(reader, splits)
    kernels = ev.kernels_for(int(np.prod(info.facts.shape)))
    real = ev.real_scores(splits, info.facts.levels, kernels=kernels)
    cond = np.arange(NUM.value, dtype=np.int32) * info.facts.classes // NUM.value if info.conditional else None
    images = draw.images(painter, jax.random.key(asked.seed), NUM.value, asked.batch, cond)
    got = ev.scores(images, cond, splits, info.facts.levels, kernels=kernels)
    told = {
        "evaluations": f"{(len(painter.grid) - 1) * painter.step.evaluations} of the net per sample",
        "grid": settings["grid"],
        "guidance": f"{settings['guidance']:g}",
        "ema": info.ema,
        "run": f"{workdir.name}, step {info.step:,}, config {info.config_hash}",
    }
    source = ev.provenance(len(images), settings["sampler"], settings["steps"], asked.seed, splits, kernels, **told)
    print(ev.table(got, real, source, likelihoods))
    write_scores(out, got, real, source, likelihoods, contexts)
    pictures = write_pictures(out, images, cond, splits, painter) | write_curve(out, workdir)
    if contexts:
        ev.curve(out / "context.png", contexts, "bits of a hidden pixel", "visible pixels")
        pictures["What a hidden pixel costs, by how many others are visible"] = out / "context.png"
    title = f"Evaluation of {workdir.name}"
    report = ev.write_report(out, got, real, source, pictures, title, likelihoods)
    print(f"the report is {report}, with its pictures beside it", file=sys.stderr)


def reference(info: loading.Info, workdir: Path) -> dict[str, Any]:
    """The real images of the run's data set; of large splits a part, drawn with a fixed seed."""
    data = info.config["data"]
    dataset = open_dataset(data["name"], data["dir"] or None, image_size=data["image_size"] or None)
    if not run.facts_of(dataset, data["form"]).as_learnt(info.facts):
        raise UserError(
            f"{data['name']}: the data set has changed since {workdir} learnt it; restore it, or train again"
        )
    splits = {}
    for name in ("train", "validation", "test"):
        images, labels = dataset.arrays(name)
        rows = np.sort(np.random.default_rng(0).permutation(len(images))[: MOST.value])
        splits[name] = images[rows], None if labels is None else labels[rows]
    return splits


def read(reader: bits.Reader, splits: dict[str, Any]) -> tuple[ev.Likelihoods, dict[str, Any]]:
    """Bits per dimension of images of train and of test: the model's, and those of two baselines.

    Of a model of tokens that hides any of them, also what a hidden pixel costs by how many others are visible.
    """
    asked = flags.FLAGS
    train, test = (some(splits[name], BITS_OF.value) for name in ("train", "test"))
    root = jax.random.key(asked.seed)
    ours = [bits.bits(reader, root, part, asked.batch) for part in (train, test)]
    rows = {"this model": (ours[0][0], ours[1][0])}
    for name, baseline in (
        ("a Gaussian per class", ev.gaussian_per_class),
        ("independent pixels per class", ev.independent_pixels),
    ):
        train_bits, test_bits = (baseline(splits["train"], part, reader.facts.levels) for part in (train, test))
        rows[name] = train_bits, test_bits
    count = f"{len(train[0])} images of train, {len(test[0])} of test"
    contexts = {}
    if reader.facts.encoding.discrete and (reader.order.exchangeable or reader.order.width == 1):
        parts = (("train", train), ("test", test))
        contexts = {name: bits.context(reader, root, part, asked.batch) for name, part in parts}
    return ev.Likelihoods(rows, f"{bits.told(reader, ours[1][1], {})}; {count}"), contexts


def some(split: ev.Labelled, count: int) -> ev.Labelled:
    """Evenly chosen images of a split."""
    images, labels = split
    rows = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    return images[rows], None if labels is None else labels[rows]


def write_scores(
    out: Path,
    got: ev.Scores,
    real: ev.Scores,
    source: ev.Provenance,
    likelihoods: ev.Likelihoods | None,
    contexts: dict[str, Any],
) -> None:
    """The tables again, as scores.json, for programs."""
    origin = {
        **vars(source),
        "reference": dict(source.reference),
        "kernels": vars(source.kernels),
        "more": {**source.more},
    }
    told: dict[str, Any] = {"samples": vars(got), "real": vars(real), "provenance": origin}
    if likelihoods is not None:
        means = {name: [float(bits.mean()) for bits in both] for name, both in likelihoods.bits.items()}
        told["bits_per_dim"] = {"train, test": means, "told": likelihoods.told}
    for name, (visible, found) in contexts.items():
        told.setdefault("bits_by_visible", {})[name] = {
            int(count): float(cost) for count, cost in zip(visible, found, strict=True)
        }
    text = json.dumps(told, indent=1) + "\n"
    write_whole(out / "scores.json", lambda file: file.write(text.encode()))


def write_pictures(out: Path, images: np.ndarray, cond: Any, splits: Any, painter: draw.Painter) -> dict[str, Path]:
    """Samples by class, the nearest training images beside some, and the way from noise."""
    some = images[:: max(1, len(images) // 12)][:12]
    beside, _ = ev.nearest_images(some, splits, painter.facts.levels)
    few = None if cond is None else cond[:: max(1, len(cond) // 6)]
    way = draw.trajectory(painter, jax.random.key(flags.FLAGS.seed), min(6, len(images)), few)
    shown = ev.grid(images[:100], 10)
    if cond is not None:
        shown = ev.labelled_grid(images, cond, painter.facts.class_names, 12)
    made = {
        "Samples": ("grid.png", shown),
        "Samples above their nearest training images": ("nearest.png", ev.side_by_side(some, beside, 12)),
        "From noise to image": ("strip.png", ev.strip(*draw.thinned(*way), caption="clock")),
    }
    for name, picture in made.values():
        ev.write_png(out / name, picture)
    return {caption: out / name for caption, (name, _) in made.items()}


def write_curve(out: Path, workdir: Path) -> dict[str, Path]:
    """The training loss, where the run has kept it."""
    told = [(row.step, row.values["loss"]) for row in metrics.read(workdir / metrics.NAME) if "loss" in row.values]
    if not told:
        return {}
    steps, losses = np.array(told).T
    ev.curve(out / "loss.png", {"loss": (steps, losses)}, "training loss")
    return {"Training loss": out / "loss.png"}


if __name__ == "__main__":
    cli.run(main)
