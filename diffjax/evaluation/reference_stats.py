"""Moments of the features of many images, a batch at a time; those of a reference are computed once and kept."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from diffjax.errors import UserError
from diffjax.evaluation.features import MAX_TEXT_BYTES, UNKNOWN, Features, described, extracted
from diffjax.evaluation.frechet_distance import Moments, gather_each, read_moments, write_moments
from diffjax.evaluation.image_sources import Images, Source
from diffjax.evaluation.npz import read_npz

BATCH = 1_024  # images at once, or as many as `BATCH_BYTES` hold
BATCH_BYTES = 2**28

Tell = Callable[[str], object]  # what to do with a line for people
Part = Bool[np.ndarray, " _"]  # which images of a source


def in_batches(source: Source) -> Iterator[Images]:
    """All images of a source, as many at once as go well into memory."""
    return source.batches(max(1, min(BATCH, BATCH_BYTES // int(np.prod(source.shape[1:])))))


def picked(source: Source, which: np.ndarray) -> Images:
    """The images at those places of a source, in the order of the source."""
    wanted = np.isin(np.arange(source.shape[0]), which)
    found = [batch[wanted[at : at + len(batch)]] for at, batch in _placed(source)]
    return np.concatenate(found)


def moments_of_parts(features: Features, source: Source, parts: Sequence[Part]) -> list[Moments]:
    """The moments of features of parts of a source, which may overlap; every image is read and looked at once.

    Raises UserError for a part without images, and for what the extractor refuses.
    """

    def batches() -> Iterator[list[np.ndarray]]:
        for at, batch in _placed(source):
            rows = extracted(features, [batch])
            yield [rows[part[at : at + len(batch)]] for part in parts]

    return gather_each(batches(), len(parts))


def kept_moments(
    features: Features, source: Source, own: str, parts: Mapping[str, Part], cache: str | Path | None, tell: Tell
) -> list[Moments]:
    """As `moments_of_parts`, of the images whose `fingerprint` is `own`: from the folder `cache` what it has of them.

    What it has not is written into it, a file for each part, whole or not at all, by the hash of features, resize
    rule, fingerprint and the part's name. So a result is the same to the bit however it comes. `tell` is told of a
    file that is damaged; it is made anew. Features of unknown origin are not kept, as nobody could tell them apart.
    """
    if cache is None or features.hash == UNKNOWN:
        return moments_of_parts(features, source, list(parts.values()))
    told = {name: f"{described(features)}; {name} of {source.shape[0]:,} images, sha256 {own}" for name in parts}
    found = {name: _kept(_place(cache, of), of, tell) for name, of in told.items()}
    missing = [name for name in parts if found[name] is None]
    if missing:
        made = moments_of_parts(features, source, [parts[name] for name in missing])
        for name, moments in zip(missing, made, strict=True):
            write_moments(_place(cache, told[name]), moments, told[name])
            found[name] = moments
    return [moments for moments in found.values() if moments is not None]


def check_moments(path: str | Path, moments: Moments, features: Sequence[Features]) -> list[Features]:
    """Those of the features that a file of moments can be of.

    They have as many values, and are those that it says it is of, if it says so. Raises UserError, naming the file,
    where there are none.
    """
    given = read_npz(path, ("of",), MAX_TEXT_BYTES).get("of")
    of = "" if given is None else str(given)
    fitting = [one for one in features if one.dim == len(moments.mean) and of.startswith(described(one) if of else "")]
    if not fitting:
        told = of.partition(";")[0][:200] or f"features of {len(moments.mean):,} values"
        have = ", ".join(f"{one.name} ({one.dim:,} values)" for one in features)
        raise UserError(f"--reference {path}: moments of {told}, but compared is in {have}; add --inception, or images")
    return fitting


def fingerprint_of_moments(moments: Moments) -> str:
    """The SHA-256 of their values."""
    return hashlib.sha256(moments.mean.tobytes() + np.ascontiguousarray(moments.covariance).tobytes()).hexdigest()


def _placed(source: Source) -> Iterator[tuple[int, Images]]:
    """Batches, each with the place of its first image."""
    at = 0
    for batch in in_batches(source):
        yield at, batch
        at += len(batch)


def _place(cache: Any, of: str) -> Path:
    return Path(cache) / f"{hashlib.sha256(of.encode()).hexdigest()[:40]}.npz"


def _kept(path: Path, of: str, tell: Tell) -> Moments | None:
    if not path.exists():
        return None
    try:
        return read_moments(path, of)
    except UserError as damage:
        tell(f"{damage}; it is computed anew")
        return None
