"""A Gaussian model at each noise level in numbers that say what is wrong, whatever its data.

Two things are known of any good denoiser: it misses no more than the best linear one, and its answers move by what they
get better. Where a model's do not, it has not learnt that level.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from diffjax.diagnostics import by_noise_level
from diffjax.diagnostics.linear_denoiser import describe_linear
from diffjax.noise import Gaussian
from diffjax.protocols import Denoise, Keys, Sample

MIN_STANDARD_ERRORS = 5.0  # standard errors
MIN_RELATIVE_ERROR = 0.05  # of the error there

Real = Float[np.ndarray, " k"]


class NoiseLevelProfile(NamedTuple):
    """At k log-SNRs, noisiest first: errors per number of x0, from held-out examples, with standard errors.

    `linear` is the error of the best linear denoiser, and `linear_from` how it was estimated. `change` is how much
    answers move from the level before, `excess` how much of that is not a fall of the error; both are 0 at the first
    level.
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
    keys: Keys, noise: Gaussian, denoise: Denoise, x: Sample, cond: PyTree, train: Shaped[Array, "_ *_"],
    count: int = 17, batch: int | None = None,
) -> NoiseLevelProfile:  # fmt: skip
    """The profile of a denoiser on held-out examples x, at `count` levels; `train` is for the linear denoiser alone.

    At most `batch` examples are looked at at once.
    """
    t = by_noise_level.log_snr_grid(noise, count)
    parts = []
    for start in range(0, len(x), batch or len(x)):
        rows = slice(start, start + (batch or len(x)))
        arguments = noise, denoise, x[rows], jax.tree.map(lambda leaf, rows=rows: leaf[rows], cond), t
        parts.append(
            (
                by_noise_level.denoising_error(keys[rows], *arguments),
                *by_noise_level.martingale_gap(keys[rows], *arguments),
            )
        )
    errors, *gaps = (
        np.concatenate([np.asarray(values, np.float64) for values in one], 1) for one in zip(*parts, strict=True)
    )
    first = np.zeros((1, len(x)))
    change, excess = (np.concatenate([first, part]) for part in gaps)
    linear = by_noise_level.linear_error(noise, train, t)
    return NoiseLevelProfile(
        np.asarray(noise.log_snr(t)),
        *_mean(errors),
        np.asarray(linear.error),
        change.mean(axis=1),
        *_mean(excess),
        describe_linear(linear),
    )


def describe_alarms(profile: NoiseLevelProfile) -> list[str]:
    """What is surely and largely wrong, in words: bands worse than linear, and where answers are restless."""
    sure = MIN_STANDARD_ERRORS * profile.error_se
    worse = profile.error - sure > (1 + MIN_RELATIVE_ERROR) * profile.linear
    lines = [
        f"the denoiser is worse than the best linear one {_describe_band(profile, low, high)}: its error is up to "
        f"{np.max(profile.error[low:high] / profile.linear[low:high]):.3g} times as large; "
        "it has not learnt these levels"
        for low, high in _runs(worse)
    ]
    restless = (profile.excess > MIN_STANDARD_ERRORS * profile.excess_se) & (
        profile.excess > MIN_RELATIVE_ERROR * profile.error
    )
    lines += [
        f"answers move by more than they get better {_describe_band(profile, low, high)}: by "
        f"{np.max(profile.excess[low:high] / profile.error[low:high]):.0%} of the error there"
        for low, high in _runs(restless)
    ]
    return lines


def _mean(values: Float[np.ndarray, "k b"]) -> tuple[Real, Real]:
    return values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])


def _runs(which: np.ndarray) -> list[tuple[int, int]]:
    """First and past-the-last place of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], which.astype(int), [0]])))
    return [(int(low), int(high)) for low, high in zip(edges[::2], edges[1::2], strict=True)]


def _describe_band(profile: NoiseLevelProfile, low: int, high: int) -> str:
    first = profile.log_snr[low]
    last = profile.log_snr[high - 1]
    return f"at log-SNR {first:.1f}" if low == high - 1 else f"from log-SNR {first:.1f} to {last:.1f}"
