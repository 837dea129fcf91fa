"""What a method of editing really samples, against the law of x0 given what was seen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import erf, prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffjax import edit, grids, oracles, order, predict, schedule
from diffjax.edit import Method, Observation
from diffjax.errors import UserError
from diffjax.lab.distribution_checks import GridMaker
from diffjax.noise import Gaussian
from diffjax.oracles.gaussian_mixture import Normals
from diffjax.protocols import Noise, Step
from diffjax.utils.prng import KeyUse, fold, keys

SETS, CONFIDENCE = 1000, 0.999  # sets of exact draws, and the share of them that must pass
REFERENCE, DIRECTIONS = 20_000, 16  # exact draws that others are compared with, and the lines they are looked at along
INSIDE = 0.9  # of the interval whose coverage is measured
Observe = Callable[[Any], Observation]
PosteriorSampler = Callable[..., Any]  # as `edit.solve`, without a method


class Fit(NamedTuple):
    """How near draws are to the law, each number the mean over the observations, of the coordinates still unknown.

    `mean` is the bias of the mean, root mean square, in deviations of the law; `covariance` the Frobenius norm of its
    error over that of the law's; `sliced` the mean distance of sorted draws along random lines, in deviations;
    `coverage` what the law has within the central 90 % interval of the draws.
    """

    mean: float
    covariance: float
    sliced: float
    coverage: float

    def beyond(self, limit: "Fit") -> tuple[str, ...]:
        """What is further off than exact draws are; the limit of coverage is of its distance to 0.9."""
        far = self._replace(coverage=abs(self.coverage - INSIDE))
        errors = zip(self._fields, far, limit, strict=True)
        return tuple(name for name, error, bound in errors if not error <= bound)


@dataclass(frozen=True)
class Posteriors:
    """A row for each method, `chance`, what exact draws of the same number have on average, and `allowed`, what 99.9 %
    of a thousand sets of them stay below. `str` is the table.
    """

    rows: Mapping[str, Fit]
    chance: Fit
    allowed: Fit
    draws: int

    @property
    def exact(self) -> tuple[str, ...]:
        """The methods whose draws no one can tell from exact ones by these numbers."""
        return tuple(name for name, row in self.rows.items() if not row.beyond(self.allowed))

    def __str__(self) -> str:
        width = max(len(name) for name in (*self.rows, "99.9 % of exact"))
        lines = [f"{'method':<{width}}" + "".join(f"{name:>12}" for name in Fit._fields)]
        for name, row in {**self.rows, "exact draws": self.chance, "99.9 % of exact": self.allowed}.items():
            lines.append(f"{name:<{width}}" + "".join(f"{value:12.3f}" for value in row))
        return "\n".join(lines)


def posteriors(
    methods: Mapping[str, Method | PosteriorSampler],
    prior: Normals,
    observe: Observe,
    shape: tuple[int, ...],
    *,
    noise: Noise | None = None,
    step: Step | None = None,
    steps: int = 100,
    grid: GridMaker = grids.uniform,
    draws: int = 1000,
    observations: int = 4,
    seed: int = 0,
) -> Posteriors:
    """Draw with each method and the exact denoiser of the prior, given observations of exact draws; compare.

    `observe(x) -> Observation` sees a batch of examples [b, *shape], with noise or without (it is added here), in any
    basis. In a method's place stands any function that draws as `edit.solve` does. The prior is a mixture of normal
    laws (`lab.correlated_gaussian`, `lab.three_modes`) of as many numbers as the shape has. Raises UserError.
    """
    noise = noise or Gaussian(schedule.cosine, predict.v)
    if not isinstance(noise, Gaussian):
        raise UserError(f"lab.posteriors: noise must be Gaussian, got {type(noise).__name__}")
    if prior.means.shape[1] != prod(shape):
        raise UserError(f"lab.posteriors: the prior has {prior.means.shape[1]} numbers, and the shape {shape} others")
    with jax.enable_x64(False), jax.debug_nans(False):
        observation = _observe(keys(seed, observations), prior, observe, shape)
        laws = [_exact_posterior(prior, observation, i) for i in range(observations)]
        repeated = jax.tree.map(
            lambda leaf: jnp.repeat(jnp.broadcast_to(leaf, (observations, *leaf.shape[1:])), draws, 0),
            (observation.values, observation.std),
        )
        all_observations = replace(observation, values=repeated[0], std=repeated[1])
        arguments = (
            fold(keys(seed, observations * draws), KeyUse.POSTERIOR),
            noise,
            order.together,
            oracles.mixture(noise, *prior),
            all_observations,
        )
        rows = {}
        for name, method in methods.items():
            draw = partial(edit.solve, method=method, step=step) if isinstance(method, Method) else method
            x = draw(*arguments, grid=grid(noise, steps))
            z = np.asarray(observation.to_coordinates(x), np.float64).reshape(observations, draws, -1)
            rows[name] = _mean([law.fit(z[i][:, law.unknown]) for i, law in enumerate(laws)])
    generator = np.random.default_rng(seed)
    sets = np.array([_mean([law.fit(law.sample(generator, draws)) for law in laws]) for _ in range(SETS)])
    chance = Fit(*(float(value) for value in sets.mean(axis=0)))
    sets[:, -1] = np.abs(sets[:, -1] - INSIDE)
    return Posteriors(rows, chance, Fit(*(float(value) for value in np.quantile(sets, CONFIDENCE, axis=0))), draws)


def correlated_gaussian(numbers: int, correlation: float = 0.8) -> Normals:
    """One normal law of variances 1, of which neighbours correlate so much and others the less, the further apart."""
    return Normals(np.ones(1), np.zeros((1, numbers)), _correlation_matrix(numbers, correlation)[None])


def three_modes(numbers: int) -> Normals:
    """Three modes, of which two cannot be told apart from the first half of the numbers."""
    half = np.arange(numbers) < numbers // 2
    means = np.stack([np.where(half, a, b) for a, b in ((1.0, 1.0), (1.0, -1.0), (-1.0, 0.3))])
    return Normals(np.array([0.4, 0.3, 0.3]), means, np.stack([0.35**2 * _correlation_matrix(numbers, 0.6)] * 3))


def _correlation_matrix(numbers: int, correlation: float) -> Float[np.ndarray, "d d"]:
    at = np.arange(numbers)
    return correlation ** np.abs(at[:, None] - at).astype(float)


def _observe(draw_keys: Array, prior: Normals, observe: Observe, shape: tuple[int, ...]) -> Observation:
    """What is seen of as many exact draws as there are keys, and the noise on it."""
    x = oracles.draws(fold(draw_keys, KeyUse.TRUTH), *prior).reshape(len(draw_keys), *shape)
    observation = observe(x)
    std = jnp.where(jnp.isfinite(observation.std), observation.std, 0)
    eps = jax.vmap(lambda key: jax.random.normal(key, shape))(fold(draw_keys, KeyUse.MEASUREMENT))
    return replace(observation, values=observation.values + std * eps)


class _ExactPosterior(NamedTuple):
    """The law of the unknown coordinates `unknown`, exact draws of it, and their places along some lines, sorted."""

    law: Normals
    unknown: Any
    std: Float[np.ndarray, " d"]
    cov: Float[np.ndarray, "d d"]
    lines: Float[np.ndarray, "d lines"]
    sorted: Float[np.ndarray, "draws lines"]

    def sample(self, generator: np.random.Generator, count: int) -> Float[np.ndarray, "count d"]:
        return _sample(generator, self.law, count)

    def fit(self, z: Float[np.ndarray, "count d"]) -> Fit:
        law, mean = self.law, self.law.weights @ self.law.means
        bias = np.sqrt(np.mean(((z.mean(axis=0) - mean) / self.std) ** 2))
        off = np.linalg.norm(np.cov(z.T).reshape(self.cov.shape) - self.cov) / np.linalg.norm(self.cov)
        at = ((np.arange(len(z)) + 0.5) / len(z) * len(self.sorted)).astype(int)
        sliced = np.mean(np.abs(np.sort(z @ self.lines, axis=0) - self.sorted[at])) / np.sqrt(np.mean(self.std**2))
        ends = np.quantile(z, [(1 - INSIDE) / 2, (1 + INSIDE) / 2], axis=0)[:, None]
        scales = np.sqrt(np.diagonal(law.covs, axis1=1, axis2=2))
        below = (1 + np.vectorize(erf)((ends - law.means) / scales / 2**0.5)) / 2
        return Fit(float(bias), float(off), float(sliced), float(np.mean(law.weights @ (below[1] - below[0]))))


def _exact_posterior(prior: Normals, observation: Observation, i: int) -> _ExactPosterior:
    shape = observation.shape
    turn = (
        np.asarray(observation.to_coordinates(jnp.eye(prod(shape)).reshape(-1, *shape)), np.float64)
        .reshape(prod(shape), -1)
        .T
    )
    values, std = (
        np.array(
            jnp.broadcast_to(leaf, (i + 1, *shape))[i] if len(leaf) == 1 else jnp.broadcast_to(leaf[i], shape),
            np.float64,
        ).ravel()
        for leaf in (observation.values, observation.std)
    )
    finite, unknown = np.isfinite(std), std > 0
    law = oracles.posterior(*prior, turn[finite], values[finite], np.diag(std[finite] ** 2))
    law = Normals(law.weights, (law.means @ turn.T)[:, unknown], (turn @ law.covs @ turn.T)[:, unknown][:, :, unknown])
    mean = law.weights @ law.means
    away = law.means - mean
    cov = np.einsum("k,kij->ij", law.weights, law.covs + away[:, :, None] * away[:, None])
    generator = np.random.default_rng(i)
    lines = generator.normal(size=(len(cov), DIRECTIONS))
    lines /= np.linalg.norm(lines, axis=0)
    reference = np.sort(_sample(generator, law, REFERENCE) @ lines, axis=0)
    return _ExactPosterior(law, unknown, np.sqrt(np.diag(cov)), cov, lines, reference)


def _sample(generator: np.random.Generator, law: Normals, count: int) -> Float[np.ndarray, "count d"]:
    roots = np.linalg.cholesky(law.covs)
    which = np.repeat(np.arange(len(law.weights)), generator.multinomial(count, law.weights / law.weights.sum()))
    return law.means[which] + np.einsum("nij,nj->ni", roots[which], generator.normal(size=(count, law.means.shape[1])))


def _mean(fits: list[Fit]) -> Fit:
    return Fit(*(float(value) for value in np.mean(fits, axis=0)))
