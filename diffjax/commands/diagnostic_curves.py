"""Logged losses and diagnostics of a model as curves, and its distance from a known distribution of the data."""

from pathlib import Path

import numpy as np

from diffjax.commands.evaluation_subject import Labelled
from diffjax.commands.image_sampler import ImageSampler
from diffjax.commands.likelihood_report import evenly_spaced_images
from diffjax.commands.model_diagnostics import BINS, PredictionPath, Real, TrainingWeights
from diffjax.diagnostics import known_density
from diffjax.diagnostics.known_density import DensityComparison
from diffjax.diagnostics.level_profile import NoiseLevelProfile
from diffjax.distributions import Mixture
from diffjax.reports import Curves
from diffjax.training import metrics_file
from diffjax.training.validation import NAME
from diffjax.utils.prng import keys

Line = tuple[np.ndarray, np.ndarray]
BAND = f"{NAME}/"


def compare_with_density(
    distribution: Mixture, sampler: ImageSampler, samples: Labelled, test: Labelled, count: int, seed: int
) -> tuple[dict[str, Curves], dict[str, str]]:
    """The distance of a model from the known distribution of the data: losses by log-SNR, and a summary as text.

    `samples` are on the scale of the model, with their labels. The denoiser is measured on `count` test images; the
    samples are compared with all of them.
    """
    x, labels = samples
    if labels is None:
        test = test[0], None
    images, image_labels = evenly_spaced_images(test, count)
    image_keys = keys(seed, len(images))
    gap = known_density.denoiser_gap(image_keys, sampler.noise, sampler.denoise, distribution, images, image_labels)
    comparison = known_density.compare_with_density(distribution, x, test[0], labels, test[1])
    exact = gap.exact_error.mean(axis=0)
    excess = gap.excess.mean(axis=0)
    lines = {"this model": (gap.log_snr, exact + excess), "exact denoiser": (gap.log_snr, exact)}
    nats, error = gap.total
    bits = f"{nats / images[0].size / np.log(2):.4f} bits per dimension"
    summary = {
        "bound minus entropy": f"{nats:.4g} ± {error:.2g} nats ({bits}), {len(images)} test images",
        **_describe_comparison(comparison),
    }
    caption = "Loss at each noise level, beside that of the exact denoiser"
    return {"truth": Curves(caption, lines, "loss", "log-SNR")}, summary


def _describe_comparison(comparison: DensityComparison) -> dict[str, str]:
    density, spread = comparison.log_density
    real, real_spread = comparison.real_log_density
    distances = comparison.component_distance, comparison.real_component_distance
    lines = {
        "log density of samples": f"{density:.1f} ± {spread:.1f} nats, of test {real:.1f} ± {real_spread:.1f}, "
        f"z {comparison.z:+.1f}",
        "total variation of component frequencies": "{:.3f}, of test {:.3f}".format(*distances),
    }
    if comparison.accuracy is not None:
        lines["label accuracy by density"] = f"{comparison.accuracy:.2%}, of test {comparison.real_accuracy:.2%}"
    return lines


def level_curves(profile: NoiseLevelProfile) -> dict[str, Curves]:
    """Errors of the denoiser and changes of its predictions over noise levels."""
    errors = {"this model": profile.error, "best linear denoiser": profile.linear}
    changes = {"change of predictions": profile.change[1:], "fall of the error": (profile.change - profile.excess)[1:]}
    caption = f"Error of x0 at each noise level (linear denoiser: {profile.linear_from})"
    agreement = "Change of predictions between noise levels; in a consistent model it equals the fall of the error"
    return {
        "levels": Curves(caption, _lines_over(profile.log_snr, errors), "error of x0", "log-SNR", "log"),
        "agreement": Curves(agreement, _lines_over(profile.log_snr[1:], changes), "per value of x0", "log-SNR"),
    }


def step_curves(path: PredictionPath, local_errors: Real | None) -> dict[str, Curves]:
    """Predictions at each step of the sampler, and the local error of each step where it is known."""
    steps = np.arange(1.0, len(path.mean) + 1)
    mean, deviation = path.of_data
    values = {
        "mean": path.mean,
        "mean of data": mean,
        "standard deviation": path.spread,
        "standard deviation of data": deviation,
        "share outside of the data's range": path.outside,
    }
    lines = {name: (steps, np.broadcast_to(value, steps.shape)) for name, value in values.items()}
    curves = {"belief": Curves("Predicted x0 at each step of the sampler", lines, "predicted x0", "sampling step")}
    if local_errors is not None:
        caption = "Local error of each step of the sampler, against a fine solution from the same state"
        error_lines = {"local error": (steps, local_errors)}
        curves["local"] = Curves(caption, error_lines, "error of x", "sampling step")
    return curves


def training_weight_curves(weights: TrainingWeights) -> dict[str, Curves]:
    """How the training loss weighs noise levels."""
    loss = np.array([share.loss for share in weights.shares])
    gradient = np.array([share.gradient for share in weights.shares])
    shares = {"of the loss": loss / loss.sum(), "of the gradient norm": gradient / gradient.sum()}
    caption = f"Share of {BINS} equally likely bins of noise levels in the training loss and its gradient"
    weight_caption = "Training weight of the error of x0, per unit of log-SNR"
    lines = _lines_over(weights.log_snr, {"weight": weights.weight})
    return {
        "shares": Curves(caption, _lines_over(weights.log_snr, shares), "share", "log-SNR"),
        "weight": Curves(weight_caption, lines, "weight", "log-SNR", "log"),
    }


def _lines_over(x: np.ndarray, lines: dict[str, np.ndarray]) -> dict[str, Line]:
    return {name: (np.asarray(x, float), np.asarray(y, float)) for name, y in lines.items()}


def training_curves(workdir: Path) -> dict[str, Curves]:
    """The training loss, and the validation loss by noise level, where the run has logged them."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in metrics_file.read(workdir / metrics_file.NAME):
        for name, value in row.values.items():
            lines.setdefault(name, []).append((row.step, value))
    series = {name: (steps, values) for name, line in lines.items() for steps, values in [np.array(line, float).T]}
    losses = {name: series[key] for name, key in (("training", "loss"), ("validation", NAME)) if key in series}
    bands = {f"level {name.removeprefix(BAND)}": series[name] for name in sorted(series) if name.startswith(BAND)}
    curves = {"loss": Curves("Loss over training", losses, "loss")} if losses else {}
    return curves | ({"bands": Curves("Validation loss by noise level", bands, "loss", scale="log")} if bands else {})
