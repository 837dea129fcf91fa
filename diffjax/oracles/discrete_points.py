"""The exact denoiser of a distribution over finitely many points."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.utils.memo import bind

Real = Float[Array | np.ndarray, "..."]


class _Atoms(NamedTuple):
    log_weights: Float[Array, " k"]
    states: Float[Array, "k d"]


def atoms(noise: Gaussian, states: Real, weights: Real) -> Partial:
    """E[x0|x_t] = Σ_k p(k|x_t) states_k, p(k|x_t) ∝ weights_k Π_i N(x_t,i; alpha_i states_k,i, sigma_i²).

    `states` are [k, *shape] and `weights` [k], for x of shape [b, *shape]. Levels may differ from position to position.
    Numbers at sigma = 0 are known and returned as they are; p is then supported on the states nearest to all known
    numbers, its limit as sigma falls to 0. Raises UserError for other shapes, and weights that are not positive.
    """
    states = np.asarray(states, np.float64)
    weights = np.asarray(weights, np.float64)
    if states.ndim < 1 or weights.shape != states.shape[:1]:
        raise UserError(
            f"oracles.atoms: expected states [k, *shape] and weights [k], got {states.shape}, {weights.shape}"
        )
    if not np.all(weights > 0):
        raise UserError("oracles.atoms: expected positive weights; leave out components of weight 0")
    logs = np.log(weights / weights.sum())
    return Partial(bind(_denoiser, noise), _Atoms(jnp.asarray(logs), jnp.asarray(states.reshape(len(states), -1))))


def _denoiser(noise: Gaussian, law: _Atoms, x_t: Array, t: Array, cond: None) -> Array:
    flat = x_t.reshape(len(x_t), -1)
    alpha, sigma = noise.schedule(jnp.broadcast_to(t, x_t.shape).reshape(flat.shape))
    known = sigma**2 <= jnp.finfo(flat.dtype).tiny ** 0.5  # less would overflow in the quotient
    noisy = jnp.where(known, 0, 1 / jnp.where(known, 1, 2 * sigma**2))

    def accumulate(sums: tuple[Array, Array], number: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
        x, alpha, noisy, known, state = number
        away = (x[:, None] - alpha[:, None] * state[None]) ** 2
        more = away - jnp.min(away, axis=1, keepdims=True)  # than at this number's nearest state: no large sums
        return (sums[0] + jnp.where(known[:, None], more, 0), sums[1] - more * noisy[:, None]), None

    none = jnp.zeros((len(flat), len(law.states)), flat.dtype)
    numbers = (flat.T, alpha.T, noisy.T, known.T, law.states.T)
    (distance, log_p), _ = jax.lax.scan(accumulate, (none, none + law.log_weights[None]), numbers)
    size = jnp.sum(jnp.where(known, flat**2, 0), axis=1, keepdims=True)
    nearest = distance <= jnp.min(distance, axis=1, keepdims=True) + 8 * jnp.finfo(flat.dtype).eps * size
    p = jax.nn.softmax(jnp.where(nearest, log_p, -jnp.inf), axis=1)
    x0 = jnp.matmul(p, law.states, precision="highest")
    return jnp.where(known, flat, x0).reshape(x_t.shape)
