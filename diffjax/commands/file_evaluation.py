"""Scores of samples from files against a reference from files, one half of which gives the scores of real images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffjax.commands.file_pair import FilePair, pair_provenance, split_half
from diffjax.evaluation.feature_measures import feature_scores, pairwise_feature_scores
from diffjax.evaluation.features import Features, extract_features
from diffjax.evaluation.frechet_distance import Moments, frechet_from_moments, merge_moments
from diffjax.evaluation.image_sources import ImageSource, fingerprint
from diffjax.evaluation.jackknife import Replicates, replicates_of_moments
from diffjax.evaluation.paired import GROUPS, Score
from diffjax.evaluation.reference_stats import (
    Notify,
    cached_moments,
    check_moments,
    fingerprint_of_moments,
    moments_of_parts,
)
from diffjax.evaluation.suite import kernels_for, nearest_images, pairwise_scores
from diffjax.reports.evaluation_report import Report
from diffjax.reports.findings import find_problems
from diffjax.reports.image_files import write_png
from diffjax.reports.image_grids import grid, side_by_side

LEVELS = 256  # of files
MAX_DIMENSION = 4_096  # values of an image of which moments are taken: a covariance of 134 MB
PICTURES = 12  # samples above their nearest images
EMPTY = np.zeros(0)


def build_report(sides: FilePair, features: Sequence[Features], out: Path, cache: Path | None, tell: Notify) -> Report:
    """The report of samples in those features; its pictures are written into `out`.

    For each of the features: the Fréchet distance to one half of the reference, of samples and of equally many images
    of the other half, and that of all samples to the whole reference, as it is published; both by moments, a batch at a
    time (with more than `MAX_DIMENSION` values: of at most `max_images`, and not of all). Then KID, precision, recall,
    density and coverage of at most `max_images` of a side, and pairwise scores of pixels. Where the reference is
    moments there is only the distance of all samples, without that of real images. Moments of the reference are cached
    in `cache`; `tell` reports what is left out. Raises UserError as the extractors do.
    """
    kernels = kernels_for(int(np.prod(sides.samples.shape[1:])))
    if isinstance(sides.reference, Moments):
        compared = _features_of_moments(sides.path, sides.reference, features, tell)
        reference_hash = ""
        findings = None
        scores = [_frechet_to_moments(feature_set, sides.samples, sides.reference) for feature_set in compared]
        reference_hash = fingerprint_of_moments(sides.reference)
    else:
        compared = features
        reference_hash = fingerprint(sides.reference)
        options = {"kernels": kernels, "draws": 1}
        scores = [
            replace(score, name="copies of reference images") if score.key == "copies" else score
            for score in pairwise_scores(sides.sample_images, sides.labels, sides.real, LEVELS, **options)
        ]
        for feature_set in features:
            scores += _feature_scores(feature_set, sides, sides.reference, reference_hash, cache, tell)
        findings = find_problems(sides.sample_images, sides.real, LEVELS, training="reference")
    title = f"Evaluation of {Path(sides.samples.name).name}"
    source = pair_provenance(sides, compared, kernels, reference_hash)
    return Report(title, scores, source, findings, pictures=_write_pictures(sides, out))


def _features_of_moments(path: str, reference: Moments, features: Sequence[Features], tell: Notify) -> list[Features]:
    fitting = check_moments(path, reference, features)
    left_out = [f"all in {feature_set.name}" for feature_set in features if feature_set not in fitting]
    omitted = " and ".join(["all but the Fréchet distance", *left_out])
    tell(f"--reference {path} holds moments, not images: {omitted} is left out, and there is no score of real images")
    return fitting


def _feature_scores(
    features: Features, sides: FilePair, reference: ImageSource, reference_hash: str, cache: Path | None, tell: Notify
) -> list[Score]:
    rows = [
        extract_features(features, [part])
        for part in (sides.sample_images, sides.real["train"][0], sides.real["test"][0])
    ]
    if features.dim > MAX_DIMENSION:
        problem = f"{features.dim:,} values are too many for moments of all images"
        tell(f"{features.name}: {problem}; the Fréchet distance is of at most {sides.max_images:,} of a side")
        return feature_scores(features.name, *rows)
    return _frechet_scores(features, sides.samples, reference, reference_hash, cache, tell) + pairwise_feature_scores(
        features.name, *rows
    )


def _frechet_scores(
    features: Features,
    samples: ImageSource,
    reference: ImageSource,
    reference_hash: str,
    cache: Path | None,
    tell: Notify,
) -> list[Score]:
    """To one half of the reference, of as many samples as the other half has at most; and of all to all."""
    places = np.arange(reference.shape[0])
    half, second_half = split_half(reference.shape[0])
    equal = min(samples.shape[0], len(half))
    parts = {
        "all": np.ones(len(places), bool),
        "one half": np.isin(places, second_half),
        f"{equal:,} of the other half": np.isin(places, np.random.default_rng(2).permutation(half)[:equal]),
    }
    everything, half_moments, real = cached_moments(features, reference, reference_hash, parts, cache, tell)
    sample_groups, all_groups = _group_moments(features, samples, equal)
    floor = Replicates(frechet_from_moments(real, half_moments), EMPTY, EMPTY)
    return [
        _frechet(features, replicates_of_moments(frechet_from_moments, sample_groups, half_moments), floor),
        _frechet_of_all(features, replicates_of_moments(frechet_from_moments, all_groups, everything)),
    ]


def _frechet_to_moments(features: Features, samples: ImageSource, reference: Moments) -> Score:
    _, all_groups = _group_moments(features, samples, samples.shape[0])
    return _frechet_of_all(features, replicates_of_moments(frechet_from_moments, all_groups, reference))


def _frechet(features: Features, replicates: Replicates, real: Replicates) -> Score:
    name = f"Fréchet distance of {features.name}"
    return Score("frechet", name, features.name, replicates, real, "as real, lower is better", ".4g")


def _frechet_of_all(features: Features, replicates: Replicates) -> Score:
    """Without a floor: as many images that the reference has not do not exist."""
    name = f"Fréchet distance of {features.name}, all images"
    none = Replicates(float("nan"), EMPTY, EMPTY)
    return Score("frechet_all", name, features.name, replicates, none, "lower is better", ".4g")


def _group_moments(features: Features, samples: ImageSource, equal: int) -> tuple[list[Moments], list[Moments]]:
    """The moments of `equal` samples at random, dealt into groups, and those of all in groups that hold these."""
    place = np.argsort(np.random.default_rng(0).permutation(samples.shape[0]))
    parts = [(place < equal) & (place % GROUPS == group) for group in range(GROUPS)]
    remaining = [(place >= equal) & (place % GROUPS == group) for group in range(GROUPS)]
    nonempty = [group for group in range(GROUPS) if remaining[group].any()]
    moments = moments_of_parts(features, samples, [*parts, *(remaining[group] for group in nonempty)])
    equal_groups = moments[:GROUPS]
    rest = dict(zip(nonempty, moments[GROUPS:], strict=True))
    return equal_groups, [
        merge_moments(group_moments, rest[group]) if group in rest else group_moments
        for group, group_moments in enumerate(equal_groups)
    ]


def _write_pictures(sides: FilePair, out: Path) -> dict[str, Path]:
    """Some samples, and where there are images some above the nearest of one half of the reference."""
    pictures = {
        "Samples": ("grid.png", grid(sides.sample_images[:: max(1, len(sides.sample_images) // 100)][:100], 10))
    }
    if not isinstance(sides.reference, Moments):
        selection = sides.sample_images[:: max(1, len(sides.sample_images) // PICTURES)][:PICTURES]
        nearest, _ = nearest_images(selection, sides.real, LEVELS)
        pairs = side_by_side(selection, nearest, PICTURES, names=("sample", "nearest"))
        pictures["Samples above their nearest reference images"] = ("nearest.png", pairs)
    for name, picture in pictures.values():
        write_png(out / name, picture)
    return {caption: out / name for caption, (name, _) in pictures.items()}
