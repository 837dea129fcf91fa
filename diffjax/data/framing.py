"""The sizes to which the pictures of a set are brought, whatever their source: one size, or those of buckets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer, UInt64

from diffjax.data.aspect_buckets import Buckets
from diffjax.data.fits import Draw, Fit, crop, held_out_draw
from diffjax.errors import UserError
from diffjax.utils.image_fit import Place, Placement, Size, largest_part
from diffjax.utils.image_io import format_size

ImageSize = int | Size | Buckets | None  # the side of a square; height and width; several; None: the pictures' own


class View(NamedTuple):
    """How an example is seen: as in training, in the size of its bucket; by which draw, of a random fit."""

    in_bucket: bool = False
    draw: Draw | None = None


OUTSIDE_OF_TRAINING = View()
IN_TRAINING = View(in_bucket=True)


class Frame(NamedTuple):
    """To which size pictures are brought, and how: `data.image_size` and `data.fit`."""

    size: Size | Buckets | None = None
    fit: Fit = crop()


OWN_SIZE = Frame()


@dataclass(frozen=True, eq=False)
class Framing:
    """The frame of all pictures of a set. `numbers` are those of their sizes in `sizes`, None where there is one.

    `main` is the number of the size outside of training. `fit` is None where pictures keep the one size that all have.
    `mean_pixels` is how many a picture has on average as it is stored, by those that were looked at. Of a random fit,
    `stored_sizes` are the heights and widths of the pictures as they are stored, where all are known, and
    `held_out_words` the numbers by which a part of each is drawn outside of training, else those of the records.
    """

    sizes: tuple[Size, ...]
    main: int
    numbers: Int64[np.ndarray, " n"] | None
    fit: Fit | None
    mean_pixels: float
    stored_sizes: Integer[np.ndarray, "n 2"] | None = None
    held_out_words: UInt64[np.ndarray, " n"] | None = None

    @property
    def size(self) -> Size:
        """The size outside of training."""
        return self.sizes[self.main]

    @property
    def random(self) -> bool:
        """Whether a picture is seen differently each time."""
        return self.fit is not None and self.fit.random

    def number(self, record: int, view: View) -> int:
        """The number of the size of a record's picture."""
        return self.main if self.numbers is None or not view.in_bucket else int(self.numbers[record])

    def place(self, record: int, view: View) -> Place:
        """How the picture of a record is brought to its size."""
        if self.fit is None:
            return partial(_keep, self.size)
        number = self.number(record, view)
        draw = view.draw or (self._held_out_draw(record) if self.fit.random else (0.0, 0.0, 0.0))
        return partial(_place, self.fit, self.sizes[number], draw)

    def part_place(self, record: int, view: View) -> Place:
        """How a further picture of a record, such as its sketch, is brought to the size: it shows the same part."""
        place = self.place(record, view)
        if self.stored_sizes is None:
            return place
        height, width = self.stored_sizes[record].tolist()
        return partial(_place_alike, place, (height, width))

    def with_keys(self, keys: Sequence[bytes]) -> "Framing":
        """The same, where the part of a random fit that is drawn outside of training follows from a picture's key."""
        if not self.random:
            return self
        words = [int.from_bytes(sha256(key).digest()[:8], "little") for key in keys]
        return replace(self, held_out_words=np.array(words, np.uint64))

    def _held_out_draw(self, record: int) -> Draw:
        return held_out_draw(record if self.held_out_words is None else int(self.held_out_words[record]))


class PictureSizes(NamedTuple):
    """Height and width of the pictures of a source, and what a message calls the one of a number.

    `complete`: of all, and not of some that were looked at.
    """

    sizes: Integer[np.ndarray, "n 2"]
    describe: Callable[[int], str]
    complete: bool = True


def read_image_size(image_size: ImageSize) -> Size | Buckets | None:
    """The size or sizes of `open_dataset`. Raises `UserError` for a side below 1."""
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if isinstance(size, tuple) and min(size) < 1:
        side = min(size)
        raise UserError(f"image_size: expected at least 1 pixel, got {side}; leave it out to keep the sizes")
    return size


