"""The data of the laboratory, mixtures on a line, and whether what a rule draws has their law."""

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from diffjax import grids, oracles, order, predict, schedule
from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.sampling.loop import stepwise
from diffjax.utils.prng import KeyUse, fold, keys

GridMaker = Callable[..., Any]  # (noise, steps) -> grid
REPEATS, CONFIDENCE = 1000, 0.999  # sets of exact draws, and the share of them that must pass
BIAS = 0.02  # standard deviations


class Law(NamedTuple):
    """Σ_k weights_k N(means_k, stds_k²)."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def vectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As the oracles of any dimension take it, in one."""
        weights, means, stds = (np.array(values) for values in self)
        return weights, means[:, None], stds[:, None, None] ** 2

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        weights, means, stds = (np.array(values) for values in self)
        mean = float(weights @ means)
        return mean, float(np.sqrt(weights @ (stds**2 + means**2) - mean**2))


SMOOTH = Law((0.3, 0.5, 0.2), (-1.0, 0.2, 1.1), (0.5, 0.4, 0.6))
"""Three modes that overlap: of orders, since error falls with its power soon."""

HARD = Law((0.5, 0.3, 0.2), (-1.0, 0.1, 1.2), (0.05, 0.1, 0.03))
"""Three narrow modes of uneven weight and width: of few evaluations."""


def exact_denoiser(noise: Gaussian, law: Law) -> Partial:
    """E[x0|x_t], taken the way of a net: as the output that the noise's prediction row asks for, then read off it."""
    return Partial(_through_parameterization(noise), oracles.mixture(noise, *law.vectors()))


@functools.cache
def _through_parameterization(noise: Gaussian) -> Callable:
    def denoise(exact: Any, x_t: Array, t: Array, cond: None) -> Array:
        x0 = exact(x_t, t, cond)
        pair = noise.parameterization.pair(noise.coefficients(t), noise.data_std)
        a, b = (jnp.where(jnp.isfinite(value), value, 0) for value in pair)  # a net's output is always finite
        return noise.read(a * x0 + b * noise.eps(x_t, x0, t), x_t, t)

    return denoise


@dataclass(frozen=True)
class DistributionCheck:
    """What is wrong with a rule's draws: bias of mean and deviation, and the distance to the law, in its deviations.

    `wasserstein` is the mean distance of sorted draws to the exact quantiles, and `allowed` what 99.9 % of 1,000 sets
    of as many exact draws stay below.
    """

    steps: int
    draws: int
    mean: float
    deviation: float
    wasserstein: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Biases of at most 0.02, and no further from the law than exact draws."""
        return max(abs(self.mean), abs(self.deviation)) <= BIAS and self.wasserstein <= self.allowed


def compare_distribution(
    step: Step,
    noise: Gaussian,
    law: Law = SMOOTH,
    *,
    steps: int = 200,
    draws: int = 20_000,
    grid: GridMaker = grids.uniform,
    seed: int = 0,
) -> DistributionCheck:
    """Draw with the rule and the exact denoiser, in float32, from exact draws of x_1, and compare with the law."""
    with jax.enable_x64(False), jax.debug_nans(False):
        draw_keys = keys(seed, draws)
        stops, denoise = grid(noise, steps), exact_denoiser(noise, law)
        start = _noisy_draws(fold(draw_keys, KeyUse.START), noise, law, float(stops[0]))
        x = last_state(
            stepwise(
                fold(draw_keys, KeyUse.TRAJECTORY),
                noise,
                order.together,
                denoise,
                (1,),
                grid=stops,
                step=step,
                start=start,
            )
        )
    x, (mean, std) = np.sort(np.asarray(x, float)[:, 0]), law.moments()
    far = np.mean(np.abs(x - exact_quantiles(law, draws))) / std
    biases = (x.mean() - mean) / std, x.std() / std - 1
    return DistributionCheck(
        steps, draws, float(biases[0]), float(biases[1]), float(far), critical_distance(law, draws)
    )


def last_state(states: Any) -> Array:
    """The last of a sampler's states; the others are let go."""
    return deque(states, maxlen=1)[0]


def _noisy_draws(draw_keys: Array, noise: Gaussian, law: Law, t: float) -> Float[Array, "b 1"]:
    """Exact draws of x_t."""
    alpha, sigma = noise.schedule(jnp.asarray(t))
    eps = jax.vmap(lambda key: jax.random.normal(key, (1,)))(fold(draw_keys, 1))
    return alpha * oracles.draws(fold(draw_keys, 0), *law.vectors()) + sigma * eps


@functools.cache
def exact_quantiles(law: Law, count: int) -> Float[np.ndarray, " count"]:
    """Of the law, at (i + ½)/count; at t = 0 every noise is the same."""
    clean = Gaussian(schedule.flow, predict.v)
    with jax.enable_x64(True):
        p = (jnp.arange(count) + 0.5) / count
        return np.asarray(oracles.quantile(clean, *(np.array(a) for a in law))(p, jnp.zeros(())))


@functools.cache
def critical_distance(law: Law, draws: int) -> float:
    """The distance to the law, in its deviations, that 99.9 % of sets of exact draws stay below."""
    generator, far = np.random.default_rng(0), []
    weights, means, stds = (np.array(values) for values in law)
    for _ in range(REPEATS):
        which = np.repeat(np.arange(len(weights)), generator.multinomial(draws, weights / weights.sum()))
        x = np.sort(means[which] + stds[which] * generator.normal(size=draws))
        far.append(np.mean(np.abs(x - exact_quantiles(law, draws))))
    return float(np.quantile(far, CONFIDENCE) / law.moments()[1])
