"""What each share of the noise levels adds to the loss of a training and to its gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from diffjax import times as all_times
from diffjax.loss.protocol import Apply, Loss
from diffjax.protocols import Keys, Noise, Sample
from diffjax.times import Times

__all__ = ["gradients"]


class Share(NamedTuple):
    """One bin of the noise levels that training draws, all bins being equally likely.

    `log_snr` are its edges, noisiest first; `loss` its mean loss, `gradient` the norm of its mean gradient,
    and `cosine` the cosine between that gradient and the mean of all gradients.
    """

    log_snr: tuple[float, float]
    loss: float
    gradient: float
    cosine: float


def gradients(
    keys: Keys,
    noise: Noise,
    loss_of: Callable[[Times], Loss],
    apply: Callable[[PyTree], Apply],
    params: PyTree,
    x0: Sample,
    cond: PyTree,
    bins: int = 8,
    times: Times | None = None,
    batch: int | None = None,
) -> list[Share]:
    """What each share of the noise levels adds to the loss and to its gradient.

    `loss_of(times)` is the loss that draws levels by those times, `apply(params)` what a loss is given of a net, and
    `times` those of the training. The mean of all losses is the training loss, and the mean of all gradients its
    gradient. Bins that pull elsewhere have a cosine near or below 0. Examples are taken at most `batch` at a time, in
    parts of one size; what is left of them then is not looked at.
    """
    quantile = times or all_times.uniform()

    def of_bin(params: PyTree, k: Array, keys: Keys, x0: Any, cond: PyTree) -> Array:
        def within(noise: Noise, u: Array) -> Array:
            return quantile(noise, (bins - 1 - k + u) / bins)

        return jnp.mean(loss_of(within)(keys, apply(params), x0, cond))

    graded = jax.jit(jax.value_and_grad(of_bin))
    parts = _equal_parts(len(x0), batch or len(x0))

    def graded_of(k: int) -> tuple[Array, PyTree]:
        every = [
            graded(
                params, jnp.asarray(k, jnp.float32), *jax.tree.map(lambda leaf, rows=rows: leaf[rows], (keys, x0, cond))
            )
            for rows in parts
        ]
        return jax.block_until_ready(jax.tree.map(lambda *leaves: sum(leaves) / len(parts), *every))

    loss_gradients = [graded_of(k) for k in range(bins)]
    flat = jnp.stack([ravel_pytree(gradient)[0] for _, gradient in loss_gradients])
    norms, mean = jnp.linalg.norm(flat, axis=1), jnp.mean(flat, axis=0)
    cosine = flat @ mean / jnp.maximum(norms * jnp.linalg.norm(mean), jnp.finfo(flat.dtype).tiny)
    edges = noise.log_snr(quantile(noise, jnp.linspace(1.0, 0.0, bins + 1)))
    return [
        Share((float(edges[k]), float(edges[k + 1])), float(loss_gradients[k][0]), float(norms[k]), float(cosine[k]))
        for k in range(bins)
    ]


def _equal_parts(count: int, max_size: int) -> list[slice]:
    """As few parts of one size as hold at most so many each."""
    parts = -(-count // max_size)
    size = count // parts
    return [slice(part * size, (part + 1) * size) for part in range(parts)]
