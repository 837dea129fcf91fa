"""The sizes to which the pictures of a set are brought, whatever their source: one size, or those of buckets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

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
    `mean_pixels` is how many a picture has on average as it is stored, by those that were looked at.
    """

    sizes: tuple[Size, ...]
    main: int
    numbers: Int64[np.ndarray, " n"] | None
    fit: Fit | None
    mean_pixels: float

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
        draw = view.draw or (held_out_draw(record) if self.fit.random else (0.0, 0.0, 0.0))
        return partial(_place, self.fit, self.sizes[number], draw)


class PictureSizes(NamedTuple):
    """Height and width of every picture of a source, and what a message calls the one of a number."""

    sizes: Integer[np.ndarray, "n 2"]
    describe: Callable[[int], str]


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
    if isinstance(size, Buckets):
        return Framing(size.sizes, size.main, size.assign(sizes), frame.fit, mean)
    if size is not None:
        return Framing((size,), 0, None, frame.fit, mean)
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


def _place(fit: Fit, size: Size, draw: Draw, height: int, width: int, name: str) -> Placement:
    return fit.place((height, width), size, draw)
