"""Scores of forecasts: the continuous ranked probability score, and the coverage of central intervals.

The CRPS of a distribution F for an outcome y is E|X - y| - E|X - X'| / 2 for independent X and X' of F (Gneiting &
Raftery 2007, eq. 20): in the unit of y, lower is better, and lowest on average for the distribution of y itself.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtr

from diffjax.errors import UserError

__all__ = ["crps_of_normal", "crps_of_samples", "interval_contains"]

Outcomes = Float[np.ndarray, "*shape"]
Samples = Float[np.ndarray, "m *shape"]


def crps_of_samples(samples: Samples, outcomes: Outcomes) -> Outcomes:
    """The CRPS of m draws of each forecast, without the bias of a finite m (Ferro 2014). Raises UserError for m < 2."""
    count = len(samples)
    if count < 2:
        raise UserError(f"forecasts: expected 2 samples or more, got {count}")
    ranked = np.sort(samples, axis=0)
    weights = (2 * np.arange(1, count + 1) - count - 1) / (count * (count - 1))  # of E|X - X'| / 2
    return np.abs(samples - outcomes).mean(axis=0) - np.tensordot(weights, ranked, axes=1)


def crps_of_normal(mean: Outcomes, std: Outcomes, outcomes: Outcomes) -> Outcomes:
    """The CRPS of N(mean, std²) in closed form (Gneiting & Raftery 2007, eq. 21)."""
    z = (outcomes - mean) / std
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def interval_contains(samples: Samples, outcomes: Outcomes, share: float = 0.9) -> Bool[np.ndarray, "*shape"]:
    """Whether each outcome lies between the k-th lowest and the k-th highest of m samples, k = (m + 1) (1 - share) / 2.

    Of a right forecast it does with probability `share`, whatever m. Raises UserError where k is no whole number: 19
    or 59 samples give one for 0.9.
    """
    k = (len(samples) + 1) * (1 - share) / 2
    if round(k) < 1 or abs(k - round(k)) > 1e-6:
        raise UserError(
            f"forecasts: {len(samples)} samples have no central interval of {share:g}; draw 59, for example"
        )
    ranked = np.sort(samples, axis=0)
    return (ranked[round(k) - 1] <= outcomes) & (outcomes <= ranked[-round(k)])
