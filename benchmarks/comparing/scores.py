"""What is measured of a trained run, one small file for each measurement, written whole: what is there stays.

python benchmarks/comparing/scores.py FOLDER FAMILY SEED
"""

import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

from comparing import flops
from comparing.families import Family, Point, guided, named
from comparing.places import REAL, bits_name, drawn_name, read, scores_in, stored, workdir_of
from configs.compare import Compare
from diffjax import evaluation
from diffjax import order as orders
from diffjax.commands import bits_estimator, evaluation_subject, image_sampler, likelihood_report
from diffjax.evaluation.classifiers import two_sample_accuracy
from diffjax.evaluation.paired import subsample_equally
from diffjax.evaluation.pixels import fractions_like, fractions_of
from diffjax.experiment import specs
from diffjax.experiment.build import ModelParts
from diffjax.experiment.config import Sample
from diffjax.experiment.loading import load
from diffjax.noise import Gaussian
from diffjax.order import Order, levels, ranks
from diffjax.utils.prng import fold, keys

ALL = 1_000_000  # more images than a split has
_RANKS, _CORRUPT = range(2)  # what a key is used for


def measures(compare: Compare, folder: Path, family: Family, seed: int) -> dict[Path, Callable[[], dict[str, Any]]]:
    """What there is to measure of a run, by the file that keeps it."""
    here, run = scores_in(folder, family.name, seed), workdir_of(folder, family.net or family.name, seed)
    every = compare.steps // compare.checkpoints
    at = cache(lambda step: evaluation_subject.open_subject(run, load(run, step=step), ALL))
    last = partial(at, compare.steps)
    found: dict[Path, Callable[[], dict[str, Any]]] = {}
    points = [(point, number) for point in family.points(compare) for number in compare.sample_seeds]
    points += [(point, number) for point in guided(family, compare) for number in compare.sample_seeds[:2]]
    for point, number in points:
        measure = partial(drawn, compare, point=point, seed=number)
        found[here / drawn_name(point.name, number)] = lambda measure=measure: measure(model=last())
    if not family.net:
        for step in range(every, compare.steps + 1, every):
            found[here / bits_name(step)] = lambda step=step: bits_of(compare, at(step))
    if family.context != "none":
        found[here / "context.json"] = lambda: context(compare, last(), family)
    found[here / REAL] = lambda: real(compare, last())
    if seed == compare.train_seeds[0]:  # the programs of the other seeds are the same
        found[here / "flops.json"] = lambda: counted(compare, last(), family)
    return found


def score(compare: Compare, folder: Path, family: Family, seed: int) -> None:
    """Measure of a run what has not been measured."""
    for path, measure in measures(compare, folder, family, seed).items():
        if not path.exists():
            begun = time.monotonic()
            stored(path, {**measure(), "seconds": time.monotonic() - begun})


def painter_of(model: evaluation_subject.EvaluationSubject, point: Point) -> image_sampler.ImageSampler:
    """What draws at this point of a curve."""
    order = specs.parse_value(orders, point.order, "order", Order) if point.order else model.order
    config = Sample(sampler=point.sampler, grid=point.grid, steps=point.steps, guidance=point.guidance)
    parts = ModelParts(model.noise, order, model.info.net)
    return image_sampler.build_image_sampler(model.denoise, parts, model.info.data, config)


def drawn(compare: Compare, model: evaluation_subject.EvaluationSubject, point: Point, seed: int) -> dict[str, Any]:
    """How good the pictures are that are drawn at this point."""
    painter = painter_of(model, point)
    cond, labels = model.balanced_conditions(compare.samples)
    images = image_sampler.sample_images(painter, jax.random.key(seed), compare.samples, compare.batch, cond)
    return {
        "evaluations": image_sampler.count_evaluations(painter)[0],
        **quality(images, labels, model.splits, model.info.data.levels),
    }


def quality(images: np.ndarray, labels: np.ndarray | None, splits: evaluation.Splits, levels: int) -> dict[str, float]:
    """Three of what `evaluation.measured` has, and the share of the variance of pixels that is there."""
    train, _, test = fractions_of(splits, levels)
    every = fractions_like(images, splits)
    ours, learnt = subsample_equally(every, train)
    kernels, known = evaluation.kernels_for(test.shape[1]), splits["train"][1]
    named = (
        {}
        if labels is None or known is None
        else {"accuracy": evaluation.label_accuracy(train, known, every, labels, kernels.accuracy_gamma)}
    )
    return {
        **named,
        "frechet_ratio": evaluation.frechet(ours, test) / evaluation.frechet(learnt, test),
        "two_sample": told_apart(ours, test),
        "spread": float(ours.var(axis=0).sum() / test.var(axis=0).sum()),
    }


