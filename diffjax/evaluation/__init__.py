"""Measures of samples against real images, in NumPy; independent of how samples are made.

Here are the functions that score images. Each measure of two tables of points is in its own module
(`frechet_distance`, `mmd`, `precision_recall`, `classifiers`), and its confidence intervals in `jackknife`. `inception`
and `inception_weights` are imported separately: they alone need Flax.
"""

from typing import TYPE_CHECKING

from diffjax.utils.lazy import lazy_names

if TYPE_CHECKING:
    from diffjax.evaluation.baselines import gaussian_per_class, independent_pixels
    from diffjax.evaluation.classifiers import label_accuracy
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
    from diffjax.evaluation.paired import MIN_IMAGES, Score
    from diffjax.evaluation.pixels import Splits, as_bytes
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
    "describe_features",
    "extract_features",
    "feature_scores",
    "frechet",
    "gaussian_per_class",
    "independent_pixels",
    "kernels_for",
    "label_accuracy",
    "nearest_images",
    "pixel_features",
    "precomputed_features",
    "write_features",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "baselines": ("gaussian_per_class", "independent_pixels"),
        "classifiers": ("label_accuracy",),
        "feature_measures": ("feature_scores",),
        "features": (
            "Features",
            "classifier_features",
            "describe_features",
            "extract_features",
            "pixel_features",
            "precomputed_features",
            "write_features",
        ),
        "frechet_distance": ("frechet",),
        "image_sources": ("ImageSource",),
        "paired": ("MIN_IMAGES", "Score"),
        "pixels": ("Splits", "as_bytes"),
        "suite": ("Kernels", "all_scores", "kernels_for", "nearest_images"),
    },
)
