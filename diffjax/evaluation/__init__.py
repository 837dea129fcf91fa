"""How good samples are: measures, pictures and reports, in NumPy; nothing here knows how samples are made.

`evaluation.inception` and `evaluation.inception_weights` are imported by themselves: they alone need Flax.
"""

from diffjax.evaluation.baselines import Labelled, gaussian_per_class, independent_pixels
from diffjax.evaluation.distances import (
    copies,
    frechet,
    label_accuracy,
    mmd2,
    nearest,
    nearest_distances,
    two_sample_accuracy,
)
from diffjax.evaluation.files import animation, curve, write_png
from diffjax.evaluation.measures import (
    DIGITS,
    Kernels,
    Scores,
    Splits,
    as_bytes,
    kernels_for,
    nearest_images,
    real_scores,
    scores,
)
from diffjax.evaluation.pictures import grid, labelled_grid, side_by_side, strip
from diffjax.evaluation.reports import Likelihoods, Provenance, provenance, table, write_report
from diffjax.images import read_image

__all__ = [
    "DIGITS",
    "Kernels",
    "Labelled",
    "Likelihoods",
    "Provenance",
    "Scores",
    "Splits",
    "animation",
    "as_bytes",
    "copies",
    "curve",
    "frechet",
    "gaussian_per_class",
    "grid",
    "independent_pixels",
    "kernels_for",
    "label_accuracy",
    "labelled_grid",
    "mmd2",
    "nearest",
    "nearest_distances",
    "nearest_images",
    "provenance",
    "read_image",
    "real_scores",
    "scores",
    "side_by_side",
    "strip",
    "table",
    "two_sample_accuracy",
    "write_png",
    "write_report",
]
