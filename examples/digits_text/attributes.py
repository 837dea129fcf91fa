"""What can be measured of a bright stroke on dark: how heavy, slanted and wide it is, and where it stands.

A pixel is a unit square that holds as much ink as its level says. Moments of the ink give all four, in units that no
resolution changes, so that data and samples of any number of levels are measured by one ruler.
"""

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from diffjax.errors import UserError

ATTRIBUTES = ("weight", "slant", "width", "position")

PerImage = Float32[np.ndarray, " n"]


def measure(images: UInt8[np.ndarray, "n h w 1"], levels: int) -> dict[str, PerImage]:
    """Each attribute of each picture; where there is no ink, all are 0.

    `weight`: the share of the picture that is ink, in [0, 1]; moving the stroke changes nothing.
    `slant`: how far to the right the stroke goes for each step up, cov(x, up) / var(up); a shear adds to it, moving
    or paler ink changes nothing, a mirror turns its sign.
    `width`: of the upright box that is as wide as the stroke when its slant is taken back, 1 being the picture's:
    sqrt(12 (var(x) - slant² var(up)) + 1) / w; neither moving nor shearing changes it.
    `position`: where the ink's centre is, from -1 at the left edge to 1 at the right.
    """
    ink = np.asarray(images[..., 0], np.float64) / _top(levels)
    height, width = ink.shape[1:]
    right, up = np.arange(width) - (width - 1) / 2, (height - 1) / 2 - np.arange(height)
    centre_x, centre_y = _mean(ink, right[None, :]), _mean(ink, up[:, None])
    x, y = right - centre_x[:, None, None], up[:, None] - centre_y[:, None, None]
    across, covariance, along = (_mean(ink, moment) for moment in (x**2, x * y, y**2))
    slant = np.divide(covariance, along, out=np.zeros_like(covariance), where=along > 1e-9)
    spread = np.sqrt(np.maximum(12 * (across - slant * covariance), 0) + 1) / width
    columns = (ink.mean((1, 2)), slant, np.where(ink.any((1, 2)), spread, 0), 2 * centre_x / width)
    return {name: values.astype(np.float32) for name, values in zip(ATTRIBUTES, columns, strict=True)}


def _mean(ink: Float64[np.ndarray, "n h w"], values: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, " n"]:
    """The mean of values over the ink of each picture; 0 without ink."""
    total = ink.sum((1, 2))
    return (ink * values).sum((1, 2)) / np.where(total > 0, total, 1)


def _top(levels: int) -> int:
    if not 2 <= levels <= 256:
        raise UserError(f"levels: expected 2 … 256, got {levels}; give the number of values that a pixel may take")
    return levels - 1
