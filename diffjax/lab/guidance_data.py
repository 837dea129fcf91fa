"""The data of the guidance laboratory: classes that overlap on a line, and the law that guidance is named after.

In d dimensions an example is z p + b q + grain. p and q are patterns of ±1, as pictures are made of; z has the law on
the line given its class; b ~ N(1, 0.3²) and the grain know nothing of the class, and guidance should leave them alone.
So p(x|c)^w p(x)^(1-w) is the law of z tilted in the same way, times that of all the rest as it was.
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
from diffjax.lab.distribution_checks import Law
from diffjax.noise import Gaussian

Numbers = Float[np.ndarray, "..."]
_CELLS, _BEYOND = 40_001, 12.0  # of the grid on which densities are normalised, which ends so many deviations outside


ASIDE = Law((1.0,), (1.0,), (0.3,))
"""Of b, what every picture has and no class speaks of."""


class Classes(NamedTuple):
    """p(x) = Σ_c shares_c p(x|c), each p(x|c) a mixture on a line."""

    shares: tuple[float, ...]
    laws: tuple[Law, ...]

    def marginal(self) -> Law:
        """p(x)."""
        weights = tuple(share * w for share, law in zip(self.shares, self.laws, strict=True) for w in law.weights)
        return Law(weights, *(sum((law[i] for law in self.laws), ()) for i in (1, 2)))

    def widen(self, factor: float) -> "Classes":
        """The same with every deviation times this: what a model that has not learned enough says."""
        return Classes(self.shares, tuple(law._replace(stds=tuple(factor * s for s in law.stds)) for law in self.laws))


TWO_CLASSES = Classes(
    (0.5, 0.5),
    (Law((0.5, 0.3, 0.2), (-1.0, 0.1, 1.0), (0.25, 0.2, 0.25)), Law((0.6, 0.4), (0.5, 1.6), (0.35, 0.3))),
)
"""Two classes as likely as each other. Of the three modes of the first, the second comes near to two."""


def class_denoiser(noise: Gaussian, classes: Classes, dimensions: int = 1) -> Partial:
    """E[x0|x_t, label], exactly; the label after the last says nothing: it is the null condition."""
    return oracles.mixture_denoiser(noise, _image_mixture(classes, dimensions))


def null_label(classes: Classes) -> int:
    """The label that says nothing."""
    return len(classes.laws)


def patterns(dimensions: int) -> Float[np.ndarray, "two d"]:
    """p and q, at right angles: + - + - … and + + - - …; of a single number p = 1, and there is no q."""
    at = np.arange(dimensions)
    return np.stack([1.0 - 2.0 * (at % 2), (1.0 - 2.0 * (at // 2 % 2)) * (dimensions > 1)])


def _image_mixture(classes: Classes, dimensions: int) -> Mixture:
    """z = x·p/d has the variance of its mode: a² + g²/d, where x is of covariance a² p pᵀ + c² q qᵀ + g² 1.

    Grain is as fine as the finest mode.
    """
    weights, means, stds = (np.array(values) for values in classes.marginal())
    (p, q), g = patterns(dimensions), min(stds)
    along = np.sqrt(np.maximum(stds**2 - g**2 / dimensions, 0))[:, None] * p
    aside = np.broadcast_to(np.sqrt(max(ASIDE.stds[0] ** 2 - g**2 / dimensions, 0)) * q, along.shape)
    classes_of = np.repeat(np.arange(len(classes.laws)), [len(law.weights) for law in classes.laws])
    return Mixture(
        jnp.asarray(np.log(weights), jnp.float32),
        jnp.asarray(means[:, None] * p + ASIDE.means[0] * q, jnp.float32),
        jnp.asarray(np.stack([along, aside], axis=-1), jnp.float32),
        jnp.full((len(means), dimensions), g**2, jnp.float32),
        jnp.asarray(classes_of, jnp.int32),
    )


@dataclass(frozen=True, eq=False)
class TiltedDensity:
    """A density on a line, by its values on an even grid."""

    z: Float[np.ndarray, " cells"]
    density: Float[np.ndarray, " cells"]

    @property
    def probabilities(self) -> Float[np.ndarray, " cells"]:
        """Of each cell."""
        return self.density * (self.z[1] - self.z[0])

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        mean = float(self.probabilities @ self.z)
        return mean, float(np.sqrt(self.probabilities @ (self.z - mean) ** 2))

    def quantiles(self, count: int) -> Float[np.ndarray, " count"]:
        """At (i + ½)/count."""
        upto = np.cumsum(self.probabilities) - self.probabilities / 2
        return np.interp((np.arange(count) + 0.5) / count, upto, self.z)


@functools.cache
def tilted_density(classes: Classes, label: int, scale: float) -> TiltedDensity:
    """p(x|c)^w p(x)^(1-w), normalised on a grid, for w = scale: at 1 the class, at 0 everything."""
    marginal = classes.marginal()
    low, high = (
        f(np.array(marginal.means) + sign * _BEYOND * np.array(marginal.stds)) for f, sign in ((min, -1), (max, 1))
    )
    z = np.linspace(low, high, _CELLS)
    log_p = scale * log_density(classes.laws[label], z) + (1 - scale) * log_density(marginal, z)
    density = np.exp(log_p - log_p.max())
    return TiltedDensity(z, density / (density.sum() * (z[1] - z[0])))


def log_density(law: Law, z: Numbers) -> Numbers:
    """log p(z), in nats."""
    return np.logaddexp.reduce(_log_modes(law, z), axis=0)


def modes(law: Law, z: Numbers) -> Int[np.ndarray, "..."]:
    """The most likely mode of the law at each z."""
    return np.argmax(_log_modes(law, z), axis=0)


def _log_modes(law: Law, z: Numbers) -> Numbers:
    weights, means, stds = (np.array(values)[:, None] for values in law)
    return np.log(weights / stds / np.sqrt(2 * np.pi)) - ((np.asarray(z)[None] - means) / stds) ** 2 / 2
