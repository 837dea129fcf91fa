"""Comparison of a model with a known density of the data: its denoiser, its samples and its likelihoods.

With D the model's denoiser and D* the exact one, E|x0 - D|² = E|x0 - D*|² + E|D - D*|² at every level, and the
continuous variational bound of D exceeds the entropy of the data by

    ½ ∫ E|D - D*|² d snr    nats

(Kingma et al. 2021, eq. 12; by Guo et al. 2005 the bound of D* is the entropy). This excess is an upper bound on the KL
divergence between samples of the reverse SDE and the data (Song et al. 2021, theorem 1), apart from the signal that
remains at t = 1.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from diffjax.denoising import checked_denoiser
from diffjax.diagnostics.by_noise_level import require_gaussian
from diffjax.distributions import Mixture
from diffjax.errors import UserError
from diffjax.loss.protocol import sum_per_example
from diffjax.noise import Gaussian
from diffjax.protocols import Denoise, Keys, Noise
from diffjax.utils.closures import closure_jit
from diffjax.utils.prng import fold

__all__ = ["DenoiserGap", "DensityComparison", "compare_with_density", "denoiser_gap", "entropy", "exact_bits"]

Values = Float[Array | np.ndarray, "_ *_"]
Labels = Int[Array | np.ndarray, " _"] | None


@dataclass(frozen=True)
class DenoiserGap:
    """The distance of a denoiser to the exact one, for n examples at m log-SNRs, from noise to data.

    `exact_error` is the error of the exact denoiser and `excess` that of the model beyond it, both in units of the
    regression loss, means over the d values of an example. `nats` is the cost in each of the m intervals of log-SNR.
    """

    log_snr: Float[np.ndarray, " m"]
    exact_error: Float[np.ndarray, "n m"]
    excess: Float[np.ndarray, "n m"]
    nats: Float[np.ndarray, "n m"]

    @property
    def total(self) -> tuple[float, float]:
        """The excess of the bound over the entropy in nats an example, and its standard error."""
        return _mean(self.nats.sum(axis=1))


def denoiser_gap(
    keys: Keys,
    noise: Noise,
    denoise: Denoise,
    distribution: Mixture,
    x: Values,
    cond: Labels = None,
    *,
    edges: Float[Array, " _"] | None = None,
) -> DenoiserGap:
    """The distance of a denoiser to the exact one on noised examples of the distribution, all positions at one level.

    Both are conditional on the labels `cond`, [n], or unconditional. `edges` are m + 1 ascending log-SNRs, by default
    those of 64 intervals of the variational bound. The integral over the SNR takes the error at the middle of each
    interval. Raises UserError for tokens and for edges that do not ascend.
    """
    noise = require_gaussian(noise)
    edges = jnp.maximum(noise.log_snr(noise.bound_grid(64)), -14.0) if edges is None else jnp.asarray(edges)
    if len(edges) < 2 or not bool(jnp.all(jnp.diff(edges) > 0)):
        raise UserError("denoiser_gap: edges must be two or more ascending log-SNRs")
    middle = (edges[1:] + edges[:-1]) / 2
    call = functools.partial(_error_terms, checked_denoiser(noise, denoise), distribution, noise=noise)
    terms = [_in_chunks(functools.partial(call, t), fold(keys, i), x, cond) for i, t in enumerate(noise.time(middle))]
    exact_error, squares = np.stack(terms, axis=2).swapaxes(0, 1)  # of [n, 2, m]
    weight = np.exp(np.asarray(noise.log_weight(noise.time(middle)), float)) / x[0].size
    gains = np.diff(np.exp(np.asarray(edges, float))) / 2
    return DenoiserGap(np.asarray(middle), exact_error * weight, squares * weight, squares * gains)


@closure_jit(static_argnames="noise")
def _error_terms(
    denoise: Denoise, distribution: Mixture, clock: Array, keys: Keys, x: Array, cond: PyTree, *, noise: Gaussian
) -> Float[Array, "b 2"]:
    """The exact denoiser's expected squared error, and the squared distance to it."""
    t = jnp.full((len(x),) + (1,) * (x.ndim - 1), clock)
    x_t, _ = jax.vmap(noise.corrupt)(keys, x, t)
    m = noise.coefficients(jnp.broadcast_to(t, x.shape))
    exact, exact_error = distribution.posterior_mean(x_t, m.alpha, m.sigma, cond)
    return jnp.stack([exact_error, sum_per_example((denoise(x_t, t, cond) - exact) ** 2)], axis=1)


