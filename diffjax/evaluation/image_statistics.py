"""What pictures should not have: saturation, a drifting mean, high-frequency residue, a checkerboard.

Each is a number a picture, and a flag is raised where the mean over samples differs from that over real pictures by
more than chance, and by more than pictures differ from one another.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffjax.errors import UserError

Images = UInt8[np.ndarray, "n h w c"]
PerImage = Float[np.ndarray, " n"]

SURE = 5.0  # standard errors
LARGE = 0.5  # standard deviations of real pictures (Cohen 1988's d: medium)


def measures(images: Images, levels: int) -> dict[str, PerImage]:
    """Every measure of every picture, of values 0 … levels - 1."""
    if min(images.shape[1:3]) < 4:
        raise UserError(
            f"artefacts: expected pictures of 4 x 4 pixels or more, got {images.shape[1]} x {images.shape[2]}"
        )
    x = images.astype(np.float64) / (levels - 1)
    power, fy, fx = _spectrum(x)
    fine = np.maximum(np.abs(fy)[:, None], np.abs(fx)[None]) > 0.375  # the last quarter of either axis
    alternating = _alternating(len(fy), len(fx))
    flat = (images == images[:, :1, :1]).all((1, 2, 3))  # all of whose power is rounding
    total = np.where(flat, np.inf, power.sum((1, 2)))
    return {
        "mean": x.mean((1, 2, 3)),
        "contrast": x.std((1, 2, 3)),
        "saturation": ((images == 0) | (images == levels - 1)).mean((1, 2, 3)),
        "high frequencies": (power * fine).sum((1, 2)) / total,
        "checkerboard": (power * alternating).sum((1, 2)) / total,
    }


class Flag(NamedTuple):
    """A measure's mean over samples and over real pictures, the difference in its standard errors, and as an effect.

    `effect` is in standard deviations of real pictures; `raised`, where the difference is sure and large.
    """

    name: str
    samples: float
    real: float
    errors: float
    effect: float
    raised: bool


def flags(samples: UInt8[np.ndarray, "_ _ _ _"], real: UInt8[np.ndarray, "_ _ _ _"], levels: int) -> list[Flag]:
    """Each measure of samples beside that of real pictures, of the same size."""
    if samples.shape[1:] != real.shape[1:]:
        raise UserError(f"artefacts: samples are {samples.shape[1:]}, and real pictures {real.shape[1:]}; use one size")
    if min(len(samples), len(real)) < 2:
        raise UserError("artefacts: expected 2 or more pictures of either kind")
    found, right = measures(samples, levels), measures(real, levels)
    return [_flag(name, found[name], right[name]) for name in found]


def _flag(name: str, found: Float[np.ndarray, " _"], right: Float[np.ndarray, " _"]) -> Flag:
    away = found.mean() - right.mean()
    if abs(away) < 1e-9:  # of constants, such as a share that no picture has
        return Flag(name, float(found.mean()), float(right.mean()), 0.0, 0.0, raised=False)
    error = np.sqrt(found.var(ddof=1) / len(found) + right.var(ddof=1) / len(right))
    spread = right.std(ddof=1)
    with np.errstate(divide="ignore"):  # constants that differ do so surely
        errors, effect = float(np.divide(away, error)), float(np.divide(away, spread))
    raised = abs(errors) > SURE and abs(effect) > LARGE
    return Flag(name, float(found.mean()), float(right.mean()), errors, effect, raised)


def _spectrum(x: Float[np.ndarray, "n h w c"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power at each frequency but 0, summed over channels, `[n, h, w]`, and the frequencies of rows and columns."""
    power = (np.abs(np.fft.fft2(x, axes=(1, 2))) ** 2).sum(-1)
    power[:, 0, 0] = 0
    return power, np.fft.fftfreq(x.shape[1]), np.fft.fftfreq(x.shape[2])


def _alternating(height: int, width: int) -> np.ndarray:
    """Where a pattern lies that alternates from pixel to pixel in rows, columns or both (Odena et al. 2016)."""
    found = np.zeros((height, width))
    rows, columns = height // 2, width // 2  # the frequency of every second pixel; odd sizes have the nearest two
    found[[rows, -rows], 0] = found[0, [columns, -columns]] = 1
    found[np.ix_([rows, -rows], [columns, -columns])] = 1
    return found
