"""Samples from files scored by a reference from files, whose one half shows what real images get beside the other."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffjax.commands.file_pair import Sides, halves, source_of
from diffjax.evaluation.feature_measures import measured_in, pairs_in
from diffjax.evaluation.features import Features, extracted
from diffjax.evaluation.frechet_distance import Moments, frechet_of, merge
from diffjax.evaluation.image_sources import Source, fingerprint
from diffjax.evaluation.jackknife import Replicates, replicates_of_moments
from diffjax.evaluation.paired import GROUPS, Measured
from diffjax.evaluation.reference_stats import (
    Tell,
    check_moments,
    fingerprint_of_moments,
    kept_moments,
    moments_of_parts,
)
from diffjax.evaluation.suite import kernels_for, nearest_images, resemblance
from diffjax.reports.evaluation_report import Report
from diffjax.reports.findings import findings_of
from diffjax.reports.image_grids import grid, side_by_side
from diffjax.reports.plots import write_png

LEVELS = 256  # of files
WIDEST = 4_096  # values of an image of which moments are taken: a covariance of 134 MB
SHOWN = 12  # samples above their nearest images
NONE = np.zeros(0)


def report_of(sides: Sides, features: Sequence[Features], out: Path, cache: Path | None, tell: Tell) -> Report:
    """Everything that can be told of samples in those features; the pictures for it are written into `out`.

    In each of the features: the Fréchet distance to one half of the reference, of samples beside as many images of the
    other half, and that of all samples to all of the reference, as it is published; both by moments, read a batch at a
    time (of features of more than `WIDEST` values: of at most `most` images, and not of all). Then KID, precision,
    recall, density and coverage of at most `most` images of a side, and of pixels what `resemblance` measures. Where
    the reference is moments there is the distance of all samples alone, without a floor. Moments of the reference are
    kept in `cache`, if given; `tell` is told what is left out. Raises UserError as the extractors do.
    """
    kernels = kernels_for(int(np.prod(sides.samples.shape[1:])))
    if isinstance(sides.reference, Moments):
        shown, own, findings = _fitting(sides.path, sides.reference, features, tell), "", None
        scores = [_to_moments(one, sides.samples, sides.reference) for one in shown]
        own = fingerprint_of_moments(sides.reference)
    else:
        shown, own = features, fingerprint(sides.reference)
        told = {"kernels": kernels, "draws": 1}
        scores = [_renamed(score) for score in resemblance(sides.some, sides.labels, sides.real, LEVELS, **told)]
        for one in features:
            scores += _in_features(one, sides, sides.reference, own, cache, tell)
        findings = findings_of(sides.some, sides.real, LEVELS, known="reference")
    title = f"Evaluation of {Path(sides.samples.name).name}"
    source = source_of(sides, shown, kernels, own)
    return Report(title, scores, source, findings, pictures=_pictures(sides, out))


def _fitting(path: str, reference: Moments, features: Sequence[Features], tell: Tell) -> list[Features]:
    shown = check_moments(path, reference, features)
    rest = [f"all in {one.name}" for one in features if one not in shown]
    left = " and ".join(["all but the Fréchet distance", *rest])
    tell(f"--reference {path} holds moments, not images: {left} is left out, and there is no floor")
    return shown


def _renamed(score: Measured) -> Measured:
    return replace(score, name="copies of reference images") if score.key == "copies" else score


def _in_features(
    features: Features, sides: Sides, reference: Source, own: str, cache: Path | None, tell: Tell
) -> list[Measured]:
    rows = [extracted(features, [part]) for part in (sides.some, sides.real["train"][0], sides.real["test"][0])]
    if features.dim > WIDEST:
        told = f"{features.dim:,} values are too many for moments of all images"
        tell(f"{features.name}: {told}; the Fréchet distance is of at most {sides.most:,} of a side")
        return measured_in(features.name, *rows)
    return _frechets(features, sides.samples, reference, own, cache, tell) + pairs_in(features.name, *rows)


def _frechets(
    features: Features, samples: Source, reference: Source, own: str, cache: Path | None, tell: Tell
) -> list[Measured]:
    """To one half of the reference, of as many samples as the other half has at most; and of all to all."""
    places, (half, other) = np.arange(reference.shape[0]), halves(reference.shape[0])
    equal = min(samples.shape[0], len(half))
    parts = {
        "all": np.ones(len(places), bool),
        "one half": np.isin(places, other),
        f"{equal:,} of the other half": np.isin(places, np.random.default_rng(2).permutation(half)[:equal]),
    }
    everything, theirs, real = kept_moments(features, reference, own, parts, cache, tell)
    ours, whole = _groups(features, samples, equal)
    floor = Replicates(frechet_of(real, theirs), NONE, NONE)
    return [
        _frechet(features, replicates_of_moments(frechet_of, ours, theirs), floor),
        _frechet_of_all(features, replicates_of_moments(frechet_of, whole, everything)),
    ]


def _to_moments(features: Features, samples: Source, reference: Moments) -> Measured:
    _, whole = _groups(features, samples, samples.shape[0])
    return _frechet_of_all(features, replicates_of_moments(frechet_of, whole, reference))


def _frechet(features: Features, found: Replicates, real: Replicates) -> Measured:
    name = f"Fréchet distance of {features.name}"
    return Measured("frechet", name, features.name, found, real, "as real, lower is better", ".4g")


def _frechet_of_all(features: Features, found: Replicates) -> Measured:
    """Without a floor: as many images that the reference has not do not exist."""
    name, none = f"Fréchet distance of {features.name}, all images", Replicates(float("nan"), NONE, NONE)
    return Measured("frechet_all", name, features.name, found, none, "lower is better", ".4g")


def _groups(features: Features, samples: Source, equal: int) -> tuple[list[Moments], list[Moments]]:
    """The moments of `equal` samples at random, dealt into groups, and those of all in groups that hold these."""
    place = np.argsort(np.random.default_rng(0).permutation(samples.shape[0]))
    parts = [(place < equal) & (place % GROUPS == group) for group in range(GROUPS)]
    others = [(place >= equal) & (place % GROUPS == group) for group in range(GROUPS)]
    more = [group for group in range(GROUPS) if others[group].any()]
    found = moments_of_parts(features, samples, [*parts, *(others[group] for group in more)])
    ours, rest = found[:GROUPS], dict(zip(more, found[GROUPS:], strict=True))
    return ours, [merge(own, rest[group]) if group in rest else own for group, own in enumerate(ours)]


def _pictures(sides: Sides, out: Path) -> dict[str, Path]:
    """Some samples, and where there are images some above the nearest of one half of the reference."""
    made = {"Samples": ("grid.png", grid(sides.some[:: max(1, len(sides.some) // 100)][:100], 10))}
    if not isinstance(sides.reference, Moments):
        few = sides.some[:: max(1, len(sides.some) // SHOWN)][:SHOWN]
        near, _ = nearest_images(few, sides.real, LEVELS)
        shown = side_by_side(few, near, SHOWN, names=("sample", "nearest"))
        made["Samples above their nearest reference images"] = ("nearest.png", shown)
    for name, picture in made.values():
        write_png(out / name, picture)
    return {caption: out / name for caption, (name, _) in made.items()}
