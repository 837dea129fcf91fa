"""Data whose denoiser is known exactly, to hold everything else against."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from diffjax.noise import Gaussian, Masking

__all__ = ["gaussian", "joint"]


def gaussian(noise: Gaussian, mean: Float[Array | np.ndarray, " d"], cov: Float[Array | np.ndarray, "d d"]) -> Partial:
    """E[x0|x_t] = mean + alpha C (alpha² C + sigma²)⁻¹ (x_t - alpha mean), for data ~ N(mean, C) and x of shape [b, d].

    Written in the eigenbasis of C = V diag(c) Vᵀ, so that it is exact at both ends of time and differentiable.
    """
    variances, basis = np.linalg.eigh(np.asarray(cov, np.float64))

    def denoise(mean: Array, variances: Array, basis: Array, x_t: Array, t: Array, cond: None) -> Array:
        m = noise.moment(t)
        spread = m.alpha**2 * variances[None] + m.sigma**2
        gain = jnp.where(spread > 0, m.alpha * variances[None] / jnp.where(spread > 0, spread, 1), 0)
        return mean[None] + (gain * ((x_t - m.alpha * mean[None]) @ basis)) @ basis.T

    return Partial(denoise, *(jnp.asarray(a) for a in (np.asarray(mean), variances, basis)))


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
