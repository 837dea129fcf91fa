"""What the codec of a model of latents costs: real images that it encodes and decodes, scored as samples."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from diffjax import evaluation as ev
from diffjax import reports
from diffjax.commands import image_sampler
from diffjax.commands.assessment_state import Plan, Results
from diffjax.evaluation.fidelity import psnr, spectrum_distance
from diffjax.evaluation.suite import COPIES
from diffjax.parallel.batch_progress import Report

Images = UInt8[np.ndarray, "n h w c"]


def measure_codec(plan: Plan, results: Results, _: Report) -> None:
    """Add the scores of reconstructed training images, as many as samples, and how near test images come back."""
    images, labels = plan.model.splits["train"]
    count = min(plan.count, len(images))
    rows = np.arange(count) * len(images) // count
    restored = _reconstruct(plan, images[rows])
    baselines = results.scores if count == plan.count else ()  # of as many samples, so those of real images are equal
    scores = plan.model.scores(restored, None if labels is None else labels[rows], plan.kernels, baselines)
    if plan.enough_for_features(restored):
        scores += plan.feature_scores(restored)
    test = plan.model.splits["test"][0]
    pair = _reconstruct(plan, test) / 255, ev.as_bytes(test, plan.levels) / 255
    values = {score.name: score.samples.value for score in scores if score.key != COPIES.key}
    results.codec = reports.CodecFloor(values, psnr(*pair), spectrum_distance(*pair))


def _reconstruct(plan: Plan, images: Images) -> Images:
    data = plan.sampler.data
    return image_sampler.to_bytes(data.encoding.encode(None, jnp.asarray(images), data.levels), data)
