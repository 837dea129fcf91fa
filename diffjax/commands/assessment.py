"""The evaluation of a run: its parts in order, and the report of those that are done.

Samples come first, then what is cheap, then what evaluates the network again. Each part adds to the results, of which a
report can be made at any time after the samples.
"""

from collections.abc import Callable, Collection
from math import prod
from typing import NamedTuple

import jax
import numpy as np

from diffjax import evaluation as ev
from diffjax import reports
from diffjax.commands import diagnostic_curves, image_sampler, likelihood_report, model_diagnostics
from diffjax.commands.assessment_samples import draw_samples, show_picture
from diffjax.commands.assessment_state import Plan, Results
from diffjax.commands.codec_floor import measure_codec
from diffjax.commands.likelihood_report import Measurement
from diffjax.commands.part_progress import Cost, PartProgress
from diffjax.errors import UserError, tell
from diffjax.experiment import build
from diffjax.noise import Gaussian
from diffjax.parallel.batch_progress import Report

SECONDS_PER_UNIT = {"pairs": 5e-11}  # of a product in double precision, before any is timed
SCORES = ("samples", "scores", "features", "codec")  # the parts of --quick


class Part(NamedTuple):
    """One part: what adds it to the results, its cost, and whether it applies to a model."""

    add: Callable[[Plan, Results, Report], None]
    cost: Callable[[Plan], Cost]
    applies: Callable[[Plan], bool] = lambda _: True


def select_parts(without: Collection[str], quick: bool) -> list[str]:
    """The names of the parts that are not left out. Raises UserError for an unknown name."""
    for name in without:
        if name not in PARTS or name == "samples":
            names = ", ".join(part for part in PARTS if part != "samples")
            raise UserError(f"--without: no part {name!r}; choose from {names}")
    return [name for name in PARTS if name not in without and (not quick or name in SCORES)]


def assess(plan: Plan, names: Collection[str], results: Results) -> None:
    """Add every named part that applies to the model to the results; progress goes to stderr."""
    parts = {name: part for name, part in PARTS.items() if name in names and part.applies(plan)}
    progress = PartProgress({name: part.cost(plan) for name, part in parts.items()}, SECONDS_PER_UNIT)
    for name, part in parts.items():
        with progress.part(name):
            part.add(plan, results, progress.report)
        results.done.append(name)


def report_of(plan: Plan, results: Results) -> reports.Report:
    """The report of the results so far. Raises UserError before there are samples."""
    if results.samples is None:
        raise UserError("no samples were drawn; there is nothing to report")
    model = plan.model
    return reports.Report(
        f"Evaluation of {model.workdir.name}",
        results.scores,
        _provenance(plan, results),
        results.all_findings,
        results.likelihoods,
        diagnostic_curves.training_curves(model.workdir) | results.curves,
        results.pictures,
        results.codec,
    )


def _provenance(plan: Plan, results: Results) -> reports.Provenance:
    config = plan.sampler.config
    missing = [name for name, part in PARTS.items() if name not in results.done and part.applies(plan)]
    details = results.provenance | {
        "evaluations": image_sampler.describe_cost(plan.sampler),
        "grid": config.grid,
        "guidance": f"{config.guidance:g}",
        **plan.model.provenance,
        **({"left out": ", ".join(missing)} if missing else {}),
    }
    assert results.samples is not None
    count = len(results.samples)
    splits = plan.model.splits
    return reports.provenance(count, config.sampler, config.steps, plan.seed, splits, plan.kernels, **details)


def _scores(plan: Plan, results: Results, _: Report) -> None:
    results.scores += plan.model.scores(_images(results), results.labels, plan.kernels)


def _features(plan: Plan, results: Results, _: Report) -> None:
    """Six scores for each feature extractor; none where there are too few images for them."""
    images = _images(results)
    for features in plan.features:
        results.provenance[f"features {features.name}"] = ev.describe_features(features)
    if plan.enough_for_features(images):
        results.scores += plan.feature_scores(images)
    else:
        names = ", ".join(features.name for features in plan.features)
        tell(f"fewer than {ev.MIN_IMAGES} samples or real images: not compared in {names}")


