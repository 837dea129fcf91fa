"""Bits per dimension of a trained model beside those of baselines, or of the known distribution of the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import jax
import numpy as np

from diffjax.commands.bits_estimator import (
    BitsEstimator,
    bits_by_context,
    describe_method,
    estimate_bits,
    mean_accuracy,
)
from diffjax.commands.evaluation_subject import Labelled
from diffjax.conditions import has_label
from diffjax.diagnostics import known_density
from diffjax.distributions import Mixture
from diffjax.errors import UserError
from diffjax.evaluation import gaussian_per_class, independent_pixels
from diffjax.likelihood.bits import BitsPerDim
from diffjax.parallel.batch_progress import FIRST_IMAGES, BatchProgress, Report
from diffjax.reports import Curves, Likelihoods

BASELINES = {"a Gaussian per class": gaussian_per_class, "independent pixels per class": independent_pixels}

Rows = dict[str, tuple[np.ndarray, np.ndarray]]  # bits of each image of train and of test


@dataclass(frozen=True)
class Measurement:
    """How bits are measured: seed, images per split, images per batch, and steps of the ODE (None: 32)."""

    seed: int
    count: int
    batch: int
    steps: int | None = None

    @property
    def options(self) -> dict[str, int]:
        """Options of `likelihood.bits_per_dim` that differ from the defaults."""
        return {} if self.steps is None else {"steps": self.steps}


def compare_likelihoods(
    estimator: BitsEstimator,
    real: Mapping[str, Labelled],
    distribution: Mixture | None,
    measurement: Measurement,
    report: Report | None = None,
) -> tuple[Likelihoods, dict[str, Curves]]:
    """Bits per dimension of images of train and test: of the model, and of two baselines or the known distribution.

    For a model of tokens that masks any of them, also a curve of the bits of a masked one over the visible ones. Raises
    UserError for steps of another method than the ODE.
    """
    check_steps(estimator, measurement.steps)
    train, test = (evenly_spaced_images(real[name], measurement.count) for name in ("train", "test"))
    train_bits, measured = _measure(estimator, train, test, measurement, report)
    rows: Rows = {"this model": (train_bits, np.asarray(measured.bits))}
    labelled = has_label(estimator.net.null_cond) and test[1] is not None
    if distribution is None:
        rows |= _baseline_rows(estimator, real["train"], [train, test])
    else:
        rows |= _known_rows(distribution, [train, test], rows["this model"], labelled)
    method = describe_method(estimator, measured, measurement.options, labelled)
    description = f"{method}; {len(train[0])} images of train, {len(test[0])} of test"
    curves = _context_curves(estimator, {"train": train, "test": test}, measurement)
    return Likelihoods(rows, description, mean_accuracy(measured)), curves


def check_steps(estimator: BitsEstimator, steps: int | None) -> None:
    """Raise UserError for steps of another method than the ODE."""
    if steps is not None and estimator.method != "ode":
        raise UserError(f"--likelihood_steps: needs --likelihood=ode, not {estimator.method}; leave it out")


def default_image_count(shape: tuple[int, ...]) -> int:
    """Images per split whose bits are measured by default: 184,320 values in all, but 16 to 360 images."""
    return max(16, min(360, 360 * 512 // prod(shape)))


def evenly_spaced_images(split: Labelled, count: int) -> Labelled:
    """At most `count` evenly spaced images of a split, with their labels."""
    images, labels = split
    rows = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    return images[rows], None if labels is None else labels[rows]


def _measure(
    estimator: BitsEstimator, train: Labelled, test: Labelled, measurement: Measurement, report: Report | None
) -> tuple[np.ndarray, BitsPerDim]:
    """The bits of train, and those of test with their accuracy."""
    root = jax.random.key(measurement.seed)
    unchecked = {"check": 0} if estimator.method == "ode" else {}
    options = {**measurement.options, **unchecked}
    with BatchProgress(len(train[0]) + len(test[0]), report, wait=FIRST_IMAGES) as progress:
        of_train = estimate_bits(estimator, root, train, measurement.batch, progress, **options)
        of_test = estimate_bits(estimator, root, test, measurement.batch, progress, **measurement.options)
    return np.asarray(of_train.bits), of_test


def _baseline_rows(estimator: BitsEstimator, train: Labelled, parts: list[Labelled]) -> Rows:
    """The bits of models of levels in closed form; none where a single image has no covariance."""
    if len(train[0]) < 2 or estimator.data.encoding.real:
        return {}
    rows: Rows = {}
    for name, baseline in BASELINES.items():
        train_bits, test_bits = baseline(train, parts, estimator.data.levels)
        rows[name] = train_bits, test_bits
    return rows


def _known_rows(
    distribution: Mixture, parts: list[Labelled], model_bits: tuple[np.ndarray, np.ndarray], with_labels: bool
) -> Rows:
    """The bits under the known distribution of the data, and the excess of the model over them."""
    train, test = (
        known_density.exact_bits(distribution, images, labels if with_labels else None) for images, labels in parts
    )
    return {
        "data distribution": (train, test),
        "this model above the data distribution": (model_bits[0] - train, model_bits[1] - test),
    }


def _context_curves(
    estimator: BitsEstimator, splits: Mapping[str, Labelled], measurement: Measurement
) -> dict[str, Curves]:
    """Bits of a masked pixel over the number of visible ones, for a model of tokens that masks any of them."""
    any_order = estimator.order.exchangeable or estimator.order.width == 1
    if not estimator.data.encoding.discrete or not any_order:
        return {}
    root = jax.random.key(measurement.seed)
    lines = {name: bits_by_context(estimator, root, part, measurement.batch) for name, part in splits.items()}
    caption = "Bits of a masked pixel by the number of visible pixels"
    return {"context": Curves(caption, lines, "bits of a masked pixel", "visible pixels")}
