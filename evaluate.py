"""Score a trained model: python evaluate.py --workdir runs/digits

Draws as many pictures of each class, prints measures beside what real held-out images get, with intervals, and the bits
per dimension of train and test, and writes report.html, one file with all tables and pictures, into --out, and the
numbers as report.json. Or score images from files, of any model, by images from files; or lay runs that have been
scored side by side (see docs/evaluation.md):

    python evaluate.py --samples out/samples.npz --reference pictures/
    python evaluate.py --compare runs/a runs/b

Or draw with many settings of the sampler, and see what each costs and gets:

    python evaluate.py --workdir runs/digits --sweep sampler=ddim,heun --sweep steps=5,10,20
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from diffjax import bits, cli, draw, inspection, judge, subject, sweep
from diffjax import evaluation as ev
from diffjax.errors import UserError
from diffjax.files import check_writable

cli.sampling_flags()
flags.adopt_module_key_flags(cli)  # so that --help lists them
OUT = flags.DEFINE_string("out", None, "Folder for the report; by default WORKDIR/evaluation.")
NUM = flags.DEFINE_integer("num", 1_440, "How many pictures, as many of each class.", lower_bound=3)
MOST = flags.DEFINE_integer("most", 5_000, "How many real images of each split to compare with.", lower_bound=3)
SPLIT = flags.DEFINE_string("split", "test", "Split of the real images that samples and bits are compared with.")
LIKELIHOOD = flags.DEFINE_enum(
    "likelihood", "fitting", ["fitting", *bits.METHODS, "none"], "How bits per dimension are measured, or none."
)
LIKELIHOOD_STEPS = flags.DEFINE_integer("likelihood_steps", None, "Of the ODE; 32 by default.", lower_bound=1)
BITS_OF = flags.DEFINE_integer("bits_of", 360, "Of how many images of each split.", lower_bound=2)
CLASSIFIER = flags.DEFINE_boolean("classifier", False, "Also compare in what a classifier of the classes says.")
INCEPTION = flags.DEFINE_string("inception", None, "Also in those of Inception-v3, of this file of FID's weights.")
RESIZE = flags.DEFINE_string("resize", "tensorflow_1", "How images come to its size: tensorflow_1 or antialiased.")
EMBEDDINGS = flags.DEFINE_multi_string("embeddings", [], "Also in features of these files; see docs/evaluation.md.")

COMPARE = flags.DEFINE_multi_string("compare", [], "Lay the reports of two or more runs side by side: RUN RUN …")
SWEEP = flags.DEFINE_multi_string(
    "sweep", [], "Vary settings of the sampler: names, or name=value,value,…, of sampler, grid, steps and guidance."
)
APART = ("compare", "samples", "classifier", "inception", "embeddings", "likelihood", "likelihood_steps", "bits_of")
SAMPLES = flags.DEFINE_string("samples", None, "Score these images in place of a run: an npz file or a folder.")
REFERENCE = flags.DEFINE_string("reference", None, "By these: an npz file, of images or of moments, or a folder.")
CACHE = flags.DEFINE_string(
    "cache", "~/.cache/diffjax/references", "Where moments of references are kept; '': nowhere."
)
OF_RUNS = (
    *("workdir", "guidance", "guidance_when", "guidance_rule", "guidance_form", "guidance_interval", "sampler", "grid"),
    *("steps", "seed", "ema", "step", "num", "split", "likelihood", "likelihood_steps", "bits_of"),
)


def main() -> None:
    """One of the jobs, by the flags that are given."""
    if REFERENCE.present and not SAMPLES.present:
        raise UserError("--reference: is for --samples; name those too, or leave it out")
    if COMPARE.present and SAMPLES.present:
        raise UserError("--samples: scores files, and --compare lays reports side by side; give one of them")
    if SWEEP.present:
        over_settings()
    elif COMPARE.present:
        compare()
    elif SAMPLES.present:
        judge_files()
    else:
        evaluate()


def evaluate() -> None:
    """Score a run. Everything that can be known is checked before anything is written or compiled."""
    (workdir, out), asked = folders(), flags.FLAGS
    model = subject.opened(workdir, asked.ema, cli.step(), MOST.value, SPLIT.value)
    settings = cli.chosen(model.info.config["sample"])
    painter, facts, (cond, labels) = model.painter(settings), model.info.facts, model.asked(NUM.value)
    compared = compared_in(model.splits, facts.levels) if model.comparable else []
    likelihoods, curves = read(model)
    root = jax.random.key(asked.seed)
    if model.law is None:
        images, told = draw.images(painter, root, NUM.value, asked.batch, cond), {}
    else:
        x = draw.states(painter, root, NUM.value, asked.batch, cond)
        distances, told = judge.held_to(model.law, painter, x, labels, model.real["test"], BITS_OF.value, asked.seed)
        images, curves = draw.as_bytes(x, facts), curves | distances
    kernels = ev.kernels_for(int(np.prod(facts.shape)))
    told |= {
        "evaluations": draw.spent(painter),
        "grid": settings["grid"],
        "guidance": f"{settings['guidance']:g}",
        **model.told,
    }
    scores = model.scores(images, labels, kernels)
    for features in compared:
        scores += in_features(features, images, model.splits, facts.levels)
        told[f"features {features.name}"] = ev.described(features)
    drawn = (len(images), settings["sampler"], settings["steps"], asked.seed)
    train, test = model.real["train"][0], bits.some(model.real["test"], BITS_OF.value)
    looked_at = (painter, model.denoise, train, test, asked.seed, model.learnt_by)
    judged = judge.judged(*looked_at) if model.comparable else None
    alarms = [] if judged is None else inspection.alarms(judged.profile)
    report = ev.Report(
        f"Evaluation of {workdir.name}",
        scores,
        ev.provenance(*drawn, model.splits, kernels, **told),
        ev.findings_of(images, model.splits, facts.levels, alarms) if model.comparable else None,
        likelihoods,
        judge.training_curves(workdir) | ({} if judged is None else judge.curves(judged)) | curves,
        write_pictures(out, images, (cond, labels), model.splits, painter),
    )
    publish(out, report)


def publish(out: Path, report: ev.Report) -> None:
    """The report, on the terminal and as files."""
    print(ev.table(report))
    for alarm in report.findings.alarms if report.findings else ():
        print(f"look here: {alarm}")
    told_of = ev.write_report(out, report)
    print(f"the report is {told_of}, one file; its pictures are beside it too", file=sys.stderr)


def folders() -> tuple[Path, Path]:
    """The run, and where its report goes."""
    workdir = cli.folder("workdir")
    if workdir.is_file() and not OUT.value:
        raise UserError(f"--out: give a folder for the report on {workdir}")
    out = Path(OUT.value) if OUT.value else workdir / "evaluation"
    check_writable(out, "--out")
    return workdir, out


def over_settings() -> None:
    """Quality over the settings that are varied; what an earlier call has drawn is not drawn again."""
    asked, lists = flags.FLAGS, sweep.lists_of(SWEEP.value)
    for name in (*APART, *lists):
        if asked[name].present:
            raise UserError(f"--{name}: does not go with --sweep {','.join(lists)}; leave one of them out")
    workdir, out = folders()
    model = subject.opened(workdir, asked.ema, cli.step(), MOST.value, SPLIT.value)
    if not model.comparable:
        raise UserError(f"--sweep: compares with real images; {model.reference}")
    others, keys = cli.chosen(model.info.config["sample"]), {"seed": asked.seed, "batch": asked.batch}
    found = sweep.swept(model, lists, others, out, count=NUM.value, **keys)
    print(ev.sweep_table(found))
    print(f"the sweep is {ev.write_sweep(out, found)}, one file; its plots are beside it too", file=sys.stderr)


def judge_files() -> None:
    """Score images from files by images from files. Everything is checked before anything is computed."""
    for name in OF_RUNS:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name}: is of runs, and --samples scores files; leave one of them out")
    if not (SAMPLES.value and REFERENCE.value):
        raise UserError("--samples: name images, and what they are judged by as --reference")
    out = Path(OUT.value) if OUT.value else ev.beside(SAMPLES.value)
    cache = Path(CACHE.value).expanduser() if CACHE.value else None
    check_writable(out, "--out")
    if cache is not None:
        check_writable(cache, "--cache")
    sides = ev.open_sides(SAMPLES.value, REFERENCE.value, MOST.value, out)
    if CLASSIFIER.value and sides.real["train"][1] is None:
        raise UserError(f"--classifier: {REFERENCE.value} has no labels (arr_1) of two classes or more; leave it out")
    features = compared_in(sides.real, ev.LEVELS, sides.sources)
    publish(out, ev.report_of(sides, features, out, cache, partial(print, file=sys.stderr)))


def compare() -> None:
    """Which differences between the reports of runs are beyond noise."""
    if flags.FLAGS.workdir:
        raise UserError("--compare: takes no --workdir; give the runs themselves after it")
    folders = [Path(name) for name in COMPARE.value]
    reports = [ev.read_numbers(folder) for folder in folders]
    rows = ev.compare(reports)
    out = Path(OUT.value) if OUT.value else folders[0] / "evaluation"
    check_writable(out, "--out")
    print(ev.compared_table(reports, rows))
    print(f"the comparison is {ev.write_comparison(out, reports, rows)}, one file", file=sys.stderr)


def read(model: subject.Subject) -> tuple[ev.Likelihoods | None, dict[str, ev.Curves]]:
    """Bits per dimension of some images of train and of test, as asked for."""
    if LIKELIHOOD.value == "none":
        return None, {}
    method = "" if LIKELIHOOD.value == "fitting" else LIKELIHOOD.value
    reader = bits.reader(model.denoise, model.noise, model.order, model.info.net, model.info.facts, method)
    counts = (BITS_OF.value, flags.FLAGS.batch, LIKELIHOOD_STEPS.value)
    return bits.likelihoods(reader, model.real, model.law, flags.FLAGS.seed, *counts)


def compared_in(splits: ev.Splits, levels: int, sources: Sequence[ev.Source] = ()) -> list[ev.Features]:
    """The features that are asked for, in which samples and real images are compared."""
    images, labels = splits["train"]
    train = ev.as_bytes(images, levels)
    found = [ev.pixel_features(train.shape[1:])]
    if CLASSIFIER.value:
        if labels is None:
            raise UserError("--classifier: the data set has no classes; leave it out")
        found += [ev.classifier_features(train, labels)]
    if EMBEDDINGS.value:
        found += [ev.precomputed(*EMBEDDINGS.value, sources=sources)]
    if INCEPTION.value:
        from diffjax.evaluation.inception_weights import inception_features  # needs Flax, and a second

        found += [inception_features(INCEPTION.value, RESIZE.value)]
    return found


def in_features(features: ev.Features, images: np.ndarray, splits: ev.Splits, levels: int) -> list[ev.Measured]:
    """Six measures in those features; none where there are too few images for them."""
    train, test = (ev.as_bytes(splits[name][0], levels) for name in ("train", "test"))
    if min(map(len, (images, train, test))) < ev.LEAST:
        told = f"fewer than {ev.LEAST} images of a kind are not compared in {features.name}, and have no intervals"
        print(told, file=sys.stderr)
        return []
    return ev.measured_in(features.name, *(ev.extracted(features, [part]) for part in (images, train, test)))


def write_pictures(
    out: Path, images: np.ndarray, asked: tuple[Any, Any], splits: Any, painter: draw.Painter
) -> dict[str, Path]:
    """Samples by class, the nearest training images beside some, and the way from noise."""
    some = images[:: max(1, len(images) // 12)][:12]
    beside, _ = ev.nearest_images(some, splits, painter.facts.levels)
    cond, labels = asked
    few = jax.tree.map(lambda leaf: leaf[:: max(1, len(images) // 6)], cond)
    way = draw.trajectory(painter, jax.random.key(flags.FLAGS.seed), min(6, len(images)), few)
    shown = ev.grid(images[:100], 10)
    if labels is not None:
        shown = ev.labelled_grid(images, labels, painter.facts.class_names, 12)
    made = {
        "Samples": ("grid.png", shown),
        "Samples above their nearest training images": ("nearest.png", ev.side_by_side(some, beside, 12)),
        "From noise to image": ("strip.png", ev.strip(*draw.thinned(*way), caption="clock")),
    }
    for name, picture in made.values():
        ev.write_png(out / name, picture)
    return {caption: out / name for caption, (name, _) in made.items()}


if __name__ == "__main__":
    cli.run(main, more=COMPARE)
