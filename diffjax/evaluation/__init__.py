"""How good samples are: measures, pictures and reports, in NumPy; nothing here knows how samples are made.

`evaluation.inception` and `evaluation.inception_weights` are imported by themselves: they alone need Flax.
"""

from diffjax.evaluation.artefacts import Flag, flags
from diffjax.evaluation.baselines import Labelled, gaussian_per_class, independent_pixels
from diffjax.evaluation.classifiers import (
    TwoSample,
    label_accuracy,
    logistic,
    machine,
    majority,
    two_sample_accuracy,
    two_sample_test,
)
from diffjax.evaluation.comparisons import Compared, compare, compared_table, write_comparison
from diffjax.evaluation.contents import Curves, Likelihoods, Provenance, Report, provenance
from diffjax.evaluation.external import LEVELS, report_of
from diffjax.evaluation.extractors import (
    Features,
    Stored,
    classifier_features,
    described,
    extracted,
    moments_of,
    pixel_features,
    precomputed,
    read_features,
    write_features,
)
from diffjax.evaluation.feature_measures import measured_in, pairs_in
from diffjax.evaluation.files import animation, curve, write_png
from diffjax.evaluation.findings import Findings, findings_of
from diffjax.evaluation.gaussians import (
    Moments,
    frechet,
    frechet_of,
    gather,
    gather_each,
    merge,
    read_moments,
    write_moments,
)
from diffjax.evaluation.intervals import (
    Difference,
    Interval,
    Replicates,
    difference,
    floor,
    interval,
    interval_of,
    interval_of_moments,
    replicates,
)
from diffjax.evaluation.kernels import (
    Estimate,
    cubic,
    discrepancy,
    kid,
    kid_of_subsets,
    median_distance,
    mmd2,
    rbf,
)
from diffjax.evaluation.measures import DIGITS, Kernels, kernels_for, measured, nearest_images, resemblance
from diffjax.evaluation.neighbours import (
    Copying,
    Coverage,
    copies,
    copying,
    coverage_of,
    nearest,
    nearest_distances,
    nearest_few,
)
from diffjax.evaluation.paired import LEAST, Measured
from diffjax.evaluation.pictures import crossed, grid, labelled_grid, side_by_side, strip
from diffjax.evaluation.pixels import Splits, as_bytes
from diffjax.evaluation.records import Numbers, read_numbers
from diffjax.evaluation.references import kept_moments, moments_of_parts
from diffjax.evaluation.reports import table, write_report
from diffjax.evaluation.rows import Swept, read_row, row_file, write_row
from diffjax.evaluation.sides import Sides, beside, open_sides
from diffjax.evaluation.sources import Source, all_images, fingerprint, image_hashes, open_images, open_reference
from diffjax.evaluation.sweeps import Sweep, settings_told, sweep_table, write_sweep
from diffjax.images import read_image

__all__ = [
    "DIGITS",
    "LEAST",
    "LEVELS",
    "Compared",
    "Copying",
    "Coverage",
    "Curves",
    "Difference",
    "Estimate",
    "Features",
    "Findings",
    "Flag",
    "Interval",
    "Kernels",
    "Labelled",
    "Likelihoods",
    "Measured",
    "Moments",
    "Numbers",
    "Provenance",
    "Replicates",
    "Report",
    "Sides",
    "Source",
    "Splits",
    "Stored",
    "Sweep",
    "Swept",
    "TwoSample",
    "all_images",
    "animation",
    "as_bytes",
    "beside",
    "classifier_features",
    "compare",
    "compared_table",
    "copies",
    "copying",
    "coverage_of",
    "crossed",
    "cubic",
    "curve",
    "described",
    "difference",
    "discrepancy",
    "extracted",
    "findings_of",
    "fingerprint",
    "flags",
    "floor",
    "frechet",
    "frechet_of",
    "gather",
    "gather_each",
    "gaussian_per_class",
    "grid",
    "image_hashes",
    "independent_pixels",
    "interval",
    "interval_of",
    "interval_of_moments",
    "kept_moments",
    "kernels_for",
    "kid",
    "kid_of_subsets",
    "label_accuracy",
    "labelled_grid",
    "logistic",
    "machine",
    "majority",
    "measured",
    "measured_in",
    "median_distance",
    "merge",
    "mmd2",
    "moments_of",
    "moments_of_parts",
    "nearest",
    "nearest_distances",
    "nearest_few",
    "nearest_images",
    "open_images",
    "open_reference",
    "open_sides",
    "pairs_in",
    "pixel_features",
    "precomputed",
    "provenance",
    "rbf",
    "read_features",
    "read_image",
    "read_moments",
    "read_numbers",
    "read_row",
    "replicates",
    "report_of",
    "resemblance",
    "row_file",
    "settings_told",
    "side_by_side",
    "strip",
    "sweep_table",
    "table",
    "two_sample_accuracy",
    "two_sample_test",
    "write_comparison",
    "write_features",
    "write_moments",
    "write_png",
    "write_report",
    "write_row",
    "write_sweep",
]
