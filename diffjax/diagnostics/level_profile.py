"""The error of a Gaussian model at each noise level, and alarms where it is too large for any data.

A good denoiser has at every level at most the error of the best linear denoiser, and its prediction changes between
levels by as much as its error falls (`by_noise_level.martingale_gap`). An alarm names the levels where a model fails
either by more than chance and by more than 5 %.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from diffjax.diagnostics.by_noise_level import Examples, denoising_error, log_snr_grid, martingale_gap
from diffjax.diagnostics.linear_denoiser import linear_error
from diffjax.noise import Gaussian
from diffjax.protocols import Denoise

MIN_STANDARD_ERRORS = 5.0
MIN_RELATIVE_ERROR = 0.05

Real = Float[np.ndarray, " k"]


class NoiseLevelProfile(NamedTuple):
    """Mean squared errors per value of x0 at k log-SNRs, noisiest first; `_se` are standard errors.

    `linear`: the error of the best linear denoiser; `linear_from`: how its covariance was estimated. `change`: the mean
    square change of the prediction from the level before; `excess`: the part of it that is no fall of the error. Both
    are 0 at the first level.
    """

    log_snr: Real
    error: Real
    error_se: Real
    linear: Real
    change: Real
    excess: Real
    excess_se: Real
    linear_from: str = ""


def noise_level_profile(
    examples: Examples,
    noise: Gaussian,
    denoise: Denoise,
    train: Shaped[Array, "_ *_"],
    count: int = 17,
    batch: int | None = None,
) -> NoiseLevelProfile:
    """The profile of a denoiser on held-out examples, at `count` log-SNRs from -8 to 8, `batch` examples at a time.

    `train`, `[n, *shape]`, are the examples of the linear denoiser's covariance. Raises UserError for tokens.
    """
    t = log_snr_grid(noise, count)
    size = batch or len(examples.x)
    parts = []
    for start in range(0, len(examples.x), size):
        keys, x, cond = examples.select(slice(start, start + size))
        error = denoising_error(keys, noise, denoise, x, cond, t)
        parts.append((error, *martingale_gap(keys, noise, denoise, x, cond, t)))
    errors, *gaps = (np.concatenate(values, axis=1, dtype=np.float64) for values in zip(*parts, strict=True))
    change, excess = (np.concatenate([np.zeros((1, len(examples.x))), gap]) for gap in gaps)
    linear = linear_error(noise, train, t)
    return NoiseLevelProfile(
        np.asarray(noise.log_snr(t)),
        *_mean(errors),
        linear.error,
        change.mean(axis=1),
        *_mean(excess),
        linear.describe(),
    )


def describe_alarms(profile: NoiseLevelProfile) -> list[str]:
    """One sentence for each band of levels with too large an error, and for each with too large a change."""
    worse = profile.error - MIN_STANDARD_ERRORS * profile.error_se > (1 + MIN_RELATIVE_ERROR) * profile.linear
    lines = [
        f"the denoiser is worse than the best linear one {_describe_band(profile, band)}: its error is up to "
        f"{np.max(profile.error[band] / profile.linear[band]):.3g} times as large; it has not learnt these levels"
        for band in _runs(worse)
    ]
    inconsistent = (profile.excess > MIN_STANDARD_ERRORS * profile.excess_se) & (
        profile.excess > MIN_RELATIVE_ERROR * profile.error
    )
    lines += [
        f"predictions change by more than their error falls {_describe_band(profile, band)}: by "
        f"{np.max(profile.excess[band] / profile.error[band]):.0%} of the error there"
        for band in _runs(inconsistent)
    ]
    return lines


def _mean(values: Float[np.ndarray, "k b"]) -> tuple[Real, Real]:
    """The mean over examples, and its standard error."""
    return values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])


def _runs(flags: Bool[np.ndarray, " k"]) -> list[slice]:
    """The runs of neighbouring levels where the flag is true."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return [slice(low, high) for low, high in edges.reshape(-1, 2)]


def _describe_band(profile: NoiseLevelProfile, band: slice) -> str:
    log_snr = profile.log_snr[band]
    return (
        f"at log-SNR {log_snr[0]:.1f}" if len(log_snr) == 1 else f"from log-SNR {log_snr[0]:.1f} to {log_snr[-1]:.1f}"
    )
