"""The two sides of a comparison of files: samples of any model, and a reference that is split into halves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from diffjax.errors import UserError
from diffjax.evaluation.features import MAX_TEXT_BYTES, Features, describe_features
from diffjax.evaluation.frechet_distance import Moments
from diffjax.evaluation.image_sources import ImageSource, fingerprint, open_images, open_reference
from diffjax.evaluation.npz import read_npz
from diffjax.evaluation.paired import MIN_IMAGES
from diffjax.evaluation.pixels import Splits
from diffjax.evaluation.reference_stats import select_images
from diffjax.evaluation.suite import Kernels
from diffjax.reports.evaluation_report import Provenance
from diffjax.utils.image_io import format_size

MIN_SIDE_PIXELS = 4  # pixels of a side
MAX_TEXT = 60  # letters of a value of provenance

Places = Integer[np.ndarray, " _"]


@dataclass(frozen=True)
class FilePair:
    """Samples and their reference; see `open_pair`."""

    samples: ImageSource
    reference: ImageSource | Moments
    path: str  # of the reference
    max_images: int  # of a side, for scores of all pairs
    sample_images: UInt8[np.ndarray, "_ _ _ _"]  # at most that many
    labels: Integer[np.ndarray, " _"] | None
    real: Splits  # halves of the reference: "train" and "test"; for moments "train" has the samples

    @property
    def sources(self) -> list[ImageSource]:
        """The sides that images can be read from, the samples first."""
        return [side for side in (self.samples, self.reference) if not isinstance(side, Moments)]


def open_pair(samples: str | Path, reference: str | Path, limit: int, out: str | Path) -> FilePair:
    """Open and check both sides, and read at most `limit` samples, and as many images of either half of the reference.

    See `open_images` and `open_reference` for what may be given. Raises UserError for sides that cannot be compared: of
    other image sizes, with fewer than `MIN_IMAGES` samples, or fewer than twice as many reference images; and where
    the pictures of a report in `out` would become images of a side.
    """
    if limit < MIN_IMAGES:
        raise UserError(f"--most: expected {MIN_IMAGES} or more, for confidence intervals, got {limit}")
    sample_source = open_images(samples)
    reference_source = open_reference(reference)
    _check_samples(sample_source, out)
    if not isinstance(reference_source, Moments):
        _check_reference(sample_source, reference_source, out)
    images, labels = _read_images(sample_source, evenly_spaced(np.arange(sample_source.shape[0]), limit))
    real: Splits = {"train": (images, None)}
    if not isinstance(reference_source, Moments):
        train, test = (
            _labels_of_classes(*_read_images(reference_source, evenly_spaced(half, limit)))
            for half in split_half(reference_source.shape[0])
        )
        real = {"train": train, "validation": test, "test": test}
    return FilePair(sample_source, reference_source, str(reference), limit, images, labels, real)


def default_report_dir(samples: str | Path) -> Path:
    """The folder of a report: "evaluation" beside a file, "x-evaluation" beside a folder x, so that it is not in it."""
    path = Path(samples).absolute()
    return path.with_name(f"{path.name}-evaluation") if path.is_dir() else path.parent / "evaluation"


def split_half(count: int) -> tuple[Places, Places]:
    """The places of two random halves of `count` images, the first never the larger; equal for equal counts."""
    order = np.random.default_rng(1).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def evenly_spaced(places: Places, max_count: int) -> Places:
    """At most `max_count` evenly spaced places."""
    return places[np.linspace(0, len(places) - 1, min(len(places), max_count)).round().astype(int)]


def pair_provenance(sides: FilePair, features: Sequence[Features], kernels: Kernels, reference_hash: str) -> Provenance:
    """Where the scores come from; `reference_hash` is the SHA-256 of the reference."""
    count = sides.samples.shape[0]
    reference = sides.reference
    details = {"samples sha256": fingerprint(sides.samples), "reference from": sides.path}
    if isinstance(reference, Moments):
        details["reference of"] = f"{reference.rows:,} images" if reference.rows else "an unknown number of images"
    else:
        half = reference.shape[0] // 2
        equal = min(count, half)
        second_half = reference.shape[0] - half
        details["halves"] = (
            f"{equal:,} samples, and as many reference images, each compared with {second_half:,} others"
        )
    limits = f"pairs of at most {sides.max_images:,} of a side"
    details |= {
        f"features {feature_set.name}": f"{describe_features(feature_set)}, {limits}" for feature_set in features
    }
    counts = {} if isinstance(reference, Moments) else {"reference": reference.shape[0]}
    return Provenance(count, _read_provenance(sides.samples.name), counts, reference_hash[:12], kernels, details)


def _read_provenance(path: str) -> str:
    """A file of samples, and what it says of its making, as `sample.py` writes it."""
    stored = None if Path(path).is_dir() else read_npz(path, ("provenance",), MAX_TEXT_BYTES).get("provenance")
    try:
        document: object = json.loads(str(stored)) if stored is not None else {}
    except (ValueError, RecursionError):
        document = {}
    if not isinstance(document, dict):
        document = {}
    parts = [f"{name} {value}"[:MAX_TEXT] for name, value in document.items() if isinstance(value, str | int | float)]
    return " ".join(", ".join([path, *parts[:12]]).split())


def _check_not_within(source: ImageSource, out: str | Path) -> None:
    if Path(source.name).is_dir() and Path(out).resolve().is_relative_to(Path(source.name).resolve()):
        raise UserError(f"--out {out}: lies in {source.name}, whose pictures its own would join; choose another")


def _check_samples(source: ImageSource, out: str | Path) -> None:
    _check_not_within(source, out)
    if source.shape[0] < MIN_IMAGES:
        raise UserError(f"--samples {source.name}: {source.shape[0]} images; give {MIN_IMAGES} or more")
    if min(source.shape[1:3]) < MIN_SIDE_PIXELS:
        raise UserError(
            f"--samples {source.name}: images are {_describe_images(source)}; give {MIN_SIDE_PIXELS} pixels a side "
            "or more"
        )


def _check_reference(source: ImageSource, reference: ImageSource, out: str | Path) -> None:
    _check_not_within(reference, out)
    if reference.shape[0] < 2 * MIN_IMAGES:
        problem = f"{reference.shape[0]} images; give {2 * MIN_IMAGES} or more, as one half is compared with the other"
        raise UserError(f"--reference {reference.name}: {problem}")
    if source.shape[1:] != reference.shape[1:]:
        sizes = f"{_describe_images(source)}, and of --reference {reference.name} {_describe_images(reference)}"
        problem = f"images of {source.name} are {sizes}"
        raise UserError(f"--samples {problem}; bring them to one size")


def _describe_images(source: ImageSource) -> str:
    _, height, width, channels = source.shape
    return f"{format_size(height, width)}, {'grey' if channels == 1 else 'RGB'}"


def _read_images(source: ImageSource, places: Places) -> tuple[np.ndarray, np.ndarray | None]:
    return select_images(source, places), None if source.labels is None else source.labels[places]


def _labels_of_classes(images: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Without labels that are all one."""
    return images, None if labels is None or len(np.unique(labels)) < 2 else labels
