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
    """Add the scores of as many reconstructed training images as there are samples, and pictures of test images."""
    model = plan.model
    count = min(plan.count, len(model.splits["train"][0]))
    rows = np.arange(count) * len(model.splits["train"][0]) // count
    images, labels = model.splits["train"]
    restored = _reconstruct(plan, images[rows])
    scores = model.scores(restored, None if labels is None else labels[rows], plan.kernels)
    train, test = (ev.as_bytes(model.splits[name][0], plan.levels) for name in ("train", "test"))
    for features in plan.features:
        if min(map(len, (restored, train, test))) >= ev.MIN_IMAGES:
            parts = (ev.extract_features(features, [part]) for part in (restored, train, test))
            scores += ev.feature_scores(features.name, *parts)
    test_restored = _reconstruct(plan, model.splits["test"][0])
    results.codec = reports.CodecFloor(
        {score.name: score.samples.value for score in scores if score.key != COPIES.key},
        psnr(test_restored / 255, test / 255),
        spectrum_distance(test_restored / 255, test / 255),
    )


def _reconstruct(plan: Plan, images: Images) -> Images:
    data = plan.sampler.data
    return image_sampler.to_bytes(data.encoding.encode(None, jnp.asarray(images), data.levels), data)