def real(compare: Compare, model: evaluation_subject.EvaluationSubject) -> dict[str, float]:
    """What as many training images get in the two-sample test."""
    train, _, test = fractions_of(model.splits, model.info.data.levels)
    as_many = train[np.linspace(0, len(train) - 1, min(compare.samples, len(train))).round().astype(int)]
    return {"two_sample": told_apart(as_many, test)}


def told_apart(some: np.ndarray, test: np.ndarray) -> float:
    """The accuracy of the two-sample test as `evaluation.measured` has it."""
    kernels = evaluation.kernels_for(test.shape[1])
    return two_sample_accuracy(some, test, kernels.two_sample_gamma, kernels.two_sample_C, draws=3, seed=0)


def bits_of(compare: Compare, model: evaluation_subject.EvaluationSubject) -> dict[str, Any]:
    """Bits per dimension on test, exact or by the bound."""
    reader = bits_estimator.build_estimator(model.denoise, model.noise, model.order, model.info.net, model.info.data)
    options: dict[str, Any] = {"draws": compare.draws} if reader.method == "bound" else {}
    found, errors, _ = bits_estimator.estimate_bits(
        reader,
        jax.random.key(0),
        likelihood_report.evenly_spaced_images(model.real["test"], compare.bits_of),
        compare.batch,
        **options,
    )
    own = float(np.sqrt(np.sum(errors**2)) / len(errors))
    return {"bits": float(found.mean()), "error": own, "method": reader.method}


def context(compare: Compare, model: evaluation_subject.EvaluationSubject, family: Family) -> dict[str, Any]:
    """What a hidden pixel costs with all hidden, and with one hidden; of numbers see `known_before`."""
    order = specs.parse_value(orders, family.context, "order", Order) if family.context else model.order
    some = likelihood_report.evenly_spaced_images(model.real["test"], compare.bits_of)
    if isinstance(model.noise, Gaussian):
        return known_before(model, order, some)
    reader = bits_estimator.BitsEstimator(model.info.net, model.noise, order, model.denoise, model.info.data, "bound")
    _, found = bits_estimator.bits_by_context(reader, jax.random.key(0), some, len(some[0]), points=2)
    return {"hidden": float(found[0]), "known": float(found[1]), "fall": float(found[0] - found[1]), "of": "tokens"}


def known_before(
    model: evaluation_subject.EvaluationSubject, order: Order, some: evaluation_subject.Labelled
) -> dict[str, Any]:
    """Errors of pixels of which nothing is known, the last quarter of the order, without and with those before.

    The fall is ½ log2 of their ratio. Where all pixels share one level there is no such moment.
    """
    if order.width == 1:
        return {"of": "numbers, all at one level"}
    data, noise = model.info.data, model.noise
    x = data.encoding.encode(keys(1, len(some[0])), jnp.asarray(some[0]), data.levels)
    cond = None if some[1] is None or not model.info.conditional else jnp.asarray(some[1])
    root = keys(0, len(x))
    rank = ranks(order, fold(root, _RANKS), x.shape[1:-1], noise.channel_axes)
    before, whole = (levels(order, jnp.full(len(x), u), rank) for u in (order.width + (1 - order.width) / 4, 1.0))
    hidden, errors = before >= 1, []
    for t in (whole, before):
        x_t, _ = jax.vmap(noise.corrupt)(fold(root, _CORRUPT), x, t)
        miss = jnp.where(hidden, (model.denoise(x_t, t, cond) - x) ** 2, 0)
        errors.append(float(jnp.sum(miss) / jnp.sum(jnp.broadcast_to(hidden, miss.shape))))
    return {"hidden": errors[0], "known": errors[1], "fall": float(np.log2(errors[0] / errors[1]) / 2), "of": "numbers"}


def counted(compare: Compare, model: evaluation_subject.EvaluationSubject, family: Family) -> dict[str, Any]:
    """Operations of a training step, where one was made for this family, and of a picture at each point; parameters."""
    points = {point.name: flops.of_sample(painter_of(model, point)) for point in family.points(compare)}
    size = sum(leaf.size for leaf in jax.tree.leaves(model.denoise.variables))
    learnt = {} if family.net else {"training_step": flops.of_training_step(model.workdir)}
    return {**learnt, "points": points, "parameters": size}


def left(compare: Compare, folder: Path, family: Family, seed: int) -> Iterator[Path]:
    """The files that are not there."""
    return (path for path in measures(compare, folder, family, seed) if not path.exists())


def main(folder: str, family: str, seed: str) -> None:
    """Of one run, as the folder says."""
    compare = read(Path(folder))
    score(compare, Path(folder), named((family,))[0], int(seed))


if __name__ == "__main__":
    main(*sys.argv[1:])
