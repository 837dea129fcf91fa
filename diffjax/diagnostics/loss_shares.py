"""The training loss and its gradient by noise level."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from diffjax import times as all_times
from diffjax.loss.protocol import Apply, Loss
from diffjax.protocols import Cond, Keys, Noise, Sample
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
    cond: Cond,
    bins: int = 8,
    times: Times | None = None,
    batch: int | None = None,
) -> list[Share]:
    """The loss and its gradient in `bins` equally likely bins of the noise levels that training draws by `times`.

    `loss_of(times)` is the loss with levels drawn by `times`, `apply(params)` a loss's `apply`. The mean over bins is
    the training loss and its gradient; bins in conflict with it have a cosine near or below 0. Examples are taken in
    equal parts of at most `batch`, and the remainder is left out.
    """
    quantile = times or all_times.uniform()

    def bin_loss(params: PyTree, k: Array, keys: Keys, x0: Sample, cond: Cond) -> Array:
        def within(noise: Noise, u: Array) -> Array:
            return quantile(noise, (bins - 1 - k + u) / bins)

        return jnp.mean(loss_of(within)(keys, apply(params), x0, cond))

    graded = jax.jit(jax.value_and_grad(bin_loss))
    parts = [
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], (keys, x0, cond))
        for rows in _equal_parts(len(x0), batch or len(x0))
    ]
    bin_means = [
        _mean_over_parts(functools.partial(graded, params, jnp.asarray(k, jnp.float32)), parts) for k in range(bins)
    ]
    edges = noise.log_snr(quantile(noise, jnp.linspace(1.0, 0.0, bins + 1)))
    return _shares(bin_means, np.asarray(edges))


def _mean_over_parts(
    graded: Callable[[Keys, Sample, Cond], tuple[Array, PyTree]], parts: list[tuple[Keys, Sample, Cond]]
) -> tuple[Array, PyTree]:
    """The mean loss and gradient over parts of one size."""
    every = [graded(*part) for part in parts]
    return jax.block_until_ready(jax.tree.map(lambda *leaves: sum(leaves) / len(parts), *every))


def _shares(bin_means: list[tuple[Array, PyTree]], edges: Float[np.ndarray, " _"]) -> list[Share]:
    flat = jnp.stack([ravel_pytree(gradient)[0] for _, gradient in bin_means])
    norms = jnp.linalg.norm(flat, axis=1)
    mean = jnp.mean(flat, axis=0)
    cosine = flat @ mean / jnp.maximum(norms * jnp.linalg.norm(mean), jnp.finfo(flat.dtype).tiny)
    return [
        Share((float(edges[k]), float(edges[k + 1])), float(loss), float(norms[k]), float(cosine[k]))
        for k, (loss, _) in enumerate(bin_means)
    ]


def _equal_parts(count: int, max_size: int) -> list[slice]:
    """The fewest parts of one size, at most `max_size` each."""
    parts = -(-count // max_size)
    size = count // parts
    return [slice(part * size, (part + 1) * size) for part in range(parts)]
