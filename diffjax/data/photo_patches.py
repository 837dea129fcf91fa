"""Patches of any size of the photographs of photos.py, at several scales, as a data set.

A photograph is reduced by the factors 1, 2, 4 and 8 (means of square blocks), as far as a patch fits, and patches are
cut at positions that are evenly spaced over what its split may use:

    +-----------------------------+-----+--------------+
    | train                       | gap | test         |     left two thirds | right third
    +-----------------------------+     |              |
    | gap                         |     |              |
    +-----------------------------+     |              |
    | validation                  |     |              |     the lowest quarter of the rows
    +-----------------------------+-----+--------------+

The gaps are as wide as a patch, so that patches of two splits are at least a patch apart, at every pair of scales.
Patches of one split overlap.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float

from diffjax.data import photos
from diffjax.data.examples import Feature
from diffjax.data.framing import Frame
from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.package_files import package_file
from diffjax.data.photos import Photo
from diffjax.data.splits import Dataset, Split
from diffjax.data.tfds_source import open_builder, user_error_on_failure
from diffjax.errors import UserError
from diffjax.utils.image_fit import Place
from diffjax.utils.image_io import decode_bytes, format_size

NAME = "photos"
FACTORS = (1, 2, 4, 8)
COUNTS = {"train": 1_024, "validation": 128, "test": 256, "held_out": 256, "left_view": 256, "right_view": 256}
"""The maximum number of patches of a photograph at a scale."""
VALIDATION_SHARE = 4  # one row of so many of the left two thirds
_STORED = {"validation": "train"}  # the splits of photos.py that hold what others are cut from


class Photograph(NamedTuple):
    """What is stored of a photograph, and its number in `photos.NAMES`."""

    pixels: Photo
    label: int


class Area(NamedTuple):
    """The rows and columns of a reduced photograph that patches of a split may use; ends are excluded."""

    top: int
    bottom: int
    left: int
    right: int


class Patch(NamedTuple):
    """A patch: the number of its photograph in its split, the factor, and its first row and column at that scale."""

    photograph: int
    factor: int
    top: int
    left: int


@dataclass(frozen=True, eq=False)
class _Patches:
    """The patches of a split, and the photographs, reduced by each factor."""

    reduced: Mapping[tuple[int, int], Photo]  # by (photograph, factor)
    labels: tuple[int, ...]  # of the photographs, in `photos.NAMES`
    first_columns: tuple[int, ...]  # of what is stored of a photograph, in the whole one
    patches: tuple[Patch, ...]
    shape: tuple[int, int, int]

    def fetch(self, number: int) -> tuple[Callable[[], np.ndarray], int]:
        return partial(self._cut, self.patches[number]), 0

    def features(self, number: int, place: Place | None) -> dict[str, object]:
        """The photograph, the factor, and the first row and column in pixels of the whole photograph."""
        photograph, factor, top, left = self.patches[number]
        column = self.first_columns[photograph] + left * factor
        values = (self.labels[photograph], factor, top * factor, column)
        return {name: np.int32(value) for name, value in zip(FEATURES, values, strict=True)}

    def _cut(self, patch: Patch) -> Photo:
        height, width, _ = self.shape
        photo = self.reduced[patch.photograph, patch.factor]
        return np.ascontiguousarray(photo[patch.top : patch.top + height, patch.left : patch.left + width])


FEATURES: Mapping[str, Feature] = {
    "photograph": Feature((), np.dtype(np.int32), classes=len(photos.NAMES), names=photos.NAMES),
    **{name: Feature((), np.dtype(np.int32)) for name in ("factor", "top", "left")},
}
"""What is stored of a patch beside its pixels."""


def open_photos(data_dir: str | Path | None, frame: Frame) -> Dataset:
    """Patches of the frame's size, which are cut and not fitted; there are no classes, the photograph is a category.

    Splits are train, validation, test; held_out, of a photograph that no other split has; left_view and right_view, of
    a stereo pair, where patch i of the one shows what patch i of the other does. Raises UserError for a missing size,
    and for one of which no patch fits into a part of a photograph.
    """
    if not isinstance(frame.size, tuple):
        problem = f"patches of {NAME!r} have the one size that you choose"
        raise UserError(f"data.image_size: {problem}; set it, such as to 32 or 48x64")
    shape = (*frame.size, 3)
    stored = read_photographs(data_dir)
    splits: dict[str, Split | GeneratedSplit] = {}
    for name in COUNTS:
        splits[name] = _open_split(name, stored[_STORED.get(name, name)], stored["train"], shape)
    if not (len(splits["train"]) and len(splits["test"])):
        raise UserError(
            f"data.image_size: no patch {format_size(*frame.size)} fits into the photographs; use a smaller one"
        )
    return Dataset(NAME, shape, 0, (), 256, splits, features=FEATURES, encoded=False)


def read_photographs(data_dir: str | Path | None = None) -> dict[str, list[Photograph]]:
    """The photographs of each stored split; they are prepared on first use."""
    builder = open_builder(NAME, data_dir)
    stored = {}
    for split in builder.info.splits:
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        place = f"{builder.data_path}, split {split!r}"
        with user_error_on_failure(NAME):
            rows = [records[number] for number in range(len(records))]
        stored[split] = [Photograph(decode_bytes(row["image"], 3, None, place), int(row["photograph"])) for row in rows]
    return stored


def reduce_photo(photo: Photo, factor: int) -> Photo:
    """Means of blocks of `factor` × `factor` pixels; rows and columns that fill no block are left out."""
    height, width = photo.shape[0] // factor, photo.shape[1] // factor
    blocks = photo[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return np.round(blocks.mean((1, 3))).astype(np.uint8)


def _open_split(name: str, stored: list[Photograph], train: list[Photograph], shape: tuple[int, int, int]) -> Split:
    """A split of that name, of what is stored for it; `train` is stored to the left of what test has."""
    reduced = {
        (number, factor): reduce_photo(photo.pixels, factor)
        for number, photo in enumerate(stored)
        for factor in FACTORS
    }
    patches: tuple[Patch, ...] = ()
    for (number, factor), photo in reduced.items():
        area = _area(name, photo, _border(stored[number].pixels) // factor, shape)
        places = positions(area, shape, COUNTS[name])
        patches += tuple(Patch(number, factor, top, left) for top, left in places)
    if name in photos.VIEWS:
        patches = tuple(_matched(patches, name, shape))
    first_columns = [photo.pixels.shape[1] for photo in train] if name == "test" else [0] * len(stored)
    labels = tuple(photo.label for photo in stored)
    source = _Patches(reduced, labels, tuple(first_columns), patches, shape)
    return Split(np.arange(len(patches)), source.fetch, source.features)


def _border(photo: Photo) -> int:
    """The first row of a photograph that is for validation, a multiple of all factors."""
    height = len(photo)
    return -(-(height - height // VALIDATION_SHARE) // FACTORS[-1]) * FACTORS[-1]


def _area(name: str, photo: Photo, border: int, shape: tuple[int, int, int]) -> Area:
    """What patches of a split may use of a reduced photograph, or of the part of it that is stored.

    `border` is the first row for validation.
    """
    height, width, _ = photo.shape
    if name == "train":
        return Area(0, border - shape[0], 0, width - shape[1])
    if name == "validation":
        return Area(border, height, 0, width - shape[1])
    return Area(0, height, 0, width)


def positions(area: Area, shape: tuple[int, int, int], count: int) -> Iterator[tuple[int, int]]:
    """The first rows and columns of at most `count` patches that are evenly spaced over an area; none where none fits.

    Both ends of the area are covered where there are two or more in a direction.
    """
    rows = area.bottom - area.top - shape[0] + 1
    columns = area.right - area.left - shape[1] + 1
    if min(rows, columns) < 1:
        return
    down = min(rows, max(1, round(sqrt(count * rows / columns))), count)
    across = min(columns, count // down)
    for top in np.linspace(area.top, area.top + rows - 1, down).round().astype(int).tolist():
        for left in np.linspace(area.left, area.left + columns - 1, across).round().astype(int).tolist():
            yield top, left


def _matched(patches: tuple[Patch, ...], name: str, shape: tuple[int, int, int]) -> Iterator[Patch]:
    """Patches of the left view, or those of the right view that show the same, where it shows them."""
    disparity = read_disparity()
    for patch in patches:
        rows = slice(patch.top * patch.factor, (patch.top + shape[0]) * patch.factor)
        columns = slice(patch.left * patch.factor, (patch.left + shape[1]) * patch.factor)
        known = disparity[rows, columns]
        known = known[np.isfinite(known)]
        shift = round(float(np.median(known)) / patch.factor) if len(known) else patch.left + 1
        if shift <= patch.left:
            yield patch if name == "left_view" else patch._replace(left=patch.left - shift)


def read_disparity() -> Float[np.ndarray, "h w"]:
    """By how many columns what a pixel of the left view shows lies further left in the right one; partly not finite."""
    with np.load(package_file(*photos.DISPARITY), allow_pickle=False) as arrays:
        return arrays["arr_0"]
