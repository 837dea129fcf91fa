"""The evaluation of a run: its parts, their order, and the report of those that are done.

Samples come first, then what is cheap, then what asks the net again. Each part adds to what is found; a report can be
made of it at any time after the samples.
"""

import sys
from collections.abc import Callable, Collection
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np

from diffjax import evaluation as ev
from diffjax import reports
from diffjax.commands import image_sampler, likelihood_report, logged_curves, model_diagnostics
from diffjax.commands.assessment_state import Plan, Results
from diffjax.commands.part_progress import Cost, PartProgress
from diffjax.diagnostics import level_profile
from diffjax.errors import UserError
from diffjax.noise import Gaussian

SECONDS_A_UNIT = {"pairs": 5e-11}  # of a product in double precision, before any is timed
SCORES = ("samples", "scores", "features")  # what `--quick` keeps
Report = Callable[[int, int], object]


class Part(NamedTuple):
    """One part: what it adds, what it costs, and whether there is such a thing of a model."""

    add: Callable[[Plan, Results, Report], None]
    cost: Callable[[Plan], Cost]
    applies: Callable[[Plan], bool] = lambda _: True


def select_parts(without: Collection[str], quick: bool) -> list[str]:
    """The names of the parts that are not left out. Raises UserError for a name of none."""
    for name in without:
        if name not in PARTS or name == "samples":
            names = ", ".join(part for part in PARTS if part != "samples")
            raise UserError(f"--without: no part {name!r}; choose from {names}")
    return [name for name in PARTS if name not in without and (not quick or name in SCORES)]


def assess(plan: Plan, names: Collection[str], results: Results) -> None:
    """Add every part of those names that there is of the model, telling on stderr how far it is."""
    parts = {name: part for name, part in PARTS.items() if name in names and part.applies(plan)}
    progress = PartProgress({name: part.cost(plan) for name, part in parts.items()}, SECONDS_A_UNIT)
    for name, part in parts.items():
        with progress.part(name):
            part.add(plan, results, progress.report)
        results.done.append(name)


def report_of(plan: Plan, results: Results) -> reports.Report:
    """Of all that is found. Raises UserError before there are samples."""
    if results.images is None:
        raise UserError("no samples were drawn, so there is nothing to report")
    model, settings, painter = plan.model, plan.settings, plan.sampler
    missing = [name for name, part in PARTS.items() if name not in results.done and part.applies(plan)]
    provenance = results.provenance | {
        "evaluations": image_sampler.describe_cost(painter),
        "grid": settings["grid"],
        "guidance": f"{settings['guidance']:g}",
        **model.provenance,
        **({"left out": ", ".join(missing)} if missing else {}),
    }
    drawn = (len(results.images), settings["sampler"], settings["steps"], plan.seed)
    alarms = [] if results.judged.profile is None else level_profile.describe_alarms(results.judged.profile)
    return reports.Report(
        f"Evaluation of {model.workdir.name}",
        results.scores,
        reports.provenance(*drawn, model.splits, plan.kernels, **provenance),
        reports.Findings([*alarms, *results.findings.alarms], results.findings.flags)
        if has_findings(results)
        else None,
        results.likelihoods,
        logged_curves.training_curves(model.workdir)
        | model_diagnostics.diagnostic_curves(results.judged)
        | results.curves,
        results.pictures,
    )


def has_findings(results: Results) -> bool:
    """Whether anything was looked for that may stand out."""
    return bool({"findings", "levels"} & {*results.done})


def _samples(plan: Plan, results: Results, report: Report) -> None:
    results.cond, results.labels = plan.model.balanced_conditions(plan.count)
    how = (plan.sampler, jax.random.key(plan.seed), plan.count, plan.batch, results.cond, report)
    if plan.model.law is None:
        images = image_sampler.sample_images(*how)
    else:
        results.states = image_sampler.sample_states(*how)
        images = image_sampler.to_bytes(results.states, plan.sampler.facts)
    picture = reports.grid(images[:100], 10)
    if results.labels is not None:
        picture = reports.labelled_grid(images, results.labels, plan.sampler.facts.class_names, 12)
    _show(plan, results, "Samples", "grid.png", picture)
    results.images = images


def _scores(plan: Plan, results: Results, _: Report) -> None:
    results.scores += plan.model.scores(_of(results), results.labels, plan.kernels)


def _features(plan: Plan, results: Results, _: Report) -> None:
    """Six measures in each of the features; none where there are too few images for them."""
    images, splits = _of(results), plan.model.splits
    train, test = (ev.as_bytes(splits[name][0], plan.levels) for name in ("train", "test"))
    for features in plan.features:
        results.provenance[f"features {features.name}"] = ev.describe_features(features)
        if min(map(len, (images, train, test))) < ev.MIN_IMAGES:
            few = f"fewer than {ev.MIN_IMAGES} images of a kind are not compared in {features.name}"
            print(f"{few}, and have no intervals", file=sys.stderr)
        else:
            parts = (ev.extract_features(features, [part]) for part in (images, train, test))
            results.scores += ev.feature_scores(features.name, *parts)


