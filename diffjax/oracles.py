"""Data whose denoiser is known exactly, to hold everything else against."""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from diffjax.errors import UserError
from diffjax.mixtures import Mixture
from diffjax.noise import Gaussian, Masking
from diffjax.schedule import Moment

__all__ = ["entropy", "gaussian", "joint", "mixture", "of_law"]

Real = Float[Array | np.ndarray, "..."]


def gaussian(noise: Gaussian, mean: Real, cov: Real) -> Partial:
    """E[x0|x_t] = mean + C A (A C A + S²)⁻¹ (x_t - A mean), for data ~ N(mean, C).

    `mean` is [d] and `cov` [d, d], positive definite, for x of shape [b, *shape] with d numbers an example. A and S
    hold alpha and sigma of every number on their diagonals: levels may differ from position to position.
    """
    return mixture(noise, np.ones(1), np.asarray(mean)[None], np.asarray(cov)[None])


def mixture(noise: Gaussian, weights: Real, means: Real, covs: Real) -> Partial:
    """E[x0|x_t] = Σ_k p(k|x_t) E[x0|x_t, k], for data from Σ_k weights_k N(means_k, covs_k): [k], [k, d], [k, d, d]."""
    weights, means, covs = (np.asarray(a, np.float64) for a in (weights, means, covs))
    if not np.all(np.linalg.eigvalsh(covs) > 0):
        raise UserError("oracles: expected positive definite covariances; add a little to their diagonals")
    return Partial(_mixed(noise), *(jnp.asarray(a) for a in (np.log(weights / weights.sum()), means, covs)))


@functools.cache
def _mixed(noise: Gaussian) -> Callable:
    def component(log_weight: Array, mean: Array, cov: Array, x_t: Array, m: Moment) -> tuple[Array, Array]:
        """log weight + log N(x_t; A mean, A C A + S²) but for a constant, and the component's own E[x0|x_t]."""
        spread = m.alpha[:, None] * cov * m.alpha[None] + jnp.diag(m.sigma**2)
        root = jnp.linalg.cholesky(spread)
        away = x_t - m.alpha * mean
        pull = jax.scipy.linalg.cho_solve((root, True), away)
        log_p = log_weight - away @ pull / 2 - jnp.sum(jnp.log(jnp.diag(root)))
        return log_p, mean + cov @ (m.alpha * pull)

    def one(log_weights: Array, means: Array, covs: Array, x_t: Array, t: Array) -> Array:
        each = jax.vmap(component, (0, 0, 0, None, None))
        log_p, x0 = each(log_weights, means, covs, x_t, noise.moment(t))
        return jax.nn.softmax(log_p) @ x0

    def denoise(log_weights: Array, means: Array, covs: Array, x_t: Array, t: Array, cond: None) -> Array:
        flat, at = (a.reshape(len(x_t), -1) for a in (x_t, jnp.broadcast_to(t, x_t.shape)))
        return jax.vmap(one, (None, None, None, 0, 0))(log_weights, means, covs, flat, at).reshape(x_t.shape)

    return denoise


def of_law(noise: Gaussian, law: Mixture) -> Partial:
    """E[x0|x_t, cond] of a law of few factors and many numbers; a condition is a label, or None to know nothing."""
    return Partial(_denoised(noise), law)


@functools.cache
def _denoised(noise: Gaussian) -> Callable:
    def denoise(law: Mixture, x_t: Array, t: Array, cond: Array | None) -> Array:
        m = noise.moment(jnp.broadcast_to(t, x_t.shape))
        return law.denoised(x_t, m.alpha, m.sigma, cond)[0]

    return denoise


def joint(noise: Masking, table: Float[np.ndarray, "..."]) -> Partial:
    """The denoiser of n tokens with joint probabilities `table`, of shape (vocab,) * n: log p(x_i | the visible ones).

    Exact by enumeration, for x of shape [b, n]; the logits [b, n, vocab] are log-probabilities. Impossible
    observations give -inf everywhere.
    """
    states = np.array(list(itertools.product(range(noise.vocab), repeat=table.ndim)))
    taken = np.eye(noise.vocab, dtype=np.float32)[states]  # [states, n, vocab]

    def denoise(probabilities: Array, states: Array, taken: Array, x_t: Array, t: Array, cond: None) -> Array:
        fits = jnp.all((x_t[:, None] == noise.vocab) | (x_t[:, None] == states[None]), axis=2)
        mass = jnp.einsum("bs,sna->bna", fits * probabilities[None], taken)
        return jnp.log(mass) - jnp.log(jnp.max(jnp.sum(mass, axis=2), axis=1))[:, None, None]

    return Partial(denoise, jnp.asarray(table.ravel()), jnp.asarray(states), jnp.asarray(taken))


def entropy(table: Float[np.ndarray, "..."]) -> float:
    """-Σ p log p of a joint's probabilities, in nats: what no bound on tokens from it can be below on average."""
    p = table[table > 0]
    return float(-np.sum(p * np.log(p)))
