"""Images for evaluation from an npz file or a folder of image files, read batch by batch."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from diffjax.errors import UserError
from diffjax.evaluation import npz
from diffjax.evaluation.frechet_distance import Moments, read_moments
from diffjax.utils.image_folder import image_files
from diffjax.utils.image_io import MAX_PIXELS, decode_file, format_size, read_header

Images = UInt8[np.ndarray, "_ _ _ _"]

MAX_IMAGES = 10_000_000


class ImageSource(NamedTuple):
    """Images that can be read repeatedly."""

    name: str
    shape: tuple[int, int, int, int]  # number, height, width, channels (1 or 3)
    labels: Integer[np.ndarray, " _"] | None
    batches: Callable[[int], Iterator[Images]]  # batch size -> uint8 [b, h, w, c], 0 … 255, the last perhaps smaller


def open_images(path: str | Path) -> ImageSource:
    """A folder of pictures (see `image_files`; by sorted path, without labels), or an npz file.

    The file is `samples.npz` or a public reference batch: arr_0 uint8 [n, h, w, c], and perhaps integer labels arr_1
    [n]. Nothing is unpickled, and sizes are checked before reading. Raises UserError, naming the file, if it is
    missing, damaged or of another kind, and for pictures of different sizes.
    """
    return _open_folder(Path(path)) if Path(path).is_dir() else _open_npz(path)


def open_reference(path: str | Path) -> ImageSource | Moments:
    """The images of `open_images`, or the moments of a file with `mu` and `sigma` but without images."""
    if not Path(path).is_dir():
        names = npz.read_headers(path).keys()
        if "arr_0" not in names and {"mu", "sigma"} <= names:
            return read_moments(path)
    return open_images(path)


def fingerprint(source: ImageSource) -> str:
    """SHA-256 of all images in their order; the same for every storage format."""
    digest = hashlib.sha256()
    for batch in source.batches(256):
        digest.update(image_hashes(batch).tobytes())
    return digest.hexdigest()


def image_hashes(images: Images) -> UInt8[np.ndarray, "_ 32"]:
    """SHA-256 of the shape and the pixels of each image."""
    shape = " ".join(map(str, images.shape[1:])).encode()
    hashes = [hashlib.sha256(shape + b"\n" + image.tobytes()).digest() for image in images]
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(len(images), 32)


def _open_npz(path: str | Path) -> ImageSource:
    headers = npz.read_headers(path)
    if "arr_0" not in headers:
        names = ", ".join(sorted(headers))[:80] or "nothing"
        raise UserError(f"{path}: has no arr_0 but {names}; give an npz of images, uint8 [n, h, w, c]")
    shape, dtype = headers["arr_0"]
    if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or min(shape) < 1:
        names = f"arr_0 is {shape} {dtype}"
        raise UserError(f"{path}: {names}; give uint8 [n, h, w, c] with 1 or 3 channels and an image at least")
    if shape[0] > MAX_IMAGES or shape[1] * shape[2] > MAX_PIXELS:
        raise UserError(f"{path}: arr_0 is {shape}, over {MAX_IMAGES:,} images or {MAX_PIXELS:,} pixels; give fewer")
    labels = npz.read_npz(path, ("arr_1",), 8 * MAX_IMAGES).get("arr_1")
    if labels is not None and (labels.shape != shape[:1] or labels.dtype.kind not in "iu"):
        names = f"{labels.shape} {labels.dtype}"
        raise UserError(f"{path}: arr_1 is {names}; give an integer label for each of {shape[0]:,} images, or none")
    number, height, width, channels = shape
    return ImageSource(str(path), (number, height, width, channels), labels, partial(npz.read_rows, path, "arr_0"))


def _open_folder(path: Path) -> ImageSource:
    root, files = image_files(path, str(path))
    headers = [read_header(root / file) for file in files]
    for file, header in zip(files, headers, strict=True):
        if header[:2] != headers[0][:2]:
            problem = f"{format_size(*header[:2])}, but {files[0]} is {format_size(*headers[0][:2])}"
            raise UserError(f"{path}: {file} is {problem}; scale all to one size")
    channels = 1 if all(header.grey for header in headers) else 3
    shape = (len(files), headers[0].height, headers[0].width, channels)
    return ImageSource(str(path), shape, None, partial(_read_batches, [root / file for file in files], shape[1:]))


def _read_batches(paths: Sequence[Path], shape: tuple[int, int, int], count: int) -> Iterator[Images]:
    for start in range(0, len(paths), count):
        images = [decode_file(path, shape[2], None) for path in paths[start : start + count]]
        changed = next((place for place, image in enumerate(images) if image.shape != shape), None)
        if changed is not None:
            raise UserError(f"{paths[start + changed]}: has changed its size while it was read; start again")
        yield np.stack(images)
