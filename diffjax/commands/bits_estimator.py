"""The bits per dimension of images under a trained model, per pixel level, however pixels are encoded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from diffjax.commands.evaluation_subject import Labelled
from diffjax.conditions import has_label
from diffjax.errors import UserError
from diffjax.experiment.data_spec import DataSpec
from diffjax.likelihood import BitsPerDim, bits_per_dim, bits_vs_context
from diffjax.order import Order
from diffjax.parallel.batch_progress import BatchProgress
from diffjax.parallel.dispatch import loops_are_slow, map_in_batches
from diffjax.protocols import Denoise, Keys, Noise
from diffjax.traits import ConditionalNet
from diffjax.utils.prng import KeyUse, fold, keys

OPTIONS = {"exact": {}, "bound": {"draws": 64}, "ode": {"steps": 32, "probes": 2}}  # defaults of evaluate.py
MAX_ROUNDING = 0.001  # bits per dimension: the last digit of a report's table


@dataclass(frozen=True)
class BitsEstimator:
    """A model, how it encodes pixels, and the method by which its bits per dimension are estimated."""

    net: ConditionalNet
    noise: Noise
    order: Order
    denoise: Denoise
    data: DataSpec
    method: str


def build_estimator(
    denoise: Denoise, noise: Noise, order: Order, net: ConditionalNet, data: DataSpec, method: str = ""
) -> BitsEstimator:
    """The estimator of a model: by default exact in raster order, by the ODE for dequantised pixels, else the bound.

    Raises UserError where the method gives no bits of pixels.
    """
    form = data.encoding
    one_order = order.width == 0 and not order.exchangeable
    density = not form.discrete and order.width == 1
    if method == "exact" and not one_order:
        raise UserError("--likelihood: exact needs one order of pixels for all images (model.order=raster); use bound")
    if method == "ode" and not density:
        raise UserError("--likelihood: ode needs Gaussian noise with model.order=together; use bound or exact")
    if method == "ode" and form.offset_bits is None:
        raise UserError(
            f"--likelihood: with data.form={data.form} a density does not determine the probability of a pixel level; "
            "use bound, or train with data.form=dequantised"
        )
    default = "ode" if density and form.offset_bits is not None else "bound"
    return BitsEstimator(net, noise, order, denoise, data, method or ("exact" if one_order else default))


def estimate_bits(
    estimator: BitsEstimator,
    root: Key[Array, ""],
    split: Labelled,
    batch: int,
    progress: BatchProgress | None = None,
    **options: int,
) -> BitsPerDim:
    """The bits per dimension of each image, and their standard errors; a class-conditional model gets the labels.

    By the ODE also the change with twice the steps, for an eighth of the images. `options` are those of
    `likelihood.bits_per_dim`.
    """
    e = estimator
    form = e.data.encoding
    levels = e.data.levels
    offset = 0.0 if form.offset_bits is None else form.offset_bits(levels)
    settings: dict[str, Any] = {**OPTIONS[e.method], **options, "scan": not loops_are_slow(e.net)}
    if e.method == "bound" and form.offset_bits is None:
        settings["levels"] = levels  # the bound of a probability, with no offset

    def measure(keys: Keys, images: Array, cond: PyTree) -> BitsPerDim:
        x = form.encode(fold(keys, KeyUse.DEQUANTIZE), images, levels)
        return bits_per_dim(keys, e.noise, e.order, e.denoise, x, cond, method=e.method, **settings)

    images, labels = split
    cond = labels if has_label(e.net.null_cond) else None
    result = map_in_batches(measure, root, len(images), batch, images, cond, progress=progress)
    return result._replace(bits=result.bits + offset)


def bits_by_context(
    estimator: BitsEstimator, root: Key[Array, ""], split: Labelled, batch: int, points: int = 9
) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """The number of visible tokens, and the bits of a masked one then, for the images of the first batch."""
    e = estimator
    images, labels = split
    x = e.data.encoding.encode(None, jnp.asarray(images[:batch]), e.data.levels)
    visible = np.unique(np.linspace(0, x[0].size - 1, points).round().astype(int))
    cond = jnp.asarray(labels[:batch]) if labels is not None and has_label(e.net.null_cond) else None
    counts = [int(count) for count in visible]
    bits = bits_vs_context(keys(root, len(x)), e.noise, e.order, e.denoise, x, cond, visible=counts)
    return visible, np.asarray(bits)


def describe_method(
    estimator: BitsEstimator, measured: BitsPerDim, options: Mapping[str, int], labelled: bool = False
) -> str:
    """The method, its cost, and the error that it alone causes; `labelled`: the model was given the label."""
    options = {**OPTIONS[estimator.method], **options}
    cost = ", ".join(f"{count} {name}" for name, count in options.items())
    method = {
        "exact": "exact",
        "bound": f"variational bound ({cost} an image, to ± {mean_accuracy(measured)['standard_error']:.3f})",
        "ode": f"probability-flow ODE ({cost} an image, {_describe_ode_accuracy(measured, options)})",
    }[estimator.method]
    encoding = estimator.data.encoding
    form = "; of a density" if encoding.real else ""
    if encoding.noisy:
        form = "; of dequantised pixels, so an upper bound"
    condition = ", given the label" if labelled else ""
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


def _describe_ode_accuracy(measured: BitsPerDim, options: Mapping[str, int]) -> str:
    """The errors by probes and steps, and what to do where the latter exceeds the former and the last digit shown."""
    accuracy = mean_accuracy(measured)
    by_probes = accuracy["standard_error"]
    change = accuracy.get("discretization")
    if change is None:
        return f"to ± {by_probes:.3f}"
    half = max(1, options["steps"] // 2)
    text = f"to ± {by_probes:.3f} by probes; {2 * half} steps in place of {half} move it by {change:+.3f}"
    if abs(change) <= max(by_probes, MAX_ROUNDING):
        return text
    return f"{text}, which is more: raise --likelihood_steps"
