"""Bits per dimension of images under a loaded model, in one unit: bits of a pixel's level, whatever the model sees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key, Shaped

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

Labelled = tuple[Shaped[np.ndarray, "_ _ _ _"], Integer[np.ndarray, " _"] | None]
METHODS = ("exact", "bound", "ode")
OPTIONS = {"exact": {}, "bound": {"draws": 64}, "ode": {"steps": 32, "probes": 2}}  # what evaluate.py spends
BASELINES = {"a Gaussian per class": gaussian_per_class, "independent pixels per class": independent_pixels}
MAX_ROUNDING = 0.001  # bits per dimension: what a report's table still shows


@dataclass(frozen=True)
class BitsEstimator:
    """Everything that is decided before an image: the model, what it sees of a pixel, and how its bits are measured."""

    net: Any
    noise: Noise
    order: Order
    denoise: Denoise
    facts: DataSpec
    method: str


def build_estimator(
    denoise: Denoise, noise: Noise, order: Order, net: Any, facts: DataSpec, method: str = ""
) -> BitsEstimator:
    """The reader of a model: exact in raster order, by the ODE where pixels are dequantised, else by the bound.

    Raises UserError where the method asked for says nothing of pixels.
    """
    form, one_order = facts.encoding, order.width == 0 and not order.exchangeable
    density = not form.discrete and order.width == 1
    fitting = "exact" if one_order else "ode" if density and form.offset_bits is not None else "bound"
    if method == "exact" and not one_order:
        raise UserError("likelihood: exact needs one order of pixels for all images (model.order=raster); use bound")
    if method == "ode" and not density:
        raise UserError("likelihood: ode needs Gaussian noise under model.order=together; use bound or exact")
    if method == "ode" and form.offset_bits is None:
        raise UserError(
            f"likelihood: a density of data.form={facts.form} says nothing of a pixel's level; use bound, or train "
            "with data.form=dequantised"
        )
    return BitsEstimator(net, noise, order, denoise, facts, method or fitting)


def estimate_bits(
    reader: BitsEstimator,
    root: Key[Array, ""],
    data: Labelled,
    batch: int,
    report: Callable[[int, int], object] | None = None,
    **options: Any,
) -> BitsPerDim:
    """The bits per dimension of each image, and their standard errors; labels are given to a conditional model.

    By the ODE also by how much a doubling of its steps moves them, of an eighth of the images; `options` are those of
    `likelihood.bits_per_dim`.
    """
    r, form = reader, reader.facts.encoding
    levels = r.facts.levels
    options = {**OPTIONS[r.method], **options, "scan": not loops_are_slow(r.net)}
    if r.method == "bound" and form.offset_bits is None:
        options["levels"] = levels  # the bound of a probability, with no offset
    offset = 0.0 if form.offset_bits is None else form.offset_bits(levels)

    def measure(keys: Keys, images: Array, cond: Any) -> Any:
        x = form.encode(fold(keys, KeyUse.DEQUANTIZE), images, levels)
        return bits_per_dim(keys, r.noise, r.order, r.denoise, x, cond, method=r.method, **options)

    images, labels = data
    cond = labels if has_label(r.net.null_cond) else None
    result = map_in_batches(measure, root, len(images), batch, images, cond, report=report)
    return result._replace(bits=result.bits + offset)


def bits_by_context(
    reader: BitsEstimator, root: Key[Array, ""], data: Labelled, batch: int, points: int = 9
) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """How many tokens are visible, and the bits of a hidden one then: of the first images, as many as a batch holds."""
    r, facts = reader, reader.facts
    images, labels = data
    x = facts.encoding.encode(None, jnp.asarray(images[:batch]), facts.levels)
    visible = np.unique(np.linspace(0, x[0].size - 1, points).round().astype(int))
    cond = jnp.asarray(labels[:batch]) if labels is not None and has_label(r.net.null_cond) else None
    bits = bits_vs_context(
        keys(root, len(x)), r.noise, r.order, r.denoise, x, cond, visible=[int(count) for count in visible]
    )
    return visible, np.asarray(bits)


def compare_likelihoods(
    reader: BitsEstimator,
    real: Mapping[str, Labelled],
    law: Mixture | None,
    seed: int,
    count: int,
    batch: int,
    steps: int | None = None,
    report: Callable[[int, int], object] | None = None,
) -> tuple[Likelihoods, dict[str, Curves]]:
    """Bits per dimension of `count` images of train and of test: the model's, and two baselines', or a known law's.

    Of a model of tokens that hides any of them, also the curve of what a hidden one costs by how many are visible.
    `steps` are those of the ODE, 32 unless given. Raises UserError for steps of another method.
    """
    check_steps(reader, steps)
    train, test = parts = [evenly_spaced_images(real[name], count) for name in ("train", "test")]
    root, with_labels = jax.random.key(seed), has_label(reader.net.null_cond)
    options = {} if steps is None else {"steps": steps}
    unchecked = {"check": 0} if reader.method == "ode" else {}
    both = len(train[0]) + len(test[0])
    of_train, of_test = (_part_of(report, before, both) for before in (0, len(train[0])))
    train_bits = np.asarray(estimate_bits(reader, root, train, batch, of_train, **options, **unchecked).bits)
    measured = estimate_bits(reader, root, test, batch, of_test, **options)
    test_bits = np.asarray(measured.bits)
    rows = {"this model": (train_bits, test_bits)}
    if law is None:
        for name, baseline in BASELINES.items() if len(real["train"][0]) > 1 else ():  # one image has no covariance
            bits_of_train, bits_of_test = baseline(real["train"], parts, reader.facts.levels)
            rows[name] = bits_of_train, bits_of_test
    else:
        entropy_bits, entropy_bits_of_test = (
            known_density.exact_bits(law, images, labels if with_labels else None) for images, labels in parts
        )
        rows["the law itself"] = entropy_bits, entropy_bits_of_test
        rows["this model less the law"] = train_bits - entropy_bits, test_bits - entropy_bits_of_test
    description = describe_method(reader, measured, options)
    result = Likelihoods(
        rows, f"{description}; {len(train[0])} images of train, {len(test[0])} of test", mean_accuracy(measured)
    )
    if not reader.facts.encoding.discrete or not (reader.order.exchangeable or reader.order.width == 1):
        return result, {}
    lines = {name: bits_by_context(reader, root, part, batch) for name, part in (("train", train), ("test", test))}
    caption = "What a hidden pixel costs, by how many others are visible"
    return result, {"context": Curves(caption, lines, "bits of a hidden pixel", "visible pixels")}


def check_steps(reader: BitsEstimator, steps: int | None) -> None:
    """Raise UserError for steps of another method than the ODE."""
    if steps is not None and reader.method != "ode":
        raise UserError(f"likelihood_steps: are for likelihood=ode, and this is {reader.method}; leave them out")


def images_for(shape: tuple[int, ...]) -> int:
    """Of how many images bits are measured unless told otherwise: those of 184,320 values, but 16 to 360."""
    return max(16, min(360, 360 * 512 // prod(shape)))


def _part_of(
    report: Callable[[int, int], object] | None, before: int, whole: int
) -> Callable[[int, int], object] | None:
    """The same, of a part of what is done."""
    return None if report is None else lambda done, _: report(before + done, whole)


def evenly_spaced_images(split: Labelled, count: int) -> Labelled:
    """Evenly chosen images of a split."""
    images, labels = split
    rows = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    return images[rows], None if labels is None else labels[rows]


def describe_method(reader: BitsEstimator, measured: BitsPerDim, options: dict[str, Any]) -> str:
    """How they were measured, with the errors that come from that alone."""
    options = {**OPTIONS[reader.method], **options}
    cost = ", ".join(f"{count} {name}" for name, count in options.items())
    descriptions = {
        "exact": "exact",
        "bound": f"variational bound ({cost} an image, to ± {mean_accuracy(measured)['standard_error']:.3f})",
        "ode": f"probability-flow ODE ({cost} an image, {_describe_ode_accuracy(measured, options)})",
    }[reader.method]
    encoding = reader.facts.encoding
    form = "; of dequantised pixels, so an upper bound" if encoding.noisy else "; of a density" if encoding.real else ""
    condition_text = ", given the label" if has_label(reader.net.null_cond) else ""
    return f"{descriptions}{condition_text}{form}"


def mean_accuracy(measured: BitsPerDim) -> dict[str, float]:
    """How well the measurement knows the mean over images, in bits per dimension.

    Its standard error, by draws or probes; and of the ODE `discretization`, by how much a doubling of the steps moves
    the mean of the images that were checked, and `discretization_rms`, a single one of them.
    """
    result = {"standard_error": float(np.sqrt(np.sum(np.square(measured.errors))) / len(measured.errors))}
    change = np.asarray(measured.discretization, np.float64)
    if not len(change):
        return result
    size = float(np.sqrt(np.mean(change**2)))
    return {**result, "discretization": float(change.mean()), "discretization_rms": size, "checked": len(change)}


def _describe_ode_accuracy(measured: BitsPerDim, options: Mapping[str, Any]) -> str:
    """In words, and what to do where the steps move the mean by more than its standard error and its last digit."""
    accuracy = mean_accuracy(measured)
    by_probes, change = accuracy["standard_error"], accuracy.get("discretization")
    if change is None:
        return f"to ± {by_probes:.3f}"
    half = max(1, options["steps"] // 2)
    text = f"to ± {by_probes:.3f} by probes; {2 * half} steps in place of {half} move it by {change:+.3f}"
    if abs(change) <= max(by_probes, MAX_ROUNDING):
        return text
    return f"{text}, which is more: raise --likelihood_steps"
