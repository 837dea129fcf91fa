"""Tokens whose joint probabilities are listed: what is hidden is known by enumeration."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from diffjax.noise import Masking


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
