"""Score a trained model: python evaluate.py --workdir runs/digits

Draws as many pictures of each class, prints measures beside what real held-out images get, with intervals, and the bits
per dimension of train and test, and writes report.html, one file with all tables and pictures, into --out, and the
numbers as report.json.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from diffjax import bits, cli, draw, inspection, judge, loading, run, truth
from diffjax import evaluation as ev
from diffjax.data import Dataset, open_dataset
from diffjax.errors import UserError
from diffjax.files import check_writable
from diffjax.mixtures import Mixture
from diffjax.randomness import keys
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
CLASSIFIER = flags.DEFINE_boolean("classifier", False, "Also compare in what a classifier of the classes says.")
INCEPTION = flags.DEFINE_string("inception", None, "Also in those of Inception-v3, of this file of FID's weights.")
RESIZE = flags.DEFINE_string("resize", "tensorflow_1", "How images come to its size: tensorflow_1 or antialiased.")
EMBEDDINGS = flags.DEFINE_multi_string("embeddings", [], "Also in features of these files; see docs/evaluation.md.")

BASELINES = {"a Gaussian per class": ev.gaussian_per_class, "independent pixels per class": ev.independent_pixels}


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
    dataset = data_of(info, workdir)
    splits = known = reference(dataset)
    method = "" if LIKELIHOOD.value in ("fitting", "none") else LIKELIHOOD.value
    reader = bits.reader(denoise, noise, order, info.net, info.facts, method)
    likelihoods, contexts = (None, {}) if LIKELIHOOD.value == "none" else read(reader, splits, dataset.law)
    cond, root = asked_for(info), jax.random.key(asked.seed)
    if dataset.law is None:
        images, distances, told = draw.images(painter, root, NUM.value, asked.batch, cond), {}, {}
    else:
        x = draw.states(painter, root, NUM.value, asked.batch, cond)
        distances, told = held_to(dataset.law, painter, x, cond, splits["test"])
        images = draw.as_bytes(x, info.facts)
        splits = {name: (draw.as_bytes(part, info.facts), labels) for name, (part, labels) in splits.items()}
    kernels = ev.kernels_for(int(np.prod(info.facts.shape)))
    told |= {
        "evaluations": f"{(len(painter.grid) - 1) * painter.step.evaluations} of the net per sample",
        "grid": settings["grid"],
        "guidance": f"{settings['guidance']:g}",
        "ema": info.ema,
        "run": f"{workdir.name}, step {info.step:,}, config {info.config_hash}",
    }
    scores = ev.measured(images, cond, splits, info.facts.levels, kernels=kernels)
    for features in compared_in(splits, info.facts.levels):
        scores += in_features(features, images, splits, info.facts.levels)
        told[f"features {features.name}"] = ev.described(features)
    source = ev.provenance(len(images), settings["sampler"], settings["steps"], asked.seed, splits, kernels, **told)
    judged = judge.judged(painter, denoise, known["train"][0], some(known["test"], BITS_OF.value), asked.seed)
    alarms = [] if judged is None else inspection.alarms(judged.profile)
    curves = training_curve(workdir) | ({} if judged is None else judge.curves(judged)) | further(distances, contexts)
    report = ev.Report(
        f"Evaluation of {workdir.name}",
        scores,
        source,
        ev.findings_of(images, splits, info.facts.levels, alarms),
        likelihoods,
        curves,
        write_pictures(out, images, cond, splits, painter),
    )
    print(ev.table(report))
    for alarm in report.findings.alarms if report.findings else ():
        print(f"look here: {alarm}")
    told_of = ev.write_report(out, report)
    print(f"the report is {told_of}, one file; its pictures are beside it too", file=sys.stderr)


def data_of(info: loading.Info, workdir: Path) -> Dataset:
    """The data set that the run learnt."""
    data = info.config["data"]
    dataset = open_dataset(data["name"], data["dir"] or None, image_size=data["image_size"] or None)
    if not run.facts_of(dataset, data["form"]).as_learnt(info.facts):
        raise UserError(
            f"{data['name']}: the data set has changed since {workdir} learnt it; restore it, or train again"
        )
    return dataset


def reference(dataset: Dataset) -> dict[str, Any]:
    """The real images of the data set; of large splits a part, drawn with a fixed seed."""
    names = ("train", "validation", "test")
    return {name: dataset.arrays(name, dataset.split(name).some(MOST.value)) for name in names}


def read(reader: bits.Reader, splits: dict[str, Any], law: Mixture | None) -> tuple[ev.Likelihoods, dict[str, Any]]:
    """Bits per dimension of images of train and of test: the model's, and those of two baselines, or of a known law.

    Of a model of tokens that hides any of them, also what a hidden pixel costs by how many others are visible.
    """
    asked = flags.FLAGS
    train, test = (some(splits[name], BITS_OF.value) for name in ("train", "test"))
    root = jax.random.key(asked.seed)
    ours = [bits.bits(reader, root, part, asked.batch) for part in (train, test)]
    rows = {"this model": (ours[0][0], ours[1][0])}
    if law is not None:
        given = reader.net.null_cond is not None
        least = [truth.exact_bits(law, images, labels if given else None) for images, labels in (train, test)]
        rows["the law itself"] = least[0], least[1]
        rows["this model less the law"] = ours[0][0] - least[0], ours[1][0] - least[1]
    for name, baseline in BASELINES.items() if law is None else ():
        train_bits, test_bits = (baseline(splits["train"], part, reader.facts.levels) for part in (train, test))
        rows[name] = train_bits, test_bits
    count = f"{len(train[0])} images of train, {len(test[0])} of test"
    contexts = {}
    if reader.facts.encoding.discrete and (reader.order.exchangeable or reader.order.width == 1):
        parts = (("train", train), ("test", test))
        contexts = {name: bits.context(reader, root, part, asked.batch) for name, part in parts}
    return ev.Likelihoods(rows, f"{bits.told(reader, ours[1][1], {})}; {count}"), contexts


def held_to(
    law: Mixture, painter: draw.Painter, x: np.ndarray, cond: Any, test: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """How far the denoiser, and what it drew, are from a law that is known: losses by log-SNR, and all in words."""
    real, labels = some(test, BITS_OF.value)
    root, given = keys(flags.FLAGS.seed, len(real)), None if cond is None else labels
    far = truth.gap(root, painter.noise, painter.denoise, law, real, given)
    like = truth.likeness(law, x, test[0], cond, None if cond is None else test[1])
    least, excess = far.least.mean(axis=0), far.excess.mean(axis=0)
    curves = {"this model": (far.log_snr, least + excess), "the least there is": (far.log_snr, least)}
    nats, error = far.total
    (ours, spread), (theirs, of_real) = like.log_density, like.real_log_density
    told = {
        "the bound less the entropy": f"{nats:.4g} ± {error:.2g} nats ({nats / real[0].size / np.log(2):.4f} bits per "
        f"dimension), of {len(real)} images of test",
        "log density of samples by the law": f"{ours:.1f} ± {spread:.1f} nats, of test {theirs:.1f} ± {of_real:.1f}, "
        f"z {like.z:+.1f}",
        "share of components that is off": f"{like.apart:.3f}, of test {like.real_apart:.3f}",
    }
    if like.accuracy is not None:
        told["class by the law"] = f"{like.accuracy:.2%} as asked for, of test {like.real_accuracy:.2%}"
    return curves, told


def asked_for(info: loading.Info) -> Any:
    """As many labels of each class, or none."""
    number = np.arange(NUM.value, dtype=np.int32)
    return number * info.facts.classes // NUM.value if info.conditional else None


def some(split: ev.Labelled, count: int) -> ev.Labelled:
    """Evenly chosen images of a split."""
    images, labels = split
    rows = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    return images[rows], None if labels is None else labels[rows]


def compared_in(splits: dict[str, Any], levels: int) -> list[ev.Features]:
    """The features that are asked for, in which samples and real images are compared."""
    images, labels = splits["train"]
    train = ev.as_bytes(images, levels)
    found = [ev.pixel_features(train.shape[1:])]
    if CLASSIFIER.value:
        if labels is None:
            raise UserError("--classifier: the data set has no classes; leave it out")
        found += [ev.classifier_features(train, labels)]
    if EMBEDDINGS.value:
        found += [ev.precomputed(*EMBEDDINGS.value)]
    if INCEPTION.value:
        from diffjax.evaluation.inception_weights import inception_features  # needs Flax, and a second

        found += [inception_features(INCEPTION.value, RESIZE.value)]
    return found


def in_features(features: ev.Features, images: np.ndarray, splits: dict[str, Any], levels: int) -> list[ev.Measured]:
    """Six measures in those features; none where there are too few images for them."""
    train, test = (ev.as_bytes(splits[name][0], levels) for name in ("train", "test"))
    if min(map(len, (images, train, test))) < ev.LEAST:
        told = f"fewer than {ev.LEAST} images of a kind are not compared in {features.name}, and have no intervals"
        print(told, file=sys.stderr)
        return []
    return ev.measured_in(features.name, *(ev.extracted(features, [part]) for part in (images, train, test)))


def further(distances: dict[str, Any], contexts: dict[str, Any]) -> dict[str, ev.Curves]:
    """The curves of a law that is known, and of tokens."""
    found = {}
    if distances:
        caption = "The loss at each noise level, beside the least there is"
        found["truth"] = ev.Curves(caption, distances, "loss", "log-SNR")
    if contexts:
        caption = "What a hidden pixel costs, by how many others are visible"
        found["context"] = ev.Curves(caption, contexts, "bits of a hidden pixel", "visible pixels")
    return found


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


def training_curve(workdir: Path) -> dict[str, ev.Curves]:
    """The training loss, where the run has kept it."""
    told = [(row.step, row.values["loss"]) for row in metrics.read(workdir / metrics.NAME) if "loss" in row.values]
    if not told:
        return {}
    steps, losses = np.array(told, float).T
    return {"loss": ev.Curves("Training loss", {"loss": (steps, losses)}, "training loss")}


if __name__ == "__main__":
    cli.run(main)