def frame_pictures(frame: Frame, pictures: PictureSizes, location: str, levels: int = 256) -> Framing:
    """The framing of pictures of these sizes. Raises `UserError` where they differ and no size is set."""
    sizes = pictures.sizes
    size = frame.size
    if levels < 256 and frame.fit.padded:
        raise UserError(f"data.fit: {location} has {levels} levels, which no colour is of; use crop")
    mean = float(sizes.prod(axis=1, dtype=np.float64).mean()) if len(sizes) else 0.0
    stored_sizes = sizes if frame.fit.random and pictures.complete else None
    if isinstance(size, Buckets):
        return Framing(size.sizes, size.main, size.assign(sizes), frame.fit, mean, stored_sizes)
    if size is not None:
        return Framing((size,), 0, None, frame.fit, mean, stored_sizes)
    first = (int(sizes[0, 0]), int(sizes[0, 1]))
    other = np.flatnonzero((sizes != sizes[0]).any(axis=1))
    if len(other):
        number = int(other[0])
        differing = f"{pictures.describe(number)} is {format_size(*sizes[number].tolist())}"
        problem = f"{differing}, but {pictures.describe(0)} is {format_size(*first)}"
        raise UserError(f"{location}: {problem}; set data.image_size, to which all are brought")
    return Framing((first,), 0, None, None, mean)


def describe_scaling(location: str, framing: Framing, sizes: Integer[np.ndarray, "n 2"], sample: str = "") -> list[str]:
    """How many pictures are smaller than their size, and whether most are larger; `sample`: of how many these are.

    Of a random fit, which keeps the pictures' own pixels, only the smaller ones are of interest.
    """
    if framing.fit is None:
        return []
    targets = np.array(framing.sizes)[0 if framing.numbers is None else framing.numbers]
    each_way = sizes / targets  # pixels of the picture to one of the result
    ratios = each_way.max(axis=1) if framing.fit.padded else each_way.min(axis=1)
    name = format_dimensions(framing.size) if len(framing.sizes) == 1 else "their buckets"
    count = f"{len(sizes):,} images{sample}"
    notes = []
    if smaller := int((ratios < 1).sum()):
        notes.append(f"{location}: {smaller:,} of {count} are smaller than {name} and scaled up")
    larger = int((ratios > 1).sum())
    if larger > len(sizes) / 2 and not framing.random:
        median = f"the median by {float(np.median(ratios)):.2g}"
        notes.append(f"{location}: {larger:,} of {count} are larger than {name} and scaled down ({median})")
    return notes


def format_dimensions(size: Sequence[int]) -> str:
    """A height and a width as `data.image_size` has them, such as 64x96."""
    height, width = size
    return f"{height}x{width}"


def _keep(size: Size, height: int, width: int, name: str) -> Placement:
    """The whole picture. Raises `UserError` for one of another size than it had."""
    if (height, width) != size:
        raise UserError(f"{name}: {format_size(height, width)} now, was {format_size(*size)}; start again")
    return largest_part(height, width, size)


def _place_alike(place: Place, image: Size, height: int, width: int, name: str) -> Placement:
    """The part of a picture that `place` takes of an image of that size. Raises `UserError` for other proportions."""
    if abs(height * image[1] - width * image[0]) > max(height, width, *image):
        sizes = f"{format_size(height, width)}, and its image is {format_size(*image)}"
        raise UserError(f"{name}: {sizes}; give it the proportions of its image, of which random parts are taken")
    placement = place(*image, name)
    down, across = height / image[0], width / image[1]
    left, top, right, bottom = placement.box
    return placement._replace(box=(left * across, top * down, min(right * across, width), min(bottom * down, height)))


def _place(fit: Fit, size: Size, draw: Draw, height: int, width: int, name: str) -> Placement:
    return fit.place((height, width), size, draw)
