"""Guidance maps a denoiser to a denoiser."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from diffjax.errors import UserError
from diffjax.protocols import Denoise, portable

__all__ = ["cfg"]


def cfg(denoise: Denoise, scale: float, null: PyTree) -> Partial:
    """(1 - w) d(null) + w d(cond), w = `scale` (Ho & Salimans 2022, eq. 6, with w for their 1 + w; 1 is neutral).

    `null` is a condition of the same tree without the batch axis (`net.null_cond`). The weights sum to 1, so guiding
    x0 is guiding eps, v or the score; on logits it is the same formula. Both halves are one call of twice the batch.
    """
    if null is None:
        raise UserError("cfg: guidance needs a conditional model, and this one has no null condition")
    return Partial(_cfg, portable(denoise), scale, null)


def _cfg(denoise: Denoise, scale: Any, null: PyTree, x_t: Array, t: Array, cond: PyTree) -> Array:
    if cond is None:
        raise UserError("cfg: guidance needs a condition; give cond=")
    nulls = jax.tree.map(lambda leaf, nothing: jnp.broadcast_to(nothing, leaf.shape).astype(leaf.dtype), cond, null)
    t = jnp.broadcast_to(t, (len(x_t), *t.shape[1:]))
    pred = denoise(_pairs(x_t, x_t), _pairs(t, t), jax.tree.map(_pairs, nulls, cond))
    without, given = pred[::2], pred[1::2]
    return (1 - scale) * without + scale * given


def _pairs(one: Array, other: Array) -> Array:
    """Both batches as one, each example's pair side by side, and so on one device."""
    return jnp.stack([one, other], axis=1).reshape(2 * len(one), *one.shape[1:])
