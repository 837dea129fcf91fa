"""One-dimensional classes, and the tilted distribution p(x|c)^w p(x)^(1-w) from which guidance is derived.

In d dimensions an example is z p + b q + white noise, with patterns p and q of ±1. z has the one-dimensional
distribution of the class; b ~ N(1, 0.3²) and the noise are independent of the class. So the tilted distribution has
tilted z, and the distributions of b and of the noise are unchanged.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Int

from diffjax import oracles
from diffjax.distributions import Mixture
from diffjax.lab.distribution_checks import Mixture1D
from diffjax.noise import Gaussian

Numbers = Float[np.ndarray, "..."]
_CELLS = 40_001  # of the grid on which densities are normalized
_GRID_STDS = 12.0  # of that grid beyond the outermost modes

ASIDE = Mixture1D((1.0,), (1.0,), (0.3,))
"""The distribution of b, independent of the class."""


class Classes(NamedTuple):
    """p(x) = Σ_c shares_c p(x|c), each p(x|c) a mixture on a line."""

    shares: tuple[float, ...]
    distributions: tuple[Mixture1D, ...]

    def marginal(self) -> Mixture1D:
        """p(x)."""
        classes = zip(self.shares, self.distributions, strict=True)
        weights = tuple(share * w for share, distribution in classes for w in distribution.weights)
        means = sum((distribution.means for distribution in self.distributions), ())
        return Mixture1D(weights, means, sum((distribution.stds for distribution in self.distributions), ()))

    def widen(self, factor: float) -> "Classes":
        """The classes with all standard deviations times `factor`, as an underfitted model has them."""
        wide = (d._replace(stds=tuple(factor * s for s in d.stds)) for d in self.distributions)
        return Classes(self.shares, tuple(wide))


TWO_CLASSES = Classes(
    (0.5, 0.5),
    (
        Mixture1D((0.5, 0.3, 0.2), (-1.0, 0.1, 1.0), (0.25, 0.2, 0.25)),
        Mixture1D((0.6, 0.4), (0.5, 1.6), (0.35, 0.3)),
    ),
)
"""Two classes of equal probability. Two of the three modes of the first overlap the second."""


def class_denoiser(noise: Gaussian, classes: Classes, dimensions: int = 1) -> Partial:
    """The exact E[x0 | x_t, label]; `null_label` is the null condition."""
    return oracles.mixture_denoiser(noise, _image_mixture(classes, dimensions))


def null_label(classes: Classes) -> int:
    """The label of the null condition."""
    return len(classes.distributions)


def patterns(dimensions: int) -> Float[np.ndarray, "two d"]:
    """The orthogonal p = + - + - … and q = + + - - …; in one dimension p = 1 and q = 0."""
    i = np.arange(dimensions)
    return np.stack([1.0 - 2.0 * (i % 2), (1.0 - 2.0 * (i // 2 % 2)) * (dimensions > 1)])


def _image_mixture(classes: Classes, dimensions: int) -> Mixture:
    """The distribution of x, of covariance a² p pᵀ + c² q qᵀ + g² 1, so that z = x·p/d has variance a² + g²/d.

    g is the least standard deviation of a mode.
    """
    weights, means, stds = classes.marginal().arrays()
    p, q = patterns(dimensions)
    g = min(stds)
    along = np.sqrt(np.maximum(stds**2 - g**2 / dimensions, 0))[:, None] * p
    aside = np.broadcast_to(np.sqrt(max(ASIDE.stds[0] ** 2 - g**2 / dimensions, 0)) * q, along.shape)
    labels = np.repeat(np.arange(len(classes.distributions)), [len(d.weights) for d in classes.distributions])
    return Mixture(
        jnp.asarray(np.log(weights), jnp.float32),
        jnp.asarray(means[:, None] * p + ASIDE.means[0] * q, jnp.float32),
        jnp.asarray(np.stack([along, aside], axis=-1), jnp.float32),
        jnp.full((len(means), dimensions), g**2, jnp.float32),
        jnp.asarray(labels, jnp.int32),
    )


@dataclass(frozen=True, eq=False)
class TiltedDensity:
    """A density by its values on an even grid of a line."""

    z: Float[np.ndarray, " cells"]
    density: Float[np.ndarray, " cells"]

    @property
    def probabilities(self) -> Float[np.ndarray, " cells"]:
        """The probability of each cell."""
        return self.density * (self.z[1] - self.z[0])

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        mean = float(self.probabilities @ self.z)
        return mean, float(np.sqrt(self.probabilities @ (self.z - mean) ** 2))

    def quantiles(self, count: int) -> Float[np.ndarray, " count"]:
        """The quantiles at (i + ½)/count."""
        cumulative = np.cumsum(self.probabilities) - self.probabilities / 2
        return np.interp((np.arange(count) + 0.5) / count, cumulative, self.z)


@functools.cache
def tilted_density(classes: Classes, label: int, scale: float) -> TiltedDensity:
    """p(x|c)^w p(x)^(1-w), normalized on a grid, for w = scale: the class at 1, the marginal at 0."""
    marginal = classes.marginal()
    _, means, stds = marginal.arrays()
    z = np.linspace(min(means - _GRID_STDS * stds), max(means + _GRID_STDS * stds), _CELLS)
    log_p = scale * log_density(classes.distributions[label], z) + (1 - scale) * log_density(marginal, z)
    density = np.exp(log_p - log_p.max())
    return TiltedDensity(z, density / (density.sum() * (z[1] - z[0])))


def log_density(distribution: Mixture1D, z: Numbers) -> Numbers:
    """log p(z), in nats."""
    return np.logaddexp.reduce(_log_modes(distribution, z), axis=0)


def modes(distribution: Mixture1D, z: Numbers) -> Int[np.ndarray, "..."]:
    """The most likely mode at each z."""
    return np.argmax(_log_modes(distribution, z), axis=0)


def _log_modes(distribution: Mixture1D, z: Numbers) -> Numbers:
    weights, means, stds = (values[:, None] for values in distribution.arrays())
    return np.log(weights / stds / np.sqrt(2 * np.pi)) - ((np.asarray(z)[None] - means) / stds) ** 2 / 2
