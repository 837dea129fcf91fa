"""How the images of a TFDS set are brought to a size; theirs are known by their headers alone where they differ."""

import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64
from tqdm import tqdm

from diffjax.data import tfds_validation
from diffjax.data.aspect_buckets import Buckets
from diffjax.data.framing import Frame, Framing, PictureSizes, describe_scaling, frame_pictures
from diffjax.errors import UserError
from diffjax.utils.image_io import MODES, format_size, read_header
from diffjax.utils.waiting import FIRST_WAIT_S

Kind = Any  # of TFDS: a feature, whose annotations a type checker cannot follow
MAX_SAMPLE = 1_000  # images whose headers are read for a note


class Records(NamedTuple):
    """The `total` records of a split, by `read(index)`, and what messages call the split."""

    read: Callable[[int], Mapping[str, Any]]
    total: int
    location: str


class ImageFeature(NamedTuple):
    """The image of a record: its name and kind, whether it is stored encoded, and its levels."""

    key: str
    kind: Kind
    encoded: bool
    levels: int

    @property
    def channels(self) -> int:
        """1, 3 or 4."""
        return self.kind.shape[2]


def check_image(image: ImageFeature, name: str, frame: Frame) -> None:
    """Raises `UserError` for a feature that holds no images of 8 bits, and for a size that it cannot be brought to."""
    shape = image.kind.shape
    if image.kind.np_dtype != np.uint8 or len(shape) != 3 or shape[2] not in MODES:
        got = f"{image.kind.np_dtype} {shape}"
        raise UserError(f"data set {name!r}: expected 8-bit images [h, w, 1, 3 or 4], got {got}")
    if frame.size and not image.encoded and shape[:2] != frame.size:
        size = format_size(shape[0], shape[1])
        raise UserError(f"data set {name!r}: its arrays are {size} and are not scaled; leave image_size out")
    if None not in shape:
        tfds_validation.check_pixels(shape[0], shape[1], name)
    elif not frame.size:
        raise UserError(f"data set {name!r}: its images differ in size; set data.image_size, to which all are brought")


def frame_records(frame: Frame, image: ImageFeature, records: Records) -> tuple[Framing, tuple[str, ...]]:
    """The framing of the images of a split, and notes on how they are scaled."""
    height, width, _ = image.kind.shape
    every = range(records.total)
    sample = ""
    if height is not None and width is not None:
        sizes = np.broadcast_to(np.array((height, width), np.int64), (max(records.total, 1), 2))
    elif isinstance(frame.size, Buckets):
        sizes = _read_sizes(image.key, records, every)
    else:
        rows = np.unique(np.linspace(0, records.total - 1, min(MAX_SAMPLE, records.total)).round().astype(int))
        sample = " that were looked at" * (len(rows) < records.total)
        sizes = _read_sizes(image.key, records, rows.tolist())
    pictures = PictureSizes(sizes, lambda number: f"record {number}", complete=len(sizes) == records.total)
    framing = frame_pictures(frame, pictures, records.location, image.levels)
    return framing, tuple(describe_scaling(records.location, framing, sizes, sample))


def _read_sizes(key: str, records: Records, rows: range | list[int]) -> Int64[np.ndarray, "n 2"]:
    """Height and width of the images of these records; a bar on stderr after two seconds."""
    read = partial(_read_size, key, records)
    with ThreadPoolExecutor() as executor:
        bar = tqdm(rows, desc="sizes of images", unit=" images", delay=FIRST_WAIT_S, leave=False)
        return np.array(list(executor.map(read, bar)), np.int64).reshape(-1, 2)


def _read_size(key: str, records: Records, index: int) -> tuple[int, int]:
    header = read_header(io.BytesIO(records.read(index)[key]), f"{records.location}, record {index}")
    return header.height, header.width
