"""One-dimensional mixtures with exact denoisers, and a test of the distribution of the samples of a step rule."""

import functools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from diffjax import grids, oracles, order, predict, schedule
from diffjax.grids import Grid
from diffjax.noise import Gaussian
from diffjax.oracles.gaussian_mixture import Normals
from diffjax.protocols import Cond, Denoise, Keys, Level, Sample, Step
from diffjax.sampling.loop import stepwise
from diffjax.utils.memo import bind
from diffjax.utils.prng import KeyUse, fold, keys

GridMaker = Callable[[Gaussian, int], Grid]  # (noise, steps) -> grid
REPEATS = 1000  # sets of exact draws
CONFIDENCE = 0.999  # the share of them that must pass
MAX_BIAS = 0.02  # standard deviations


class Mixture1D(NamedTuple):
    """The distribution Σ_k weights_k N(means_k, stds_k²)."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, means and standard deviations."""
        return np.array(self.weights), np.array(self.means), np.array(self.stds)

    def normals(self) -> Normals:
        """The same as a mixture of vectors of one number."""
        weights, means, stds = self.arrays()
        return Normals(weights, means[:, None], stds[:, None, None] ** 2)

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        weights, means, stds = self.arrays()
        mean = float(weights @ means)
        return mean, float(np.sqrt(weights @ (stds**2 + means**2) - mean**2))


SMOOTH = Mixture1D((0.3, 0.5, 0.2), (-1.0, 0.2, 1.1), (0.5, 0.4, 0.6))
"""Three overlapping modes, for orders of accuracy: the error soon falls as a power of the step size."""

HARD = Mixture1D((0.5, 0.3, 0.2), (-1.0, 0.1, 1.2), (0.05, 0.1, 0.03))
"""Three narrow modes of unequal weight and width, for errors at few evaluations."""


def exact_denoiser(noise: Gaussian, distribution: Mixture1D) -> Partial:
    """The exact E[x0 | x_t], converted to the output of a net in the noise's parameterization and back."""
    return Partial(bind(_through_parameterization, noise), oracles.mixture(noise, *distribution.normals()))


def _through_parameterization(noise: Gaussian, exact: Denoise, x_t: Sample, t: Level, cond: Cond) -> Sample:
    x0 = exact(x_t, t, cond)
    pair = noise.parameterization.pair(noise.coefficients(t), noise.data_std)
    a, b = (jnp.where(jnp.isfinite(value), value, 0) for value in pair)  # a net's output is finite
    return noise.read(a * x0 + b * noise.eps(x_t, x0, t), x_t, t)


@dataclass(frozen=True)
class DistributionCheck:
    """The errors of a step rule's draws, in standard deviations of the exact distribution.

    `mean` and `deviation` are the biases of the mean and of the relative standard deviation. `wasserstein` is the mean
    distance of the sorted draws to the exact quantiles, and `allowed` its 99.9 % quantile over 1,000 sets of as many
    exact draws.
    """

    steps: int
    draws: int
    mean: float
    deviation: float
    wasserstein: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether both biases are at most 0.02 and the distance at most `allowed`."""
        return max(abs(self.mean), abs(self.deviation)) <= MAX_BIAS and self.wasserstein <= self.allowed


def compare_distribution(
    step: Step,
    noise: Gaussian,
    distribution: Mixture1D = SMOOTH,
    *,
    steps: int = 200,
    draws: int = 20_000,
    grid: GridMaker = grids.uniform,
    seed: int = 0,
) -> DistributionCheck:
    """Sample by the rule and the exact denoiser, in float32, from exact draws of x_1, and compare the distributions."""
    with jax.enable_x64(False), jax.debug_nans(False):
        draw_keys = keys(seed, draws)
        points = grid(noise, steps)
        start = _noisy_draws(fold(draw_keys, KeyUse.START), noise, distribution, float(points[0]))
        denoise = exact_denoiser(noise, distribution)
        options = {"grid": points, "step": step, "start": start}
        states = stepwise(fold(draw_keys, KeyUse.TRAJECTORY), noise, order.together, denoise, (1,), **options)
        x = np.sort(np.asarray(last_state(states), float)[:, 0])
    mean, std = distribution.moments()
    distance = float(np.mean(np.abs(x - exact_quantiles(distribution, draws))) / std)
    limit = critical_distance(distribution, draws)
    return DistributionCheck(steps, draws, float((x.mean() - mean) / std), float(x.std() / std - 1), distance, limit)


def last_state(states: Iterable[Sample]) -> Sample:
    """The last of a sampler's states; one at a time is in memory."""
    return deque(states, maxlen=1)[0]


def _noisy_draws(draw_keys: Keys, noise: Gaussian, distribution: Mixture1D, t: float) -> Float[Array, "b 1"]:
    """Exact draws of x_t."""
    alpha, sigma = noise.schedule(jnp.asarray(t))
    eps = jax.vmap(lambda key: jax.random.normal(key, (1,)))(fold(draw_keys, 1))
    return alpha * oracles.draws(fold(draw_keys, 0), *distribution.normals()) + sigma * eps


@functools.cache
def exact_quantiles(distribution: Mixture1D, count: int) -> Float[np.ndarray, " count"]:
    """The quantiles at (i + ½)/count."""
    clean = Gaussian(schedule.flow, predict.v)  # at t = 0, where all noises agree
    with jax.enable_x64(True):
        p = (jnp.arange(count) + 0.5) / count
        return np.asarray(oracles.quantile(clean, *distribution.arrays())(p, jnp.zeros(())))


@functools.cache
def critical_distance(distribution: Mixture1D, draws: int) -> float:
    """The 99.9 % quantile of the distance of exact draws to the quantiles, in standard deviations."""
    generator = np.random.default_rng(0)
    weights, means, stds = distribution.arrays()
    quantiles = exact_quantiles(distribution, draws)
    distances = []
    for _ in range(REPEATS):
        mode = np.repeat(np.arange(len(weights)), generator.multinomial(draws, weights / weights.sum()))
        x = np.sort(means[mode] + stds[mode] * generator.normal(size=draws))
        distances.append(np.mean(np.abs(x - quantiles)))
    return float(np.quantile(distances, CONFIDENCE) / distribution.moments()[1])
