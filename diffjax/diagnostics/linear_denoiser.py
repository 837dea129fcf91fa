"""The best linear denoiser of data of which a covariance is estimated: what any model must be better than."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from diffjax.utils import covariances

Levels = Float[np.ndarray, " k"]


class Linear(NamedTuple):
    """The error of the best linear denoiser at each level, and how it was estimated.

    `shrinkage` is what the covariance of `examples` points of `dim` numbers is shrunk by, from 0 (not) to 1 (all
    variances alike).
    """

    error: Levels
    shrinkage: float
    examples: int
    dim: int


def best_linear(x: Shaped[np.ndarray, "n d"], alpha: Levels, sigma: Levels) -> Linear:
    """Σ_i λ_i sigma² / (alpha² λ_i + sigma²) / d over the eigenvalues of the covariance of x, per number.

    The covariance of n examples has eigenvalues that lie further apart than the true ones, and the error is concave in
    each, so that by itself it would look better than is possible. So it is shrunk after Ledoit & Wolf 2004, by the
    more the fewer examples there are for their numbers, and by nothing in the limit of many: of white noise the error
    is the true one, of variances 1/k it is at most 5 % too low where the plain covariance's is 56 %. Time grows with
    min(n, d)³.
    """
    spectrum = covariances.spectrum(x)
    unbiased = len(x) / max(len(x) - 1, 1)
    rest = spectrum.shrinkage * spectrum.mean_variance * unbiased
    spread = (1 - spectrum.shrinkage) * spectrum.variances * unbiased + rest
    variances = np.append(spread, rest)
    counts = np.append(np.ones(len(spread)), spectrum.dim - len(spread))
    noise, gain = (np.square(part.astype(np.float64))[:, None] for part in (sigma, alpha))
    errors = variances * noise / (gain * variances + noise)
    return Linear(errors @ counts / spectrum.dim, spectrum.shrinkage, len(x), spectrum.dim)


def describe_linear(linear: Linear) -> str:
    """How the error of the best linear denoiser was estimated, and what that means where examples are few."""
    how = f"covariance of {linear.examples:,} examples of {linear.dim:,} values, shrunk by {linear.shrinkage:.2g}"
    few = "; fewer examples than values: an estimate" if linear.examples <= linear.dim else ""
    return f"{how} (Ledoit & Wolf 2004){few}"
