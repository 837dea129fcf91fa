"""Bits per dimension of images under a trained model, in bits per pixel level, however pixels are encoded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from diffjax.commands.evaluation_subject import Labelled
from diffjax.conditions import has_label
from diffjax.diagnostics import known_density
from diffjax.distributions import Mixture
from diffjax.errors import UserError
from diffjax.evaluation import gaussian_per_class, independent_pixels
from diffjax.experiment.data_spec import DataSpec
from diffjax.likelihood.bits import BitsPerDim, bits_per_dim, bits_vs_context
from diffjax.order import Order
from diffjax.parallel.dispatch import loops_are_slow, map_in_batches
from diffjax.protocols import Denoise, Keys, Noise
from diffjax.reports import Curves, Likelihoods
from diffjax.utils.prng import KeyUse, fold, keys

METHODS = ("exact", "bound", "ode")
OPTIONS = {"exact": {}, "bound": {"draws": 64}, "ode": {"steps": 32, "probes": 2}}  # defaults of evaluate.py
BASELINES = {"a Gaussian per class": gaussian_per_class, "independent pixels per class": independent_pixels}
MAX_ROUNDING = 0.001  # bits per dimension: the last digit of a report's table

Report = Callable[[int, int], object]  # called with the number of images that are done, and of all
Rows = dict[str, tuple[np.ndarray, np.ndarray]]  # bits of each image of train and of test


@dataclass(frozen=True)
class BitsEstimator:
    """A model, how it encodes pixels, and the method by which its bits per dimension are estimated."""

    net: Any
    noise: Noise
    order: Order
    denoise: Denoise
    facts: DataSpec
    method: str


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


def build_estimator(
    denoise: Denoise, noise: Noise, order: Order, net: Any, facts: DataSpec, method: str = ""
) -> BitsEstimator:
    """The estimator of a model: by default exact in raster order, by the ODE for dequantised pixels, else the bound.

    Raises UserError where the method gives no bits of pixels.
    """
    form = facts.encoding
    one_order = order.width == 0 and not order.exchangeable
    density = not form.discrete and order.width == 1
    if method == "exact" and not one_order:
        raise UserError("likelihood: exact needs one order of pixels for all images (model.order=raster); use bound")
    if method == "ode" and not density:
        raise UserError("likelihood: ode needs Gaussian noise with model.order=together; use bound or exact")
    if method == "ode" and form.offset_bits is None:
        raise UserError(
            f"likelihood: with data.form={facts.form} a density does not determine the probability of a pixel level; "
            "use bound, or train with data.form=dequantised"
        )
    default = "ode" if density and form.offset_bits is not None else "bound"
    return BitsEstimator(net, noise, order, denoise, facts, method or ("exact" if one_order else default))


def estimate_bits(
    estimator: BitsEstimator,
    root: Key[Array, ""],
    data: Labelled,
    batch: int,
    report: Report | None = None,
    **options: int,
) -> BitsPerDim:
    """The bits per dimension of each image, and their standard errors; a class-conditional model gets the labels.

    By the ODE also the change with twice the steps, for an eighth of the images. `options` are those of
    `likelihood.bits_per_dim`.
    """
    e = estimator
    form = e.facts.encoding
    levels = e.facts.levels
    offset = 0.0 if form.offset_bits is None else form.offset_bits(levels)
    settings: dict[str, Any] = {**OPTIONS[e.method], **options, "scan": not loops_are_slow(e.net)}
    if e.method == "bound" and form.offset_bits is None:
        settings["levels"] = levels  # the bound of a probability, with no offset

    def measure(keys: Keys, images: Array, cond: PyTree) -> BitsPerDim:
        x = form.encode(fold(keys, KeyUse.DEQUANTIZE), images, levels)
        return bits_per_dim(keys, e.noise, e.order, e.denoise, x, cond, method=e.method, **settings)

    images, labels = data
    cond = labels if has_label(e.net.null_cond) else None
    result = map_in_batches(measure, root, len(images), batch, images, cond, report=report)
    return result._replace(bits=result.bits + offset)


def bits_by_context(
    estimator: BitsEstimator, root: Key[Array, ""], data: Labelled, batch: int, points: int = 9
) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """The number of visible tokens, and the bits of a masked one then, for the images of the first batch."""
    e = estimator
    images, labels = data
    x = e.facts.encoding.encode(None, jnp.asarray(images[:batch]), e.facts.levels)
    visible = np.unique(np.linspace(0, x[0].size - 1, points).round().astype(int))
    cond = jnp.asarray(labels[:batch]) if labels is not None and has_label(e.net.null_cond) else None
    counts = [int(count) for count in visible]
    bits = bits_vs_context(keys(root, len(x)), e.noise, e.order, e.denoise, x, cond, visible=counts)
    return visible, np.asarray(bits)


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
    if distribution is None:
        rows |= _baseline_rows(estimator, real["train"], [train, test])
    else:
        with_labels = has_label(estimator.net.null_cond)
        rows |= _known_rows(distribution, [train, test], rows["this model"], with_labels)
    method = describe_method(estimator, measured, measurement.options)
    description = f"{method}; {len(train[0])} images of train, {len(test[0])} of test"
    curves = _context_curves(estimator, {"train": train, "test": test}, measurement)
    return Likelihoods(rows, description, mean_accuracy(measured)), curves


def check_steps(estimator: BitsEstimator, steps: int | None) -> None:
    """Raise UserError for steps of another method than the ODE."""
    if steps is not None and estimator.method != "ode":
        raise UserError(f"likelihood_steps: needs likelihood=ode, and the method is {estimator.method}; leave it out")


def default_image_count(shape: tuple[int, ...]) -> int:
    """Images per split whose bits are measured by default: 184,320 values in all, but 16 to 360 images."""
    return max(16, min(360, 360 * 512 // prod(shape)))


def evenly_spaced_images(split: Labelled, count: int) -> Labelled:
    """At most `count` evenly spaced images of a split, with their labels."""
    images, labels = split
    rows = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    return images[rows], None if labels is None else labels[rows]


def describe_method(estimator: BitsEstimator, measured: BitsPerDim, options: Mapping[str, int]) -> str:
    """The method, its cost, and the error that it alone causes."""
    options = {**OPTIONS[estimator.method], **options}
    cost = ", ".join(f"{count} {name}" for name, count in options.items())
    method = {
        "exact": "exact",
        "bound": f"variational bound ({cost} an image, to ± {mean_accuracy(measured)['standard_error']:.3f})",
        "ode": f"probability-flow ODE ({cost} an image, {_describe_ode_accuracy(measured, options)})",
    }[estimator.method]
    encoding = estimator.facts.encoding
    form = "; of dequantised pixels, so an upper bound" if encoding.noisy else "; of a density" if encoding.real else ""
    condition = ", given the label" if has_label(estimator.net.null_cond) else ""
    return f"{method}{condition}{form}"


def mean_accuracy(measured: BitsPerDim) -> dict[str, float]:
    """The accuracy of the mean over images, in bits per dimension.

    `standard_error` by draws or probes; by the ODE also `discretization`, the change of the mean of the `checked`
    images with twice the steps, and `discretization_rms`, that of a single one.
    """
    result = {"standard_error": float(np.sqrt(np.sum(np.square(measured.errors))) / len(measured.errors))}
    change = np.asarray(measured.discretization, np.float64)
    if not len(change):
        return result
    size = float(np.sqrt(np.mean(change**2)))
    return {**result, "discretization": float(change.mean()), "discretization_rms": size, "checked": len(change)}


def _measure(
    estimator: BitsEstimator, train: Labelled, test: Labelled, measurement: Measurement, report: Report | None
) -> tuple[np.ndarray, BitsPerDim]:
    """The bits of train, and those of test with their accuracy."""
    root = jax.random.key(measurement.seed)
    done, total = len(train[0]), len(train[0]) + len(test[0])
    unchecked = {"check": 0} if estimator.method == "ode" else {}
    options = {**measurement.options, **unchecked}
    of_train = estimate_bits(estimator, root, train, measurement.batch, _shifted(report, 0, total), **options)
    report_test = _shifted(report, done, total)
    of_test = estimate_bits(estimator, root, test, measurement.batch, report_test, **measurement.options)
    return np.asarray(of_train.bits), of_test


def _shifted(report: Report | None, before: int, total: int) -> Report | None:
    """The report of a part of the work, of which `before` are done already."""
    return None if report is None else lambda done, _: report(before + done, total)


def _baseline_rows(estimator: BitsEstimator, train: Labelled, parts: list[Labelled]) -> Rows:
    """The bits of models in closed form; none where a single image has no covariance."""
    if len(train[0]) < 2:
        return {}
    rows: Rows = {}
    for name, baseline in BASELINES.items():
        train_bits, test_bits = baseline(train, parts, estimator.facts.levels)
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
    if not estimator.facts.encoding.discrete or not any_order:
        return {}
    root = jax.random.key(measurement.seed)
    lines = {name: bits_by_context(estimator, root, part, measurement.batch) for name, part in splits.items()}
    caption = "Bits of a masked pixel by the number of visible pixels"
    return {"context": Curves(caption, lines, "bits of a masked pixel", "visible pixels")}


def _describe_ode_accuracy(measured: BitsPerDim, options: Mapping[str, int]) -> str:
    """The errors by probes and steps, and what to do where the latter exceeds the former and the last digit shown."""
    accuracy = mean_accuracy(measured)
    by_probes, change = accuracy["standard_error"], accuracy.get("discretization")
    if change is None:
        return f"to ± {by_probes:.3f}"
    half = max(1, options["steps"] // 2)
    text = f"to ± {by_probes:.3f} by probes; {2 * half} steps in place of {half} move it by {change:+.3f}"
    if abs(change) <= max(by_probes, MAX_ROUNDING):
        return text
    return f"{text}, which is more: raise --likelihood_steps"
