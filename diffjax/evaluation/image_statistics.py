"""Artefact measures, one number per image: mean, contrast, saturation, high frequencies and checkerboard patterns.

A flag is raised where the mean over samples differs from the mean over real images by more than `MIN_STANDARD_ERRORS`
standard errors and by more than `MIN_EFFECT` standard deviations of real images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffjax.errors import UserError
from diffjax.utils.image_io import format_size

Images = UInt8[np.ndarray, "n h w c"]
PerImage = Float[np.ndarray, " n"]

MIN_STANDARD_ERRORS = 5.0
MIN_EFFECT = 0.5  # standard deviations of real images (Cohen 1988's d: medium)


def image_measures(images: Images, levels: int) -> dict[str, PerImage]:
    """Every measure of every image, of values 0 … levels - 1."""
    if min(images.shape[1:3]) < 4:
        raise UserError(f"artefacts: expected 4 pixels a side or more, got {format_size(*images.shape[1:3])}")
    x = images.astype(np.float64) / (levels - 1)
    power, fy, fx = _spectrum(x)
    high_frequency = np.maximum(np.abs(fy)[:, None], np.abs(fx)[None]) > 0.375  # the last quarter of either axis
    alternating = _alternating(len(fy), len(fx))
    flat = (images == images[:, :1, :1]).all((1, 2, 3))  # whose power is rounding
    total = np.where(flat, np.inf, power.sum((1, 2)))
    return {
        "mean": x.mean((1, 2, 3)),
        "contrast": x.std((1, 2, 3)),
        "saturation": ((images == 0) | (images == levels - 1)).mean((1, 2, 3)),
        "high frequencies": (power * high_frequency).sum((1, 2)) / total,
        "checkerboard": (power * alternating).sum((1, 2)) / total,
    }


class Flag(NamedTuple):
    """A measure's means over samples and over real images, and their difference."""

    name: str
    samples: float
    real: float
    errors: float  # the difference in standard errors
    effect: float  # the difference in standard deviations of real images
    raised: bool  # whether both are large


def compare_measures(
    samples: UInt8[np.ndarray, "_ _ _ _"], real: UInt8[np.ndarray, "_ _ _ _"], levels: int
) -> list[Flag]:
    """Each measure of samples and of real images, of the same size."""
    if samples.shape[1:] != real.shape[1:]:
        raise UserError(f"artefacts: samples are {samples.shape[1:]}, and real pictures {real.shape[1:]}; use one size")
    if min(len(samples), len(real)) < 2:
        raise UserError("artefacts: expected 2 or more pictures of either kind")
    sample_measures = image_measures(samples, levels)
    real_measures = image_measures(real, levels)
    return [_flag(name, sample_measures[name], real_measures[name]) for name in sample_measures]


def _flag(name: str, sample_values: Float[np.ndarray, " _"], real_values: Float[np.ndarray, " _"]) -> Flag:
    difference = sample_values.mean() - real_values.mean()
    if abs(difference) < 1e-9:  # equal constants
        return Flag(name, float(sample_values.mean()), float(real_values.mean()), 0.0, 0.0, raised=False)
    error = np.sqrt(sample_values.var(ddof=1) / len(sample_values) + real_values.var(ddof=1) / len(real_values))
    spread = real_values.std(ddof=1)
    with np.errstate(divide="ignore"):  # of different constants
        errors = float(np.divide(difference, error))
        effect = float(np.divide(difference, spread))
    raised = abs(errors) > MIN_STANDARD_ERRORS and abs(effect) > MIN_EFFECT
    return Flag(name, float(sample_values.mean()), float(real_values.mean()), errors, effect, raised)


def _spectrum(x: Float[np.ndarray, "n h w c"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power at each frequency but 0, summed over channels, `[n, h, w]`; the frequencies of rows, and of columns."""
    power = (np.abs(np.fft.fft2(x, axes=(1, 2))) ** 2).sum(-1)
    power[:, 0, 0] = 0
    return power, np.fft.fftfreq(x.shape[1]), np.fft.fftfreq(x.shape[2])


def _alternating(height: int, width: int) -> np.ndarray:
    """A mask of the frequencies of patterns that alternate between neighbouring pixels (Odena et al. 2016)."""
    mask = np.zeros((height, width))
    rows = height // 2  # the frequency of every second pixel; odd sizes have the nearest two
    columns = width // 2
    mask[[rows, -rows], 0] = mask[0, [columns, -columns]] = 1
    mask[np.ix_([rows, -rows], [columns, -columns])] = 1
    return mask
