"""Several sizes of about equal area for pictures of different proportions: values of `data.image_size`.

A batch holds pictures of one bucket (`batch_plan`), so that each takes about as much work as any other.
"""

from dataclasses import dataclass
from math import isqrt

import numpy as np
from jaxtyping import Int64, Integer

from diffjax.errors import UserError
from diffjax.utils.image_fit import Size

__all__ = ["buckets"]

MAX_AREA = 2**26  # pixels
MAX_BUCKETS = 64  # a training step is compiled for each


@dataclass(frozen=True)
class Buckets:
    """Sizes (height, width) from tall to wide; those with fewer than `min_pictures` pictures are not used."""

    sizes: tuple[Size, ...]
    min_pictures: int

    @property
    def main(self) -> int:
        """The number of the size that is nearest to a square, which is used outside of training."""
        return int(np.argmin(np.abs(_log_ratios(np.array(self.sizes)))))

    def assign(self, sizes: Integer[np.ndarray, "n 2"]) -> Int64[np.ndarray, " n"]:
        """The number of the bucket of each picture, by its height and width: the one nearest to its proportions.

        While there are several and the smallest has fewer than `min_pictures`, it is dissolved, its pictures going to
        the nearest other one.
        """
        ours = _log_ratios(np.array(self.sizes))
        distances = np.abs(_log_ratios(sizes)[:, None] - ours)
        numbers = np.argmin(distances, axis=1)
        while len(occupied := np.flatnonzero(counts := np.bincount(numbers, minlength=len(ours)))) > 1:
            smallest = occupied[np.argmin(counts[occupied])]
            if counts[smallest] >= self.min_pictures:
                break
            others = occupied[occupied != smallest]
            members = numbers == smallest
            numbers[members] = others[np.argmin(distances[members][:, others], axis=1)]
        return numbers


def buckets(area: int = 4096, step: int = 8, max_ratio: float = 2.0, min_pictures: int = 16) -> Buckets:
    """Sides that are multiples of `step` pixels, of at most `area` pixels, up to `max_ratio` times as long as wide.

    Of each height it is the largest width, and the other way round. Each picture is brought to the one nearest to its
    proportions; the pictures of a bucket with fewer than `min_pictures` go to the nearest other one, since a batch of a
    few pictures would repeat them. Raises `UserError` for numbers that leave no size, or more than 64.
    """
    if step < 1 or not step * step <= area <= MAX_AREA:
        problem = f"expected a step of at least 1 and an area from {step}x{step} to {MAX_AREA:,} pixels"
        raise UserError(f"area: {problem}, got step {step} and area {area:,}")
    if max_ratio < 1 or min_pictures < 1:
        name, value = ("max_ratio", max_ratio) if max_ratio < 1 else ("min_pictures", min_pictures)
        raise UserError(f"{name}: expected at least 1, got {value:g}")
    sizes = _sizes(area, step, max_ratio)
    if len(sizes) > MAX_BUCKETS:
        raise UserError(f"step: {step} makes {len(sizes)} buckets of {area:,} pixels, each compiled; use a larger step")
    return Buckets(sizes, min_pictures)


def _sizes(area: int, step: int, max_ratio: float) -> tuple[Size, ...]:
    """All sizes, from tall to wide, without those that another one covers."""
    shortest_sides = range(step, isqrt(area) + 1, step)
    widths = [min(area // side, int(max_ratio * side)) // step * step for side in shortest_sides]
    wide = list(zip(shortest_sides, widths, strict=True))
    wide = [size for number, size in enumerate(wide) if size[1] > max(widths[number + 1 :], default=0)]
    tall = [(width, height) for height, width in wide if height != width]
    return (*tall, *reversed(wide))


def _log_ratios(sizes: Integer[np.ndarray, "n 2"]) -> np.ndarray:
    """The logarithm of width over height; equal for equal proportions, whatever their size."""
    return np.log(sizes[:, 1] / sizes[:, 0])