def _pictures(plan: Plan, results: Results, _: Report) -> None:
    """The nearest training images of some samples, and the trajectory from noise to image."""
    images = _images(results)
    selection = images[:: max(1, len(images) // 12)][:12]
    nearest = ev.nearest_images(selection, plan.model.splits, plan.levels)[0]
    caption = "Samples above their nearest training images"
    show_picture(plan, results, caption, "nearest.png", reports.side_by_side(selection, nearest, 12))
    cond = jax.tree.map(lambda leaf: leaf[:: max(1, len(images) // 6)], results.cond)
    root = jax.random.key(plan.seed)
    frames, clock = image_sampler.sample_trajectory(plan.sampler, root, min(6, len(images)), cond)
    picture = reports.strip(*image_sampler.subsample_states(frames, clock), caption="clock")
    show_picture(plan, results, "From noise to image", "strip.png", picture)


def _findings(plan: Plan, results: Results, _: Report) -> None:
    results.findings = reports.find_problems(_images(results), plan.model.splits, plan.levels)


def _bits(plan: Plan, results: Results, report: Report) -> None:
    assert plan.estimator is not None, "bits are among the parts, and nothing measures them"
    measurement = Measurement(plan.seed, plan.likelihood_images, plan.batch, plan.likelihood_steps)
    results.likelihoods, curves = likelihood_report.compare_likelihoods(
        plan.estimator, plan.model.real, plan.model.distribution, measurement, report
    )
    results.curves |= curves


def _levels(plan: Plan, results: Results, _: Report) -> None:
    results.profile = model_diagnostics.profile_by_level(_held_out(plan, results), plan.model.denoise)
    results.curves |= diagnostic_curves.level_curves(results.profile)


def _training(plan: Plan, results: Results, _: Report) -> None:
    model = plan.model
    trained = build.build_loss_by_level(model.parts, model.info.config.train)
    weights = model_diagnostics.training_weights(_held_out(plan, results), model.denoise, trained)
    results.curves |= {} if weights is None else diagnostic_curves.training_weight_curves(weights)


def _steps(plan: Plan, results: Results, _: Report) -> None:
    results.curves |= diagnostic_curves.step_curves(*model_diagnostics.prediction_path(_held_out(plan, results)))


def _truth(plan: Plan, results: Results, _: Report) -> None:
    assert plan.model.distribution is not None
    assert results.states is not None
    samples = results.states, results.labels
    curves, summary = diagnostic_curves.compare_with_density(
        plan.model.distribution, plan.sampler, samples, plan.model.real["test"], plan.likelihood_images, plan.seed
    )
    results.curves |= curves
    results.provenance |= summary


def _images(results: Results) -> np.ndarray:
    assert results.images is not None
    return results.images


def _held_out(plan: Plan, results: Results) -> model_diagnostics.HeldOut:
    """Held-out examples, encoded once for all parts that need them."""
    if results.held_out is None:
        real = plan.model.real
        results.held_out = model_diagnostics.encode_held_out(
            plan.sampler,
            real["train"][0],
            likelihood_report.evenly_spaced_images(real["test"], plan.likelihood_images),
            plan.seed,
        )
    return results.held_out


def _of_images(plan: Plan) -> bool:
    return plan.model.info.data.of_images


def _comparable(plan: Plan) -> bool:
    """Whether there are images, and enough real ones to compare with."""
    return plan.model.comparable and _of_images(plan)


def _single_level(plan: Plan) -> bool:
    """Whether all positions of an image share one Gaussian noise level."""
    return plan.model.comparable and isinstance(plan.sampler.noise, Gaussian) and plan.sampler.order.width == 1


def _through_codec(plan: Plan) -> bool:
    return plan.model.comparable and plan.sampler.data.latents is not None


def _known_distribution(plan: Plan) -> bool:
    return plan.model.distribution is not None


def _net(evaluations: Callable[[Plan], float]) -> Callable[[Plan], Cost]:
    return lambda plan: Cost("net", evaluations(plan))


def _pairs(plan: Plan) -> Cost:
    """Inner products once, and some forty matrix decompositions for each of two sides."""
    train, test = (len(plan.model.splits[name][0]) for name in ("train", "test"))
    count = min(plan.count, train)
    dim = prod(plan.sampler.data.shape)
    rank = min(count, test, dim)
    return Cost("pairs", (count + test) ** 2 * dim + 84 * 4 * rank**2 * max(count, test))


def _nfe(plan: Plan) -> int:
    return sum(image_sampler.count_evaluations(plan.sampler))


PARTS = {
    "samples": Part(draw_samples, _net(lambda plan: plan.count * _nfe(plan))),
    "scores": Part(_scores, _pairs, _comparable),
    "features": Part(_features, _pairs, _comparable),
    "codec": Part(measure_codec, _pairs, _through_codec),
    "findings": Part(_findings, _pairs, _comparable),
    "pictures": Part(_pictures, _net(lambda plan: 6 * _nfe(plan)), _of_images),
    "bits": Part(_bits, _net(lambda plan: 2 * plan.likelihood_images * 64)),
    "levels": Part(_levels, _net(lambda plan: plan.likelihood_images * 17 * 2), _single_level),
    "training": Part(_training, _net(lambda plan: plan.likelihood_images * model_diagnostics.BINS * 3), _single_level),
    "steps": Part(
        _steps,
        _net(lambda plan: model_diagnostics.trajectories_for(plan.sampler.data.shape) * _nfe(plan) * 33),
        _single_level,
    ),
    "truth": Part(_truth, _net(lambda plan: plan.likelihood_images * 32), _known_distribution),
}
