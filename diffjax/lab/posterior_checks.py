"""Samples of the methods of `edit.solve` against the exact posterior of a Gaussian mixture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import erf, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffjax import edit, grids, oracles, order, predict, schedule
from diffjax.edit import Method, Observation
from diffjax.errors import UserError
from diffjax.lab.distribution_checks import GridMaker
from diffjax.noise import Gaussian
from diffjax.oracles.gaussian_mixture import Normals
from diffjax.protocols import Keys, Noise, Sample, Step
from diffjax.utils.prng import KeyUse, fold, keys

SETS = 1000  # sets of exact draws
CONFIDENCE = 0.999  # the share of them that must pass
REFERENCE_DRAWS = 20_000  # exact draws that others are compared with
DIRECTIONS = 16  # random lines along which they are compared
INTERVAL = 0.9  # probability of the interval whose coverage is measured
PosteriorSampler = Callable[..., Sample]  # as `edit.solve`, without a method


class Fit(NamedTuple):
    """The errors of draws in the unknown coordinates, each the mean over the observations.

    `mean`: root mean square bias of the mean, in standard deviations; `covariance`: Frobenius norm of the covariance's
    error, relative; `sliced`: mean distance of the sorted draws along random lines, in standard deviations; `coverage`:
    the exact probability of the central 90 % interval of the draws.
    """

    mean: float
    covariance: float
    sliced: float
    coverage: float

    def beyond(self, limit: "Fit") -> tuple[str, ...]:
        """The fields beyond the limit; that of `coverage` is of its distance to 0.9."""
        errors = self._replace(coverage=abs(self.coverage - INTERVAL))
        fields = zip(self._fields, errors, limit, strict=True)
        return tuple(name for name, error, bound in fields if not error <= bound)


@dataclass(frozen=True)
class Posteriors:
    """A row for each method; `str` is a table.

    `chance` is the mean row of 1,000 sets of as many exact draws, and `allowed` the 99.9 % quantile of their errors.
    """

    rows: Mapping[str, Fit]
    chance: Fit
    allowed: Fit
    draws: int

    @property
    def exact(self) -> tuple[str, ...]:
        """The methods whose errors are within `allowed`."""
        return tuple(name for name, row in self.rows.items() if not row.beyond(self.allowed))

    def __str__(self) -> str:
        width = max(len(name) for name in (*self.rows, "99.9 % of exact"))
        lines = [f"{'method':<{width}}" + "".join(f"{name:>12}" for name in Fit._fields)]
        for name, row in {**self.rows, "exact draws": self.chance, "99.9 % of exact": self.allowed}.items():
            lines.append(f"{name:<{width}}" + "".join(f"{value:12.3f}" for value in row))
        return "\n".join(lines)


@dataclass(frozen=True)
class PosteriorTask:
    """A prior, and observations of exact draws from it.

    `observe(x) -> Observation` takes a batch of examples [b, *shape] and returns their exact measurements in any basis;
    noise of its `std` is added. The prior is a mixture of Gaussians (`lab.correlated_gaussian`, `lab.three_modes`).
    Raises UserError where its dimension is not that of the shape.
    """

    prior: Normals
    observe: Callable[[Sample], Observation]
    shape: tuple[int, ...]
    observations: int = 4
    draws: int = 1000  # for each observation
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = self.prior.means.shape[1]
        if numbers != prod(self.shape):
            raise UserError(f"lab.PosteriorTask: shape {self.shape} must have the {numbers} numbers of the prior")

    def measure(self) -> Observation:
        """Noisy observations of exact draws."""
        draw_keys = keys(self.seed, self.observations)
        x = oracles.draws(fold(draw_keys, KeyUse.TRUTH), *self.prior).reshape(len(draw_keys), *self.shape)
        observation = self.observe(x)
        std = jnp.where(jnp.isfinite(observation.std), observation.std, 0)
        eps = jax.vmap(lambda key: jax.random.normal(key, self.shape))(fold(draw_keys, KeyUse.MEASUREMENT))
        return replace(observation, values=observation.values + std * eps)

    def draw_keys(self) -> Keys:
        """A key for each draw of each observation."""
        return fold(keys(self.seed, self.observations * self.draws), KeyUse.POSTERIOR)


def posteriors(
    methods: Mapping[str, Method | PosteriorSampler],
    task: PosteriorTask,
    *,
    noise: Noise | None = None,
    step: Step | None = None,
    steps: int = 100,
    grid: GridMaker = grids.uniform,
) -> Posteriors:
    """Sample by each method and the exact denoiser of the prior, and compare with the exact posteriors.

    In place of a method stands any function with the arguments of `edit.solve`. `noise` is by default cosine and v.
    Raises UserError for another kind of noise.
    """
    noise = noise or Gaussian(schedule.cosine, predict.v)
    if not isinstance(noise, Gaussian):
        raise UserError(f"lab.posteriors: noise must be Gaussian, got {type(noise).__name__}")
    with jax.enable_x64(False), jax.debug_nans(False):
        observation = task.measure()
        exact = [_exact_posterior(task.prior, observation, i) for i in range(task.observations)]
        repeated = _repeat(observation, task.observations, task.draws)
        arguments = (task.draw_keys(), noise, order.together, oracles.mixture(noise, *task.prior), repeated)
        rows = {}
        for name, method in methods.items():
            solve = partial(edit.solve, method=method, step=step) if isinstance(method, Method) else method
            x = solve(*arguments, grid=grid(noise, steps))
            z = np.asarray(observation.to_coordinates(x), np.float64).reshape(task.observations, task.draws, -1)
            rows[name] = _mean(
                [posterior.fit(draws[:, posterior.unknown]) for posterior, draws in zip(exact, z, strict=True)]
            )
    return Posteriors(rows, *_exact_fits(exact, task), task.draws)


def _repeat(observation: Observation, count: int, draws: int) -> Observation:
    """Each of `count` observations `draws` times."""

    def repeat(leaf: Array) -> Array:
        return jnp.repeat(jnp.broadcast_to(leaf, (count, *leaf.shape[1:])), draws, 0)

    return replace(observation, values=repeat(observation.values), std=repeat(observation.std))


def correlated_gaussian(numbers: int, correlation: float = 0.8) -> Normals:
    """A Gaussian of unit variances, with correlation `correlation`^|i - j|."""
    return Normals(np.ones(1), np.zeros((1, numbers)), _correlation_matrix(numbers, correlation)[None])


def three_modes(numbers: int) -> Normals:
    """Three modes, of which two have equal means in the first half of the numbers."""
    half = np.arange(numbers) < numbers // 2
    means = np.stack([np.where(half, a, b) for a, b in ((1.0, 1.0), (1.0, -1.0), (-1.0, 0.3))])
    return Normals(np.array([0.4, 0.3, 0.3]), means, np.stack([0.35**2 * _correlation_matrix(numbers, 0.6)] * 3))


def _correlation_matrix(numbers: int, correlation: float) -> Float[np.ndarray, "d d"]:
    i = np.arange(numbers)
    return correlation ** np.abs(i[:, None] - i).astype(float)


class _ExactPosterior(NamedTuple):
    """The posterior of the unknown coordinates, and sorted exact draws along random lines."""

    distribution: Normals
    unknown: Bool[np.ndarray, " n"]
    mean: Float[np.ndarray, " d"]
    cov: Float[np.ndarray, "d d"]
    lines: Float[np.ndarray, "d lines"]
    sorted: Float[np.ndarray, "draws lines"]

    def fit(self, z: Float[np.ndarray, "count d"]) -> Fit:
        """The errors of draws."""
        weights, means, covs = self.distribution
        std = np.sqrt(np.diag(self.cov))
        bias = np.sqrt(np.mean(((z.mean(axis=0) - self.mean) / std) ** 2))
        cov_error = np.linalg.norm(np.cov(z.T).reshape(self.cov.shape) - self.cov) / np.linalg.norm(self.cov)
        places = ((np.arange(len(z)) + 0.5) / len(z) * len(self.sorted)).astype(int)
        distances = np.abs(np.sort(z @ self.lines, axis=0) - self.sorted[places])
        ends = np.quantile(z, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], axis=0)[:, None]
        stds = np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
        below = (1 + np.vectorize(erf)((ends - means) / stds / 2**0.5)) / 2
        coverage = np.mean(weights @ (below[1] - below[0]))
        sliced = np.mean(distances) / np.sqrt(np.mean(std**2))
        return Fit(float(bias), float(cov_error), float(sliced), float(coverage))


def _exact_posterior(prior: Normals, observation: Observation, i: int) -> _ExactPosterior:
    """The posterior given observation i."""
    shape = observation.shape
    identity = jnp.eye(prod(shape)).reshape(-1, *shape)
    basis = np.asarray(observation.to_coordinates(identity), np.float64).reshape(prod(shape), -1).T
    values, std = (
        np.array(jnp.broadcast_to(leaf[i if len(leaf) > 1 else 0], shape), np.float64).ravel()
        for leaf in (observation.values, observation.std)
    )
    finite = np.isfinite(std)
    unknown = std > 0
    posterior = oracles.posterior(*prior, basis[finite], values[finite], np.diag(std[finite] ** 2))
    means = (posterior.means @ basis.T)[:, unknown]
    covs = (basis @ posterior.covs @ basis.T)[:, unknown][:, :, unknown]
    distribution = Normals(posterior.weights, means, covs)
    mean = distribution.weights @ means
    offsets = means - mean
    cov = np.einsum("k,kij->ij", distribution.weights, covs + offsets[:, :, None] * offsets[:, None])
    generator = np.random.default_rng(i)
    lines = generator.normal(size=(len(cov), DIRECTIONS))
    lines /= np.linalg.norm(lines, axis=0)
    reference = np.sort(_draw(generator, distribution, REFERENCE_DRAWS) @ lines, axis=0)
    return _ExactPosterior(distribution, unknown, mean, cov, lines, reference)


def _exact_fits(exact: list[_ExactPosterior], task: PosteriorTask) -> tuple[Fit, Fit]:
    """The mean, and the 99.9 % quantile of the errors, of sets of exact draws."""
    generator = np.random.default_rng(task.seed)
    sets = np.array(
        [
            _mean([posterior.fit(_draw(generator, posterior.distribution, task.draws)) for posterior in exact])
            for _ in range(SETS)
        ]
    )
    chance = Fit(*(float(value) for value in sets.mean(axis=0)))
    sets[:, -1] = np.abs(sets[:, -1] - INTERVAL)
    return chance, Fit(*(float(value) for value in np.quantile(sets, CONFIDENCE, axis=0)))


def _draw(generator: np.random.Generator, distribution: Normals, count: int) -> Float[np.ndarray, "count d"]:
    weights, means, covs = distribution
    mode = np.repeat(np.arange(len(weights)), generator.multinomial(count, weights / weights.sum()))
    eps = generator.normal(size=(count, means.shape[1]))
    return means[mode] + np.einsum("nij,nj->ni", np.linalg.cholesky(covs)[mode], eps)


def _mean(fits: list[Fit]) -> Fit:
    return Fit(*(float(value) for value in np.mean(fits, axis=0)))
