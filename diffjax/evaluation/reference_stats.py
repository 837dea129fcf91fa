"""Moments of the features of many images, computed batch by batch, and a cache of those of reference images."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from diffjax.errors import UserError
from diffjax.evaluation.features import MAX_TEXT_BYTES, UNKNOWN, Features, describe_features, extract_features
from diffjax.evaluation.frechet_distance import Moments, gather_moments_of_each, read_moments, write_moments
from diffjax.evaluation.image_sources import Images, ImageSource
from diffjax.evaluation.npz import read_npz

BATCH = 1_024  # images per batch, or as many as `BATCH_BYTES` hold
BATCH_BYTES = 2**28

Notify = Callable[[str], object]  # receives a line for people
Part = Bool[np.ndarray, " _"]  # which images of a source


def in_batches(source: ImageSource) -> Iterator[Images]:
    """All images of a source, in batches of bounded memory."""
    return source.batches(max(1, min(BATCH, BATCH_BYTES // int(np.prod(source.shape[1:])))))


def select_images(source: ImageSource, places: np.ndarray) -> Images:
    """The images of a source at these indices, in ascending order."""
    selected = np.isin(np.arange(source.shape[0]), places)
    parts = [batch[selected[at : at + len(batch)]] for at, batch in _batches_with_offsets(source)]
    return np.concatenate(parts)


def moments_of_parts(features: Features, source: ImageSource, parts: Sequence[Part]) -> list[Moments]:
    """Moments of the features of parts of a source, which may overlap; every image is read and extracted once.

    Raises UserError for a part without images, and as the extractor does.
    """

    def batches() -> Iterator[list[np.ndarray]]:
        for at, batch in _batches_with_offsets(source):
            rows = extract_features(features, [batch])
            yield [rows[part[at : at + len(batch)]] for part in parts]

    return gather_moments_of_each(batches(), len(parts))


def cached_moments(
    features: Features, source: ImageSource, sha: str, parts: Mapping[str, Part], cache: str | Path | None, tell: Notify
) -> list[Moments]:
    """`moments_of_parts` of the images whose `fingerprint` is `sha`, read from the folder `cache` where it has them.

    Missing moments are computed and written, atomically, one file per part, named by a hash of features, resize rule,
    fingerprint and the part's name; results are equal bit for bit. Damaged files are reported to `tell` and computed
    anew. Features of unknown origin are not cached, since they cannot be identified.
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
    """The features that the moments of a file can be of, by their dimension and by the file's description, if any.

    Raises UserError, naming the file, if there are none.
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
    """SHA-256 of mean and covariance."""
    return hashlib.sha256(moments.mean.tobytes() + np.ascontiguousarray(moments.covariance).tobytes()).hexdigest()


def _batches_with_offsets(source: ImageSource) -> Iterator[tuple[int, Images]]:
    """Batches, each with the index of its first image."""
    at = 0
    for batch in in_batches(source):
        yield at, batch
        at += len(batch)


def _cache_path(cache: str | Path, of: str) -> Path:
    return Path(cache) / f"{hashlib.sha256(of.encode()).hexdigest()[:40]}.npz"


def _read_cached(path: Path, of: str, tell: Notify) -> Moments | None:
    if not path.exists():
        return None
    try:
        return read_moments(path, of)
    except UserError as damage:
        tell(f"{damage}; it is computed anew")
        return None
