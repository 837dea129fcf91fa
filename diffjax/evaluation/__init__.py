"""Measures of samples against real images, in NumPy; independent of how samples are made.

`evaluation.inception` and `evaluation.inception_weights` are imported separately: they alone need Flax.
"""

from diffjax.evaluation.baselines import gaussian_per_class, independent_pixels
from diffjax.evaluation.classifiers import label_accuracy, two_sample_accuracy
from diffjax.evaluation.feature_measures import feature_scores
from diffjax.evaluation.features import (
    Features,
    classifier_features,
    describe_features,
    extract_features,
    pixel_features,
    precomputed_features,
    write_features,
)
from diffjax.evaluation.frechet_distance import frechet
from diffjax.evaluation.image_sources import ImageSource
from diffjax.evaluation.jackknife import difference, interval_from_replicates, replicates
from diffjax.evaluation.mmd import kid, mmd2
from diffjax.evaluation.paired import MIN_IMAGES, Score
from diffjax.evaluation.pixels import Splits, as_bytes
from diffjax.evaluation.precision_recall import coverage_scores, memorization
from diffjax.evaluation.suite import Kernels, all_scores, kernels_for, nearest_images

__all__ = [
    "MIN_IMAGES",
    "Features",
    "ImageSource",
    "Kernels",
    "Score",
    "Splits",
    "all_scores",
    "as_bytes",
    "classifier_features",
    "coverage_scores",
    "describe_features",
    "difference",
    "extract_features",
    "feature_scores",
    "frechet",
    "gaussian_per_class",
    "independent_pixels",
    "interval_from_replicates",
    "kernels_for",
    "kid",
    "label_accuracy",
    "memorization",
    "mmd2",
    "nearest_images",
    "pixel_features",
    "precomputed_features",
    "replicates",
    "two_sample_accuracy",
    "write_features",
]
