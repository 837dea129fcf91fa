"""A model beside a known distribution: by noise level, in total, in its samples and in its likelihoods.

With D the model's denoiser and D* the exact one, E|x0 - D|² = E|x0 - D*|² + E|D - D*|² at every level, and the
continuous variational bound of D exceeds the entropy of the distribution by

    ½ ∫ E|D - D*|² d snr    nats

(Kingma et al. 2021, eq. 12, with Guo et al. 2005, by which D* has no excess). It bounds the KL divergence from samples
of the reverse SDE to the distribution (Song et al. 2021, theorem 1), but for the signal that is left at t = 1.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from diffjax.denoising import checked_denoiser
from diffjax.distributions import Mixture
from diffjax.errors import UserError
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

    Both are conditioned on the labels `cond`, or neither is. `edges` are m + 1 ascending log-SNRs, by default of 64
    intervals of the range of the bound; the error is that in the middle of each, its weight, the SNR, is integrated.
    Raises UserError for tokens and for edges that do not ascend.
    """
    if not isinstance(noise, Gaussian):
        raise UserError(f"truth: needs Gaussian noise, got {type(noise).__name__}")
    edges = jnp.maximum(noise.log_snr(noise.bound_grid(64)), -14.0) if edges is None else jnp.asarray(edges)
    if len(edges) < 2 or not bool(jnp.all(jnp.diff(edges) > 0)):
        raise UserError("truth: edges must be two or more log-SNRs, from the least to the greatest")
    middle = (edges[1:] + edges[:-1]) / 2
    call = functools.partial(_error_terms(noise), checked_denoiser(noise, denoise), distribution)
    terms = [_in_chunks(functools.partial(call, t), fold(keys, i), x, cond) for i, t in enumerate(noise.time(middle))]
    exact_error, squares = np.stack(terms, axis=2).swapaxes(0, 1)  # of [n, 2, m]
    weight = np.exp(np.asarray(noise.log_weight(noise.time(middle)), float)) / x[0].size
    gains = np.diff(np.exp(np.asarray(edges, float))) / 2
    return DenoiserGap(np.asarray(middle), exact_error * weight, squares * weight, squares * gains)


@functools.cache
def _error_terms(noise: Gaussian) -> Callable:
    @closure_jit
    def error_terms(denoise: Denoise, distribution: Mixture, clock: Array, keys: Keys, x: Array, cond: PyTree) -> Array:
        """[b, 2]: the exact denoiser's expected squared error, and the squared distance to it."""
        t = jnp.full((len(x),) + (1,) * (x.ndim - 1), clock)
        x_t, _ = jax.vmap(noise.corrupt)(keys, x, t)
        m = noise.coefficients(jnp.broadcast_to(t, x.shape))
        exact, exact_error = distribution.posterior_mean(x_t, m.alpha, m.sigma, cond)
        return jnp.stack(
            [exact_error, jnp.sum((denoise(x_t, t, cond) - exact).reshape(len(x), -1) ** 2, axis=1)], axis=1
        )

    return error_terms


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
    (ours, distance, accuracy), (theirs, real_distance, real_accuracy) = rows
    z = (ours[0] - theirs[0]) / (ours[1] ** 2 + theirs[1] ** 2) ** 0.5
    return DensityComparison(ours, theirs, z, distance, real_distance, accuracy, real_accuracy)


def entropy(keys: Keys, distribution: Mixture, conditional: bool = False) -> tuple[float, float]:
    """-E log p(x), or -E log p(x | class) if the class is `conditional`, in nats, and its standard error.

    H(x) = H(k) + H(x|k) - H(k|x) for the component k, and so conditional on the class: only the last is estimated, by
    one draw per key, with little variance where the components are separated.
    """
    x, classes = jax.jit(jax.vmap(distribution.draw))(keys)
    log_p = _in_chunks(distribution.log_components, x, classes if conditional else None)
    doubt = -np.sum(np.exp(log_p) * np.maximum(log_p, -1e3), axis=1)  # where p = 0, 0
    weights = np.exp(np.asarray(distribution.log_prior()[0], float))
    log_k = np.asarray(distribution.log_prior(distribution.classes if conditional else None), float)
    chosen = -weights @ np.broadcast_to(log_k, (len(weights), len(weights))).diagonal()
    posterior_entropy, error = _mean(doubt)
    return float(chosen + weights @ distribution.entropies()) - posterior_entropy, error


def exact_bits(distribution: Mixture, x: Values, labels: Labels = None) -> Float[np.ndarray, " n"]:
    """-log2 p(x) or -log2 p(x | label) per dimension of the distribution itself: no model has less on average.

    The bits of a model minus these are on average its KL divergence, with less variance than either.
    """
    return -_in_chunks(distribution.log_density, x, labels) / (x[0].size * np.log(2))


def _summarize(distribution: Mixture, x: Values, labels: Labels) -> tuple[tuple[float, float], float, float | None]:
    log_p = _in_chunks(distribution.log_components, x)
    weights = np.exp(np.asarray(distribution.log_prior()[0], float))
    shares = np.bincount(log_p.argmax(axis=1), minlength=len(weights)) / len(x)
    right = None if labels is None else np.asarray(distribution.classes)[log_p.argmax(axis=1)] == np.asarray(labels)
    distance = float(np.abs(shares - weights).sum() / 2)
    return (
        _mean(_in_chunks(distribution.log_density, x, labels)),
        distance,
        None if right is None else float(right.mean()),
    )


def _in_chunks(call: Callable[..., Array], *data: PyTree, size: int = 256) -> Float[np.ndarray, "n *_"]:
    """The results for all examples, computed in chunks to save memory."""
    parts = range(0, len(data[0]), size)
    results = [call(*jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i : i + size]), data)) for i in parts]
    return np.concatenate([np.asarray(part, float) for part in results])


def _mean(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Their mean, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)
