"""From images to points: the features in which images are compared, each with what makes scores comparable.

A new kind is a function that returns a `Features`: of a network, its weights' hash, its resize rule, and a function
that runs it over a batch. Nothing has to be told of it.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer, UInt8

from diffjax.errors import UserError
from diffjax.evaluation.classifiers import label_classifier
from diffjax.evaluation.frechet_distance import Moments, gather_moments
from diffjax.evaluation.image_sources import ImageSource, image_hashes
from diffjax.evaluation.npz import read_npy, read_npz
from diffjax.evaluation.pairwise import validate_points
from diffjax.evaluation.suite import kernels_for
from diffjax.utils.files import write_atomically

MAX_BYTES = 2**32  # of an array of features
MAX_TEXT_BYTES = 2**14  # of what is said of them
UNKNOWN = "unknown"  # what made features that do not say

Images = UInt8[np.ndarray, "_ _ _ _"]
Table = Float[np.ndarray, "_ _"]


class Features(NamedTuple):
    """What turns images into points. Scores compare only where name, hash and resize rule are the same."""

    name: str
    hash: str  # of all that the points depend on beside the image, as SHA-256
    resize: str  # the rule by which images come to the extractor's size
    dim: int
    extract: Callable[[Images], Table]  # uint8 [n, h, w, c], 0 … 255, to [n, dim]


class StoredFeatures(NamedTuple):
    """The features of one file; see `read_features`."""

    rows: Table
    name: str
    hash: str
    resize: str
    images: UInt8[np.ndarray, "_ 32"] | None  # `image_hashes` of the images that they are of, where it says


def describe_features(features: Features) -> str:
    """The features in one line, for a report or as what moments are of."""
    return f"{features.name}, {features.dim} values, resize {features.resize}, sha256 {features.hash}"


def extract_features(features: Features, batches: Iterable[Images]) -> Table:
    """The points of all images, [n, dim]; raises UserError where the extractor gives NaN or another shape."""
    tables = [_validate_features(features, batch) for batch in batches]
    if not tables:
        raise UserError(f"{features.name}: no images to take features of; give at least one")
    return np.concatenate(tables)


def feature_moments(features: Features, batches: Iterable[Images]) -> Moments:
    """The moments of the points of all images, of which one batch is held at a time."""
    return gather_moments(_validate_features(features, batch) for batch in batches)


def pixel_features(shape: tuple[int, int, int]) -> Features:
    """The pixels themselves, as fractions in [0, 1] in float32, of images of one shape (height, width, channels)."""

    def extract(images: Images) -> Table:
        _check_shape("pixels", images, shape)
        return images.reshape(len(images), -1) / np.float32(255)

    rule = f"level / 255 of {shape[0]}x{shape[1]}x{shape[2]}"
    return Features("pixels", hashlib.sha256(rule.encode()).hexdigest(), "none", prod(shape), extract)


def classifier_features(images: Images, labels: Integer[np.ndarray, " _"], gamma: float | None = None) -> Features:
    """What the classifier of label accuracy, trained here on real images, says of each class: [n, classes].

    Its decision values before the largest is taken (of two classes, the one value). `gamma` is its kernel's, for
    pixels in [0, 1]; by default that of `kernels_for`. So few dimensions suit sets of some hundred images; they see
    classes, not quality: on small sets distances in them scatter more than those of pixels do.
    """
    shape = (images.shape[1], images.shape[2], images.shape[3])
    pixels, gamma = pixel_features(shape), kernels_for(prod(shape)).accuracy_gamma if gamma is None else gamma
    classifier = label_classifier(pixels.extract(images), labels, gamma)

    def extract(batch: Images) -> Table:
        return classifier.decision_function(pixels.extract(batch)).reshape(len(batch), -1)

    rule = f"{pixels.hash} {gamma!r} {image_hashes(images).tobytes().hex()} {labels.astype(np.int64).tolist()}"
    dim = extract(images[:1]).shape[1]
    return Features("classifier", hashlib.sha256(rule.encode()).hexdigest(), "none", dim, extract)


def precomputed_features(*paths: str | Path, sources: Sequence[ImageSource] = ()) -> Features:
    """Features that were computed elsewhere, of one extractor, from files as `read_features` reads them.

    A file that says of which images it is serves any of them, in any batches; of one that does not say, the rows are
    taken to be those of as many images, in their order, all at once; or, of `sources`, those of the first with as
    many that no file before it is of. Raises UserError for images that no file, or more than one, is of, and for files
    of different extractors.
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
    """Writes the features of images as npz: `features` [n, d], the hashes of the images, and as JSON the extractor."""
    parts = [(_validate_features(features, batch), image_hashes(batch)) for batch in batches]
    if not parts:
        raise UserError(f"{path}: no images to take features of; give at least one")
    rows, images = (np.concatenate(part) for part in zip(*parts, strict=True))
    about = {"name": features.name, "hash": features.hash, "resize": features.resize}
    arrays: dict[str, Any] = {"features": rows, "images": images, "about": np.array(json.dumps(about))}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def read_features(path: str | Path) -> StoredFeatures:
    """Features [n, d] in floats, from an npy file, or an npz file as `write_features` makes, or with a lone arr_0.

    Where a file does not say what made them, the extractor is "precomputed", its hash and rule "unknown". Nothing is
    unpickled. Raises UserError, naming the file, for what is no such table, or larger than `MAX_BYTES`.
    """
    arrays, about = _read_arrays(path), {}
    if not arrays.keys() & {"features", "arr_0"}:
        raise UserError(f"{path}: has neither features nor arr_0; save the table [n, d] as features")
    rows, images = arrays["features" if "features" in arrays else "arr_0"], arrays.get("images")
    if rows.dtype not in (np.float32, np.float64) or rows.ndim != 2:
        raise UserError(f"{path}: features of shape {rows.shape} and type {rows.dtype}; give float32 or float64 [n, d]")
    if images is not None and (images.dtype != np.uint8 or images.shape != (len(rows), 32)):
        raise UserError(f"{path}: images is {images.shape} {images.dtype}; give a SHA-256, uint8 [n, 32], for each row")
    if "about" in arrays:
        about = _parse_metadata(path, arrays["about"])
    name, file_hash, resize = about.get("name", "precomputed"), about.get("hash", UNKNOWN), about.get("resize", UNKNOWN)
    return StoredFeatures(validate_points(str(path), rows, 1), name, file_hash, resize, images)


def _with_image_hashes(
    by_path: Mapping[str, StoredFeatures], sources: Sequence[ImageSource]
) -> dict[str, StoredFeatures]:
    """With the hashes of the images of a source where a file does not say of which images it is."""
    result, remaining = {}, list(sources)
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
        raise UserError(f"{features.name}: {expected}; mend the extractor")
    return rows


def _check_shape(name: str, images: Images, shape: tuple[int, int, int]) -> None:
    if images.shape[1:] != shape:
        problem = f"{images.shape[1:]} (height, width, channels), expected {shape}"
        raise UserError(f"{name}: images are {problem}; compare images of one size")