@dataclass(frozen=True)
class DensityComparison:
    """Log-densities of n samples under a known distribution, and of real examples, with standard errors.

    `log_density` in nats, conditional on the label where there is one. `z`: the difference of both in standard errors,
    N(0, 1) if the samples follow the distribution, positive if they are too concentrated, negative if too spread out.
    `component_distance`: the total variation between component frequencies and weights, biased upward for finite n.
    `accuracy`: the share of samples whose most likely class is that of their label.
    """

    log_density: tuple[float, float]
    real_log_density: tuple[float, float]
    z: float
    component_distance: float
    real_component_distance: float
    accuracy: float | None
    real_accuracy: float | None


def compare_with_density(
    distribution: Mixture, samples: Values, real: Values, labels: Labels, real_labels: Labels
) -> DensityComparison:
    """The comparison of samples, conditioned on `labels`, with real examples of `real_labels`; None: unconditional."""
    rows = [_summarize(distribution, *data) for data in ((samples, labels), (real, real_labels))]
    (log_p, distance, accuracy), (real_log_p, real_distance, real_accuracy) = rows
    z = (log_p[0] - real_log_p[0]) / (log_p[1] ** 2 + real_log_p[1] ** 2) ** 0.5
    return DensityComparison(log_p, real_log_p, z, distance, real_distance, accuracy, real_accuracy)


def entropy(keys: Keys, distribution: Mixture, conditional: bool = False) -> tuple[float, float]:
    """-E log p(x), or -E log p(x | class) if the class is `conditional`, in nats, and its standard error.

    H(x) = H(k) + H(x|k) - H(k|x) for the component k, and so conditional on the class: only the last is estimated, by
    one draw per key, with little variance where the components are separated.
    """
    x, classes = jax.jit(jax.vmap(distribution.draw))(keys)
    log_p = _in_chunks(distribution.log_components, x, classes if conditional else None)
    entropies = -np.sum(np.exp(log_p) * np.maximum(log_p, -1e3), axis=1)  # of H(k|x); p log p is 0 at p = 0
    weights = np.exp(np.asarray(distribution.log_prior()[0], float))
    log_k = np.asarray(distribution.log_prior(distribution.classes if conditional else None), float)
    prior_entropy = -weights @ np.broadcast_to(log_k, (len(weights), len(weights))).diagonal()
    posterior_entropy, error = _mean(entropies)
    return float(prior_entropy + weights @ distribution.entropies()) - posterior_entropy, error


def exact_bits(distribution: Mixture, x: Values, labels: Labels = None) -> Float[np.ndarray, " n"]:
    """-log2 p(x) or -log2 p(x | label) per dimension of the distribution itself: no model has less on average.

    The bits of a model minus these are on average its KL divergence, with less variance than either.
    """
    return -_in_chunks(distribution.log_density, x, labels) / (x[0].size * np.log(2))


def _summarize(distribution: Mixture, x: Values, labels: Labels) -> tuple[tuple[float, float], float, float | None]:
    """The mean log-density and its error, `component_distance` and `accuracy` of a `DensityComparison`."""
    log_p = _in_chunks(distribution.log_components, x)
    weights = np.exp(np.asarray(distribution.log_prior()[0], float))
    shares = np.bincount(log_p.argmax(axis=1), minlength=len(weights)) / len(x)
    distance = float(np.abs(shares - weights).sum() / 2)
    log_density = _mean(_in_chunks(distribution.log_density, x, labels))
    if labels is None:
        return log_density, distance, None
    classes = np.asarray(distribution.classes)[log_p.argmax(axis=1)]
    return log_density, distance, float((classes == np.asarray(labels)).mean())


def _in_chunks(call: Callable[..., Array], *data: PyTree, size: int = 256) -> Float[np.ndarray, "n *_"]:
    """The results for all examples, computed in chunks to save memory."""
    parts = range(0, len(data[0]), size)
    results = [call(*jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i : i + size]), data)) for i in parts]
    return np.concatenate([np.asarray(part, float) for part in results])


def _mean(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Their mean, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)
