"""How near pictures [n, h, w, c] in [0, 1] come to true ones, and how much they look like photographs."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from diffjax.evaluation.fidelity import psnr as psnr
from diffjax.evaluation.fidelity import spectrum_distance as spectrum_distance
from diffjax.evaluation.frechet_distance import frechet_from_moments, gather_moments

PATCH = 8  # pixels a side, of the patches whose Fréchet distance is taken
GROUPS = 32  # of pictures, for standard errors

Images = Float64[np.ndarray, "n h w c"]


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.error:.2f}"


def jackknife(statistic: Callable[..., float], *arrays: np.ndarray) -> Estimate:
    """A statistic of rows that belong together, with the standard error of the delete-a-group jackknife.

    Rows are patches that overlap, so the error is of these photographs and too small for others.
    """
    count = min(GROUPS, len(arrays[0]))
    group = np.arange(len(arrays[0])) * count // len(arrays[0])
    left_out = [statistic(*(array[group != number] for array in arrays)) for number in range(count)]
    return Estimate(statistic(*arrays), float(np.std(left_out) * np.sqrt(count - 1)))


def gradients(images: Images) -> Float64[np.ndarray, " _"]:
    """The absolute differences of neighbours, of all rows, columns and channels."""
    return np.concatenate([np.abs(np.diff(images, axis=axis)).ravel() for axis in (1, 2)])


def gradient_distance(images: Images, truth: Images) -> float:
    """The 1-Wasserstein distance of the distributions of the gradients of equally many pictures, in levels of 255."""
    ours, theirs = np.sort(gradients(images)), np.sort(gradients(truth))
    return float(255 * np.mean(np.abs(ours - theirs)))


def patches(images: Images) -> Float64[np.ndarray, "n _"]:
    """All squares of `PATCH` pixels that tile the pictures, a row each; what fills no square is left out."""
    count, height, width, channels = images.shape
    rows, columns = height // PATCH, width // PATCH
    cut = images[:, : rows * PATCH, : columns * PATCH].reshape(count, rows, PATCH, columns, PATCH, channels)
    return cut.swapaxes(2, 3).reshape(-1, PATCH * PATCH * channels)


def squares(images: Images, side: int) -> Images:
    """As many squares of that side as fit into each picture beside each other, from its first pixel on."""
    rows, columns = (length // side * side for length in images.shape[1:3])
    return np.concatenate(
        [images[:, y : y + side, x : x + side] for y in range(0, rows, side) for x in range(0, columns, side)]
    )


def patch_frechet(images: Images, truth: Images) -> float:
    """The Fréchet distance of Gaussian fits to the patches of two sets of pictures."""
    return frechet_from_moments(*(gather_moments(iter([patches(each)])) for each in (images, truth)))


def rank_coverage(samples: Float64[np.ndarray, "k n"], truth: Float64[np.ndarray, " n"]) -> tuple[float, float]:
    """The share of truths between the second smallest and the second largest sample, and that of exact posteriors."""
    ordered = np.sort(samples, axis=0)
    inside = (truth >= ordered[1]) & (truth <= ordered[-2])
    return float(inside.mean()), (len(samples) - 3) / (len(samples) + 1)


def look(images: Images) -> Float64[np.ndarray, "n 15"]:
    """How each picture looks: of every channel the mean, the deviation, and three mean sizes of detail.

    Detail are the absolute differences of neighbours down and across, and of pixels two apart.
    """
    details = [np.abs(np.diff(images, axis=axis)).mean((1, 2)) for axis in (1, 2)]
    coarse = np.abs(images[:, 2:] - images[:, :-2]).mean((1, 2))
    return np.concatenate([images.mean((1, 2)), images.std((1, 2)), *details, coarse], axis=1)


def look_distances(images: Images, references: Images, scale: Float64[np.ndarray, " 15"]) -> Float64[np.ndarray, " n"]:
    """The root mean square difference of the looks of pictures and references, each number over its `scale`."""
    return np.sqrt(np.mean(((look(images) - look(references)) / scale) ** 2, axis=1))


def in_blocks(count: int, size: int) -> Iterator[slice]:
    """Blocks of rows."""
    return (slice(start, start + size) for start in range(0, count, size))