def _pictures(plan: Plan, results: Results, _: Report) -> None:
    """The nearest training images beside some samples, and the way from noise."""
    images = _of(results)
    few = images[:: max(1, len(images) // 12)][:12]
    beside = ev.nearest_images(few, plan.model.splits, plan.levels)[0]
    _show(
        plan,
        results,
        "Samples above their nearest training images",
        "nearest.png",
        reports.side_by_side(few, beside, 12),
    )
    cond = jax.tree.map(lambda leaf: leaf[:: max(1, len(images) // 6)], results.cond)
    way = image_sampler.sample_trajectory(plan.sampler, jax.random.key(plan.seed), min(6, len(images)), cond)
    _show(
        plan,
        results,
        "From noise to image",
        "strip.png",
        reports.strip(*image_sampler.subsample_states(*way), caption="clock"),
    )


def _findings(plan: Plan, results: Results, _: Report) -> None:
    results.findings = reports.find_problems(_of(results), plan.model.splits, plan.levels)


def _bits(plan: Plan, results: Results, report: Report) -> None:
    assert plan.reader is not None, "bits are among the parts, and nothing measures them"
    how = (plan.model.real, plan.model.law, plan.seed, plan.bits_of, plan.batch, plan.likelihood_steps, report)
    results.likelihoods, curves = likelihood_report.compare_likelihoods(plan.reader, *how)
    results.curves |= curves


def _levels(plan: Plan, results: Results, _: Report) -> None:
    held_out = _held_out(plan, results)
    results.judged = results.judged._replace(profile=model_diagnostics.profile_by_level(held_out, plan.model.denoise))


def _training(plan: Plan, results: Results, _: Report) -> None:
    held_out = _held_out(plan, results)
    results.judged = results.judged._replace(
        training_weights=model_diagnostics.training_weights(held_out, plan.model.denoise, plan.model.training_loss)
    )


def _steps(plan: Plan, results: Results, _: Report) -> None:
    belief, local = model_diagnostics.prediction_path(_held_out(plan, results))
    results.judged = results.judged._replace(prediction_path=belief, local_errors=local)


def _truth(plan: Plan, results: Results, _: Report) -> None:
    assert plan.model.law is not None
    assert results.states is not None
    how = (plan.sampler, results.states, results.labels, plan.model.real["test"], plan.bits_of, plan.seed)
    curves, summary = model_diagnostics.compare_with_density(plan.model.law, *how)
    results.curves |= curves
    results.provenance |= summary


def _of(results: Results) -> np.ndarray:
    assert results.images is not None
    return results.images


def _held_out(plan: Plan, results: Results) -> model_diagnostics.HeldOut:
    """Encoded once, for all parts that look at the net by level or by step."""
    if results.held_out is None:
        real = plan.model.real
        results.held_out = model_diagnostics.encode_held_out(
            plan.sampler,
            real["train"][0],
            likelihood_report.evenly_spaced_images(real["test"], plan.bits_of),
            plan.seed,
        )
    assert results.held_out is not None
    return results.held_out


def _show(plan: Plan, results: Results, caption: str, name: str, picture: Any) -> None:
    reports.write_png(plan.out / name, picture)
    results.pictures[caption] = plan.out / name


def _comparable(plan: Plan) -> bool:
    """Whether there are real images enough to compare with."""
    return plan.model.comparable


def _one_level(plan: Plan) -> bool:
    return plan.model.comparable and isinstance(plan.sampler.noise, Gaussian) and plan.sampler.order.width == 1


def _net(evaluations: Callable[[Plan], float]) -> Callable[[Plan], Cost]:
    return lambda plan: Cost("net", evaluations(plan))


def _pairs(plan: Plan) -> Cost:
    """Inner products once, and some forty decompositions for either of two sides."""
    train, test = (len(plan.model.splits[name][0]) for name in ("train", "test"))
    count, dim = min(plan.count, train), prod(plan.sampler.facts.shape)
    rank = min(count, test, dim)
    return Cost("pairs", (count + test) ** 2 * dim + 84 * 4 * rank**2 * max(count, test))


def _nfe(plan: Plan) -> int:
    return sum(image_sampler.count_evaluations(plan.sampler))


PARTS = {
    "samples": Part(_samples, _net(lambda plan: plan.count * _nfe(plan))),
    "scores": Part(_scores, _pairs, _comparable),
    "features": Part(_features, _pairs, _comparable),
    "findings": Part(_findings, _pairs, _comparable),
    "pictures": Part(_pictures, _net(lambda plan: 6 * _nfe(plan))),
    "bits": Part(_bits, _net(lambda plan: 2 * plan.bits_of * 64)),
    "levels": Part(_levels, _net(lambda plan: plan.bits_of * 17 * 2), _one_level),
    "training": Part(_training, _net(lambda plan: plan.bits_of * model_diagnostics.BINS * 3), _one_level),
    "steps": Part(
        _steps,
        _net(lambda plan: model_diagnostics.trajectories_for(plan.sampler.facts.shape) * _nfe(plan) * 33),
        _one_level,
    ),
    "truth": Part(_truth, _net(lambda plan: plan.bits_of * 32), lambda plan: plan.model.law is not None),
}
