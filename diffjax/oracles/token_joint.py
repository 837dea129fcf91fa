"""The exact denoiser of tokens with a table of joint probabilities, by enumeration."""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Integer

from diffjax.noise import Masking
from diffjax.utils.memo import bind


class _Joint(NamedTuple):
    probabilities: Float[Array, " states"]
    states: Integer[Array, "states n"]
    one_hot: Float[Array, "states n vocab"]


def joint(noise: Masking, table: Float[np.ndarray, "..."]) -> Partial:
    """The denoiser of n tokens with joint probabilities `table`, of shape (vocab,) * n: log p(x_i | the visible ones).

    For x of shape [b, n]; the logits [b, n, vocab] are log-probabilities, -inf everywhere for impossible observations.
    """
    states = np.array(list(itertools.product(range(noise.vocab), repeat=table.ndim)))
    one_hot = np.eye(noise.vocab, dtype=np.float32)[states]
    return Partial(bind(_denoiser, noise), _Joint(*(jnp.asarray(a) for a in (table.ravel(), states, one_hot))))


def _denoiser(noise: Masking, law: _Joint, x_t: Array, t: Array, cond: None) -> Array:
    fits = jnp.all((x_t[:, None] == noise.vocab) | (x_t[:, None] == law.states[None]), axis=2)
    mass = jnp.einsum("bs,sna->bna", fits * law.probabilities[None], law.one_hot)
    total = jnp.max(jnp.sum(mass, axis=2), axis=1)[:, None, None]
    return jnp.log(mass) - jnp.log(jnp.where(total > 0, total, 1))


def entropy(table: Float[np.ndarray, "..."]) -> float:
    """-Σ p log p of a joint's probabilities, in nats: the lower limit of any bound on its tokens, on average."""
    p = table[table > 0]
    return float(-np.sum(p * np.log(p)))
