"""Feature extractors: functions from images to points, with the provenance that decides whether scores are comparable.

A new extractor is a function that returns a `Features`. That of a network has the hash of its weights, its resize rule,
and a function that applies it to a batch.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer, UInt8

from diffjax.errors import UserError
from diffjax.evaluation.classifiers import label_classifier
from diffjax.evaluation.image_sources import ImageSource, image_hashes
from diffjax.evaluation.npz import read_npy, read_npz
from diffjax.evaluation.pairwise import validate_points
from diffjax.evaluation.suite import kernels_for
from diffjax.utils.files import write_atomically

MAX_BYTES = 2**32  # of an array of features
MAX_TEXT_BYTES = 2**14  # of their description
UNKNOWN = "unknown"  # hash and resize rule of features without a description

Images = UInt8[np.ndarray, "_ _ _ _"]
Table = Float[np.ndarray, "_ _"]


class Features(NamedTuple):
    """A feature extractor. Scores are comparable only at equal name, hash and resize rule."""

    name: str
    hash: str  # SHA-256 of everything that the points depend on beside the image
    resize: str  # the rule that resizes images for the extractor
    dim: int
    extract: Callable[[Images], Table]  # uint8 [n, h, w, c], 0 … 255, to [n, dim]


class StoredFeatures(NamedTuple):
    """The features of one file; see `read_features`."""

    rows: Table
    name: str
    hash: str
    resize: str
    images: UInt8[np.ndarray, "_ 32"] | None  # `image_hashes` of the images, if stored


def describe_features(features: Features) -> str:
    """Name, dimension, resize rule and hash in one line."""
    return f"{features.name}, {features.dim} values, resize {features.resize}, sha256 {features.hash}"


def extract_features(features: Features, batches: Iterable[Images]) -> Table:
    """The points of all images, [n, dim]; raises UserError if the extractor returns NaN or another shape."""
    tables = [_validate_features(features, batch) for batch in batches]
    if not tables:
        raise UserError(f"{features.name}: no images to take features of; give at least one")
    return np.concatenate(tables)


def pixel_features(shape: tuple[int, int, int]) -> Features:
    """The pixels as fractions in [0, 1] in float32, of images of one shape (height, width, channels)."""

    def extract(images: Images) -> Table:
        if images.shape[1:] != shape:
            problem = f"{images.shape[1:]} (height, width, channels), expected {shape}"
            raise UserError(f"pixels: images are {problem}; compare images of one size")
        return images.reshape(len(images), -1) / np.float32(255)

    rule = f"level / 255 of {shape[0]}x{shape[1]}x{shape[2]}"
    return Features("pixels", hashlib.sha256(rule.encode()).hexdigest(), "none", prod(shape), extract)


def classifier_features(images: Images, labels: Integer[np.ndarray, " _"], gamma: float | None = None) -> Features:
    """The decision values [n, classes] of the classifier of label accuracy, trained here on real images.

    Two classes have one value. `gamma` is that of its kernel, for pixels in [0, 1]; by default that of `kernels_for`.
    So few dimensions suit sets of some hundred images, but they measure classes rather than quality: on small sets
    distances in them vary more than those of pixels.
    """
    shape = (images.shape[1], images.shape[2], images.shape[3])
    pixels = pixel_features(shape)
    if gamma is None:
        gamma = kernels_for(prod(shape)).accuracy_gamma
    classifier = label_classifier(pixels.extract(images), labels, gamma)

    def extract(batch: Images) -> Table:
        return classifier.decision_function(pixels.extract(batch)).reshape(len(batch), -1)

    rule = f"{pixels.hash} {gamma!r} {image_hashes(images).tobytes().hex()} {labels.astype(np.int64).tolist()}"
    dim = extract(images[:1]).shape[1]
    return Features("classifier", hashlib.sha256(rule.encode()).hexdigest(), "none", dim, extract)


def precomputed_features(*paths: str | Path, sources: Sequence[ImageSource] = ()) -> Features:
    """Features that were computed elsewhere, by one extractor, from files that `read_features` reads.

    A file with image hashes serves these images, in any batches. The rows of a file without are those of the first of
    `sources` with as many images that no earlier file has taken, or else of any batch of as many images, in its order.
    Raises UserError for images in no file or in more than one, and for files of different extractors.
    """
    by_path = _with_image_hashes({str(path): read_features(path) for path in paths}, sources)
    if not by_path:
        raise UserError("no file of features: give one for the samples and one for the reference")
    first, reference = next(iter(by_path.items()))
    for path, other in by_path.items():
        if (other.name, other.hash, other.resize, other.rows.shape[1]) != (*reference[1:4], reference.rows.shape[1]):
            raise UserError(f"{path}: features of another extractor than those of {first}; compare like with like")
    hashed = [(x.images, x.rows) for x in by_path.values() if x.images is not None]
    row_of_hash = {
        image_hash.tobytes(): row for images, rows in hashed for image_hash, row in zip(images, rows, strict=True)
    }

    def extract(images: Images) -> Table:
        rows = [row_of_hash.get(image_hash.tobytes()) for image_hash in image_hashes(images)]
        matches = [row for row in rows if row is not None]
        if len(matches) == len(rows) > 0:
            return np.stack(matches)
        complete = [x.rows for x in by_path.values() if x.images is None and len(x.rows) == len(images)]
        if len(complete) != 1:
            missing = f"{len(rows) - len(matches):,} of {len(images):,} images have no features in {', '.join(by_path)}"
            raise UserError(f"{missing}; store theirs as well, or as many rows as images, and give them all at once")
        return complete[0]

    return Features(reference.name, reference.hash, reference.resize, reference.rows.shape[1], extract)


def write_features(path: str | Path, features: Features, batches: Iterable[Images]) -> None:
    """Writes npz: `features` [n, d], `images` (their hashes), and `about` (the extractor, as JSON)."""
    parts = [(_validate_features(features, batch), image_hashes(batch)) for batch in batches]
    if not parts:
        raise UserError(f"{path}: no images to take features of; give at least one")
    rows, images = (np.concatenate(part) for part in zip(*parts, strict=True))
    about = {"name": features.name, "hash": features.hash, "resize": features.resize}
    buffer = io.BytesIO()
    np.savez(buffer, features=rows, images=images, about=np.array(json.dumps(about)))
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def read_features(path: str | Path) -> StoredFeatures:
    """Features [n, d] in floats, from an npy file, an npz file of `write_features`, or one with `arr_0`.

    Without a description the extractor is "precomputed", its hash and resize rule "unknown". Nothing is unpickled.
    Raises UserError, naming the file, for anything else, and for arrays above `MAX_BYTES`.
    """
    arrays = _read_arrays(path)
    if not arrays.keys() & {"features", "arr_0"}:
        raise UserError(f"{path}: has neither features nor arr_0; save the table [n, d] as features")
    rows = arrays["features" if "features" in arrays else "arr_0"]
    images = arrays.get("images")
    if rows.dtype not in (np.float32, np.float64) or rows.ndim != 2:
        raise UserError(f"{path}: features of shape {rows.shape} and type {rows.dtype}; give float32 or float64 [n, d]")
    if images is not None and (images.dtype != np.uint8 or images.shape != (len(rows), 32)):
        raise UserError(f"{path}: images is {images.shape} {images.dtype}; give a SHA-256, uint8 [n, 32], for each row")
    about = _parse_metadata(path, arrays["about"]) if "about" in arrays else {}
    return StoredFeatures(
        rows=validate_points(str(path), rows, 1),
        name=about.get("name", "precomputed"),
        hash=about.get("hash", UNKNOWN),
        resize=about.get("resize", UNKNOWN),
        images=images,
    )


def _with_image_hashes(
    by_path: Mapping[str, StoredFeatures], sources: Sequence[ImageSource]
) -> dict[str, StoredFeatures]:
    """The files, those without image hashes completed by the hashes of a source with as many images."""
    result = {}
    remaining = list(sources)
    for path, features_file in by_path.items():
        at = next((at for at, source in enumerate(remaining) if source.shape[0] == len(features_file.rows)), None)
        if features_file.images is None and at is not None:
            features_file = features_file._replace(
                images=np.concatenate([image_hashes(batch) for batch in remaining.pop(at).batches(256)])
            )
        result[path] = features_file
    return result


def _read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    if Path(path).suffix.lower() == ".npy":
        return {"arr_0": read_npy(path, MAX_BYTES)}
    return read_npz(path, ("features", "arr_0", "images"), MAX_BYTES) | read_npz(path, ("about",), MAX_TEXT_BYTES)


def _parse_metadata(path: str | Path, text: np.ndarray) -> dict[str, str]:
    try:
        about = json.loads(str(text))
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise UserError(f"{path}: does not say in JSON what its features are of; write it again")
    return about


def _validate_features(features: Features, images: Images) -> Table:
    rows = validate_points(features.name, features.extract(images), len(images))
    if rows.shape != (len(images), features.dim):
        expected = f"{len(images)} images gave {rows.shape}, not {features.dim} values each"
        raise UserError(f"{features.name}: {expected}; correct the extractor")
    return rows
