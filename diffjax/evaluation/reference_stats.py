"""Moments of the features of many images, a batch at a time; those of a reference are computed once and kept."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from diffjax.errors import UserError
from diffjax.evaluation.features import MAX_TEXT_BYTES, UNKNOWN, Features, describe_features, extract_features
from diffjax.evaluation.frechet_distance import Moments, gather_moments_of_each, read_moments, write_moments
from diffjax.evaluation.image_sources import Images, ImageSource
from diffjax.evaluation.npz import read_npz

BATCH = 1_024  # images at once, or as many as `BATCH_BYTES` hold
BATCH_BYTES = 2**28

Notify = Callable[[str], object]  # what to do with a line for people
Part = Bool[np.ndarray, " _"]  # which images of a source


def in_batches(source: ImageSource) -> Iterator[Images]:
    """All images of a source, as many at once as go well into memory."""
    return source.batches(max(1, min(BATCH, BATCH_BYTES // int(np.prod(source.shape[1:])))))


def select_images(source: ImageSource, places: np.ndarray) -> Images:
    """The images at those places of a source, in the order of the source."""
    selected = np.isin(np.arange(source.shape[0]), places)
    parts = [batch[selected[at : at + len(batch)]] for at, batch in _batches_with_offsets(source)]
    return np.concatenate(parts)


def moments_of_parts(features: Features, source: ImageSource, parts: Sequence[Part]) -> list[Moments]:
    """The moments of features of parts of a source, which may overlap; every image is read and looked at once.

    Raises UserError for a part without images, and for what the extractor refuses.
    """

    def batches() -> Iterator[list[np.ndarray]]:
        for at, batch in _batches_with_offsets(source):
            rows = extract_features(features, [batch])
            yield [rows[part[at : at + len(batch)]] for part in parts]

    return gather_moments_of_each(batches(), len(parts))


def cached_moments(
    features: Features, source: ImageSource, sha: str, parts: Mapping[str, Part], cache: str | Path | None, tell: Notify
) -> list[Moments]:
    """As `moments_of_parts`, of the images whose `fingerprint` is `sha`: from the folder `cache` what it has of them.

    What it has not is written into it, a file for each part, whole or not at all, by the hash of features, resize
    rule, fingerprint and the part's name. So a result is the same to the bit however it comes. `tell` is told of a
    file that is damaged; it is made anew. Features of unknown origin are not kept, as nobody could tell them apart.
    """
    if cache is None or features.hash == UNKNOWN:
        return moments_of_parts(features, source, list(parts.values()))
    origins = {
        name: f"{describe_features(features)}; {name} of {source.shape[0]:,} images, sha256 {sha}" for name in parts
    }
    moments_of = {name: _read_cached(_cache_path(cache, of), of, tell) for name, of in origins.items()}
    missing = [name for name in parts if moments_of[name] is None]
    if missing:
        computed = moments_of_parts(features, source, [parts[name] for name in missing])
        for name, moments in zip(missing, computed, strict=True):
            write_moments(_cache_path(cache, origins[name]), moments, origins[name])
            moments_of[name] = moments
    return [moments for moments in moments_of.values() if moments is not None]


def check_moments(path: str | Path, moments: Moments, features: Sequence[Features]) -> list[Features]:
    """Those of the features that a file of moments can be of.

    They have as many values, and are those that it says it is of, if it says so. Raises UserError, naming the file,
    where there are none.
    """
    origin = read_npz(path, ("of",), MAX_TEXT_BYTES).get("of")
    of = "" if origin is None else str(origin)
    fitting = [
        candidate
        for candidate in features
        if candidate.dim == len(moments.mean) and of.startswith(describe_features(candidate) if of else "")
    ]
    if not fitting:
        description = of.partition(";")[0][:200] or f"features of {len(moments.mean):,} values"
        have = ", ".join(f"{candidate.name} ({candidate.dim:,} values)" for candidate in features)
        raise UserError(
            f"--reference {path}: moments of {description}, but compared is in {have}; add --inception, or images"
        )
    return fitting


def fingerprint_of_moments(moments: Moments) -> str:
    """The SHA-256 of their values."""
    return hashlib.sha256(moments.mean.tobytes() + np.ascontiguousarray(moments.covariance).tobytes()).hexdigest()


def _batches_with_offsets(source: ImageSource) -> Iterator[tuple[int, Images]]:
    """Batches, each with the place of its first image."""
    at = 0
    for batch in in_batches(source):
        yield at, batch
        at += len(batch)


def _cache_path(cache: Any, of: str) -> Path:
    return Path(cache) / f"{hashlib.sha256(of.encode()).hexdigest()[:40]}.npz"


def _read_cached(path: Path, of: str, tell: Notify) -> Moments | None:
    if not path.exists():
        return None
    try:
        return read_moments(path, of)
    except UserError as damage:
        tell(f"{damage}; it is computed anew")
        return None
