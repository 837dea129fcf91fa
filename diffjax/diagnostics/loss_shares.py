"""The training loss and its gradient by noise level, to find levels that dominate training or oppose the others."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from diffjax import times as all_times
from diffjax.diagnostics.by_noise_level import Examples
from diffjax.loss.protocol import Losses
from diffjax.protocols import Noise
from diffjax.times import Times

__all__ = ["Share", "gradients"]

ExampleLoss = Callable[[PyTree, Times, Examples], Losses]  # (params, times, examples) -> [b], levels drawn by `times`


class Share(NamedTuple):
    """One of several bins of noise levels that training draws with equal probability.

    `log_snr`: its edges, noisiest first; `loss`: its mean loss; `gradient`: the Euclidean norm of its mean gradient;
    `cosine`: the cosine of the angle between that gradient and the mean gradient of all bins.
    """

    log_snr: tuple[float, float]
    loss: float
    gradient: float
    cosine: float


def gradients(
    examples: Examples,
    noise: Noise,
    loss: ExampleLoss,
    params: PyTree,
    bins: int = 8,
    times: Times | None = None,
    batch: int | None = None,
) -> list[Share]:
    """The loss and its gradient in `bins` bins of equal probability under `times` (default: uniform).

    Bins are ordered from noise to data. The means over bins are the training loss and its gradient; a bin in conflict
    with the others has a cosine near or below 0. Examples are taken in equal parts of at most `batch`; those that
    remain are left out.
    """
    quantile = times or all_times.uniform()

    def bin_loss(params: PyTree, k: Array, examples: Examples) -> Array:
        def times_in_bin(noise: Noise, u: Array) -> Array:
            return quantile(noise, (bins - 1 - k + u) / bins)

        return jnp.mean(loss(params, times_in_bin, examples))

    graded = jax.jit(jax.value_and_grad(bin_loss))
    parts = [examples.select(rows) for rows in _equal_parts(len(examples.x), batch or len(examples.x))]
    bin_means = [
        _mean_over_parts(functools.partial(graded, params, jnp.asarray(k, jnp.float32)), parts) for k in range(bins)
    ]
    edges = noise.log_snr(quantile(noise, jnp.linspace(1.0, 0.0, bins + 1)))
    return _shares(bin_means, np.asarray(edges))


def _mean_over_parts(graded: Callable[[Examples], tuple[Array, PyTree]], parts: list[Examples]) -> tuple[Array, PyTree]:
    """The mean loss and gradient over parts of one size."""
    results = [graded(part) for part in parts]
    return jax.block_until_ready(jax.tree.map(lambda *leaves: sum(leaves) / len(parts), *results))


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
