"""Two sides that are compared, from files: samples of any model, and a reference that is split in halves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from diffjax.errors import UserError
from diffjax.evaluation.features import MAX_TEXT_BYTES, Features, described
from diffjax.evaluation.frechet_distance import Moments
from diffjax.evaluation.image_sources import Source, fingerprint, open_images, open_reference
from diffjax.evaluation.npz import read_npz
from diffjax.evaluation.paired import LEAST
from diffjax.evaluation.pixels import Splits
from diffjax.evaluation.reference_stats import picked
from diffjax.evaluation.suite import Kernels
from diffjax.reports.evaluation_report import Provenance

SMALLEST = 4  # pixels of a side
LONGEST = 60  # letters of a value that a file of samples says of itself

Places = Integer[np.ndarray, " _"]


@dataclass(frozen=True)
class Sides:
    """Samples, and what they are judged by; `open_sides` makes it."""

    samples: Source
    reference: Source | Moments
    path: str  # of the reference
    most: int  # images of a side of which all pairs are compared
    some: UInt8[np.ndarray, "_ _ _ _"]  # so many samples at most
    labels: Integer[np.ndarray, " _"] | None  # theirs
    real: Splits  # of the reference "train", one half, and "test", the other; of moments "train" holds samples

    @property
    def sources(self) -> list[Source]:
        """All that images can be read from, the samples first."""
        return [side for side in (self.samples, self.reference) if not isinstance(side, Moments)]


def open_sides(samples: str | Path, reference: str | Path, most: int, out: str | Path) -> Sides:
    """Opens and checks both sides, and reads at most `most` samples, and as many images of either half of a reference.

    See `open_images` and `open_reference` for what may be given. Raises UserError for what cannot be compared: other
    sizes, fewer than `LEAST` samples, or fewer than twice as many reference images; and where the pictures of a report
    in `out` would become images of a side.
    """
    if most < LEAST:
        raise UserError(f"--most is {most}: give {LEAST} or more, as intervals need")
    ours, theirs = open_images(samples), open_reference(reference)
    _check_samples(ours, out)
    if isinstance(theirs, Moments):
        some, labels = _part(ours, evenly(np.arange(ours.shape[0]), most))
        return Sides(ours, theirs, str(reference), most, some, labels, {"train": (some, None)})
    _check_reference(ours, theirs, out)
    some, labels = _part(ours, evenly(np.arange(ours.shape[0]), most))
    real, other = (_of_classes(*_part(theirs, evenly(half, most))) for half in halves(theirs.shape[0]))
    return Sides(ours, theirs, str(reference), most, some, labels, {"train": real, "validation": other, "test": other})


def beside(samples: str | Path) -> Path:
    """The folder for a report: "evaluation" beside a file; beside a folder x "x-evaluation", as it must not join it."""
    path = Path(samples).absolute()
    return path.with_name(f"{path.name}-evaluation") if path.is_dir() else path.parent / "evaluation"


def halves(count: int) -> tuple[Places, Places]:
    """The places of either half of so many images, at random, the first never the larger; the same for one count."""
    order = np.random.default_rng(1).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def evenly(places: Places, most: int) -> Places:
    """At most so many of the places, evenly chosen."""
    return places[np.linspace(0, len(places) - 1, min(len(places), most)).round().astype(int)]


def source_of(sides: Sides, features: Sequence[Features], kernels: Kernels, own: str) -> Provenance:
    """Where the scores come from; `own` is the SHA-256 of the reference."""
    count, reference = sides.samples.shape[0], sides.reference
    told = {"samples sha256": fingerprint(sides.samples), "reference from": sides.path}
    if isinstance(reference, Moments):
        told["reference of"] = f"{reference.rows:,} images" if reference.rows else "an unknown number of images"
    else:
        half = reference.shape[0] // 2
        equal, other = min(count, half), reference.shape[0] - half
        told["halves"] = f"{equal:,} samples, and as many reference images, each compared with {other:,} others"
    limits = f"pairs of at most {sides.most:,} of a side"
    told |= {f"features {one.name}": f"{described(one)}, {limits}" for one in features}
    counts = {} if isinstance(reference, Moments) else {"reference": reference.shape[0]}
    return Provenance(count, _made(sides.samples.name), counts, own[:12], kernels, told)


def _made(path: str) -> str:
    """A file of samples, and what it says of its making, as `sample.py` writes it."""
    given = None if Path(path).is_dir() else read_npz(path, ("provenance",), MAX_TEXT_BYTES).get("provenance")
    try:
        said: Any = json.loads(str(given)) if given is not None else {}
    except (ValueError, RecursionError):
        said = {}
    if not isinstance(said, dict):
        said = {}
    parts = [f"{name} {value}"[:LONGEST] for name, value in said.items() if isinstance(value, str | int | float)]
    return " ".join(", ".join([path, *parts[:12]]).split())


def _check_apart(source: Source, out: str | Path) -> None:
    if Path(source.name).is_dir() and Path(out).resolve().is_relative_to(Path(source.name).resolve()):
        raise UserError(f"--out {out}: lies in {source.name}, whose pictures its own would join; choose another")


def _check_samples(ours: Source, out: str | Path) -> None:
    _check_apart(ours, out)
    if ours.shape[0] < LEAST:
        raise UserError(f"--samples {ours.name}: {ours.shape[0]} images; give {LEAST} or more")
    if min(ours.shape[1:3]) < SMALLEST:
        raise UserError(f"--samples {ours.name}: images of {_size(ours)}; give {SMALLEST}x{SMALLEST} pixels or more")


def _check_reference(ours: Source, theirs: Source, out: str | Path) -> None:
    _check_apart(theirs, out)
    if theirs.shape[0] < 2 * LEAST:
        told = f"{theirs.shape[0]} images; give {2 * LEAST} or more, as one half is compared with the other"
        raise UserError(f"--reference {theirs.name}: {told}")
    if ours.shape[1:] != theirs.shape[1:]:
        told = f"{ours.name} holds images of {_size(ours)}, --reference {theirs.name} of {_size(theirs)}"
        raise UserError(f"--samples {told}; bring them to one size")


def _size(source: Source) -> str:
    _, height, width, channels = source.shape
    return f"{width}x{height} pixels, {'grey' if channels == 1 else 'RGB'}"


def _part(source: Source, places: Places) -> tuple[np.ndarray, np.ndarray | None]:
    return picked(source, places), None if source.labels is None else source.labels[places]


def _of_classes(images: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Without labels that are all one."""
    return images, None if labels is None or len(np.unique(labels)) < 2 else labels
