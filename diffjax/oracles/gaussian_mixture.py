"""Mixtures of Gaussians at every level: q_t(x) = Σ_k w_k N(x; A mean_k, A C_k A + S²).

A and S are diagonal, with alpha and sigma of every number: levels may differ from position to position. Each
covariance is diagonalized once, on the host in float64, C = V diag(l) Vᵀ; where all positions share a level, the
covariance there has the same eigenvectors, and its inverse is V diag(1 / (alpha² l + sigma²)) Vᵀ.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from diffjax.distributions import Mixture, inverse_and_log_det
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import Keys
from diffjax.utils.memo import bind

Real = Float[Array | np.ndarray, "..."]
_product = functools.partial(jnp.einsum, precision="highest")


class Normals(NamedTuple):
    """The arguments of the mixture Σ_k weights_k N(means_k, covs_k): [k], [k, d], [k, d, d]."""

    weights: Float[np.ndarray, " k"]
    means: Float[np.ndarray, "k d"]
    covs: Float[np.ndarray, "k d d"]


class _Diagonalized(NamedTuple):
    """The same on the device, each covariance as its eigenvectors `axes` (columns) and eigenvalues `variances`."""

    log_weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    variances: Float[Array, "k d"]
    axes: Float[Array, "k d d"]


class _ComponentPosterior(NamedTuple):
    """For each component log w_k + log q_t(x_t | k) and (A C_k A + S²)⁻¹ (x_t - A mean_k), and A."""

    log_p: Float[Array, "b k"]
    pull: Float[Array, "b k d"]
    alpha: Float[Array, "b 1 _"]


def gaussian(noise: Gaussian, mean: Real, cov: Real) -> Partial:
    """E[x0|x_t] = mean + C A (A C A + S²)⁻¹ (x_t - A mean), for data ~ N(mean, C).

    `mean` is [d] and `cov` [d, d], positive definite, for x of shape [b, *shape] with d numbers an example. A and S
    are diagonal, with alpha and sigma of every number: levels may differ from position to position.
    """
    return mixture(noise, np.ones(1), np.asarray(mean)[None], np.asarray(cov)[None])


def mixture(noise: Gaussian, weights: Real, means: Real, covs: Real) -> Partial:
    """E[x0|x_t] = Σ_k p(k|x_t) E[x0|x_t, k], for data from Σ_k weights_k N(means_k, covs_k): [k], [k, d], [k, d, d]."""
    return Partial(bind(_denoiser, noise), _diagonalize(weights, means, covs))


def score(noise: Gaussian, weights: Real, means: Real, covs: Real) -> Partial:
    """`(x_t, t) -> ∇ log q_t(x_t)` of the mixture, in the shape of x_t; finite at sigma = 0 too."""
    return Partial(bind(_score, noise), _diagonalize(weights, means, covs))


def log_density(noise: Gaussian, weights: Real, means: Real, covs: Real) -> Partial:
    """`(x_t, t) -> log q_t(x_t)` of the mixture, [b] in nats; at t = 0 the density of the data."""
    return Partial(bind(_log_density, noise), _diagonalize(weights, means, covs))


def posterior(weights: Real, means: Real, covs: Real, matrix: Real, y: Real, cov: Real) -> Normals:
    """The distribution of x given y = matrix x + N(0, cov), for x of the mixture: again a mixture, in float64.

    `matrix` is [m, d], `y` [m] and `cov` [m, m], which may be 0 where matrix C matrixᵀ is positive definite. Each
    component is conditioned as a joint Gaussian, and its weight is multiplied by its likelihood of y.
    """
    prior = _validate(weights, means, covs)
    matrix, y, cov = (np.asarray(a, np.float64) for a in (matrix, y, cov))
    if matrix.shape != (len(y), prior.means.shape[1]) or cov.shape != (len(y), len(y)):
        raise UserError(
            f"oracles.posterior: expected a matrix [m, d], y [m] and cov [m, m] of x with d = {prior.means.shape[1]} "
            f"numbers, got {matrix.shape}, {y.shape} and {cov.shape}"
        )
    observation_cov = matrix @ prior.covs @ matrix.T + cov
    if not np.all(np.linalg.eigvalsh(observation_cov) > 0):
        raise UserError("oracles.posterior: y is not random in every direction; add a small number to cov's diagonal")
    gain = np.linalg.solve(observation_cov, matrix @ prior.covs).swapaxes(1, 2)
    residual = y - prior.means @ matrix.T
    square = np.einsum("ki,kij,kj->k", residual, np.linalg.inv(observation_cov), residual)
    log_p = np.log(prior.weights) - (square + np.linalg.slogdet(observation_cov)[1]) / 2
    share = np.exp(log_p - log_p.max())
    remainder = np.eye(matrix.shape[1]) - gain @ matrix
    spread = remainder @ prior.covs @ remainder.swapaxes(1, 2) + gain @ cov @ gain.swapaxes(1, 2)
    return Normals(share / share.sum(), prior.means + np.einsum("kij,kj->ki", gain, residual), spread)


def draws(keys: Keys, weights: Real, means: Real, covs: Real) -> Float[Array, "b d"]:
    """One exact draw of the mixture for each key; covariances may be singular, as those of a posterior."""
    law = _eigendecompose(Normals(*(np.asarray(a, np.float64) for a in (weights, means, covs))))
    return _draw(keys, law._replace(variances=jnp.maximum(law.variances, 0)))


def mixture_denoiser(noise: Gaussian, law: Mixture) -> Partial:
    """E[x0|x_t, cond] of a low-rank mixture; the condition is a label, or None."""
    return Partial(bind(_low_rank_denoiser, noise), law)


def _low_rank_denoiser(noise: Gaussian, law: Mixture, x_t: Array, t: Array, cond: Array | None) -> Array:
    m = noise.coefficients(jnp.broadcast_to(t, x_t.shape))
    return law.posterior_mean(x_t, m.alpha, m.sigma, cond)[0]


def _denoiser(noise: Gaussian, law: _Diagonalized, x_t: Array, t: Array, cond: None) -> Array:
    components = _component_posterior(noise, law, x_t, t)
    along = _product("bkd,kde->bke", components.alpha * components.pull, law.axes)
    x0 = law.means[None] + _product("bke,kde->bkd", law.variances[None] * along, law.axes)
    return jnp.sum(jax.nn.softmax(components.log_p)[..., None] * x0, axis=1).reshape(x_t.shape)


def _score(noise: Gaussian, law: _Diagonalized, x_t: Array, t: Array) -> Array:
    components = _component_posterior(noise, law, x_t, t)
    return -jnp.sum(jax.nn.softmax(components.log_p)[..., None] * components.pull, axis=1).reshape(x_t.shape)


def _log_density(noise: Gaussian, law: _Diagonalized, x_t: Array, t: Array) -> Array:
    return jax.nn.logsumexp(_component_posterior(noise, law, x_t, t).log_p, axis=1)


def _component_posterior(noise: Gaussian, law: _Diagonalized, x_t: Array, t: Array) -> _ComponentPosterior:
    """Every component at once: by the eigenvectors where an example has one level, else by Gauss-Jordan."""
    one_level = jnp.shape(t) == (len(x_t),) + (1,) * (x_t.ndim - 1)
    alpha, sigma = noise.schedule((t if one_level else jnp.broadcast_to(t, x_t.shape)).reshape(len(x_t), 1, -1))
    away = x_t.reshape(len(x_t), 1, -1) - alpha * law.means[None]
    if one_level:
        spread = alpha**2 * law.variances[None] + sigma**2
        pull = _product("bke,kde->bkd", _product("bkd,kde->bke", away, law.axes) / spread, law.axes)
        log_det = jnp.sum(jnp.log(spread), axis=2)
    else:
        covs = _product("kde,ke,kfe->kdf", law.axes, law.variances, law.axes)
        noisy = sigma[..., None] ** 2 * jnp.eye(away.shape[2])[None, None]
        inverse, log_det = inverse_and_log_det(alpha[..., None] * covs[None] * alpha[:, :, None] + noisy)
        pull = _product("bkde,bke->bkd", inverse, away)
    square = jnp.sum(away * pull, axis=2) + away.shape[2] * jnp.log(2 * jnp.pi)
    return _ComponentPosterior(law.log_weights[None] - (square + log_det) / 2, pull, alpha)


@jax.jit
def _draw(keys: Keys, law: _Diagonalized) -> Array:
    def one(key: Array) -> Array:
        component_key, noise_key = jax.random.split(key)
        k = jax.random.categorical(component_key, law.log_weights)
        z = jax.random.normal(noise_key, law.means.shape[1:], law.means.dtype)
        return law.means[k] + _product("de,e->d", law.axes[k], jnp.sqrt(law.variances[k]) * z)

    return jax.vmap(one)(keys)


def _diagonalize(weights: Real, means: Real, covs: Real) -> _Diagonalized:
    return _eigendecompose(_validate(weights, means, covs))


def _eigendecompose(law: Normals) -> _Diagonalized:
    variances, axes = np.linalg.eigh(law.covs)
    weights = law.weights / law.weights.sum()
    return _Diagonalized(*(jnp.asarray(a) for a in (np.log(weights), law.means, variances, axes)))


def _validate(weights: Real, means: Real, covs: Real) -> Normals:
    law = Normals(*(np.asarray(a, np.float64) for a in (weights, means, covs)))
    k, d = law.means.shape if law.means.ndim == 2 else (0, 0)
    if law.weights.shape != (k,) or law.covs.shape != (k, d, d):
        shapes = ", ".join(str(a.shape) for a in law)
        raise UserError(f"oracles: expected weights [k], means [k, d] and covs [k, d, d], got {shapes}")
    if not np.all(law.weights > 0):
        raise UserError("oracles: expected positive weights; leave out components of weight 0")
    if not np.all(np.linalg.eigvalsh(law.covs) > 0):
        raise UserError("oracles: expected positive definite covariances; add a small number to their diagonals")
    return law
