"""The first part of an evaluation: the samples, and pictures of them in its folder."""

import jax
import numpy as np
from jaxtyping import UInt8

from diffjax import reports
from diffjax.commands import image_sampler
from diffjax.commands.assessment_state import Plan, Results
from diffjax.parallel.batch_progress import BatchProgress, Report

Picture = UInt8[np.ndarray, "h w c"]


def draw_samples(plan: Plan, results: Results, report: Report) -> None:
    """Add the samples to the results: images, or other arrays on the scale of the model."""
    results.cond, results.labels = plan.model.balanced_conditions(plan.count)
    data = plan.sampler.data
    with BatchProgress(plan.count, report) as progress:
        arguments = (plan.sampler, jax.random.key(plan.seed), plan.count, plan.batch, results.cond, progress)
        if plan.model.distribution is None and data.of_images:
            results.images = image_sampler.sample_images(*arguments)
        else:
            results.states = image_sampler.sample_states(*arguments)
    if not data.of_images:
        _show_signals(plan, results)
        return
    if results.states is not None:
        results.images = image_sampler.to_bytes(results.states, data)
    assert results.images is not None
    picture = reports.grid(results.images[:100], 10)
    if results.labels is not None:
        picture = reports.labelled_grid(results.images, results.labels, data.class_names, 12)
    show_picture(plan, results, "Samples", "grid.png", picture)


def show_picture(plan: Plan, results: Results, caption: str, name: str, picture: Picture) -> None:
    """Write a picture into the folder of the evaluation, and add it to the report."""
    reports.write_png(plan.out / name, picture)
    results.pictures[caption] = plan.out / name


def _show_signals(plan: Plan, results: Results) -> None:
    """A plot of samples that are signals; of other arrays there is no picture."""
    if plan.sampler.data.of_signals and results.states is not None:
        path = plan.out / "signals.png"
        reports.plot_signals(path, np.asarray(results.states, float))
        results.pictures["Samples"] = path
