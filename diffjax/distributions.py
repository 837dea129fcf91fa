"""A low-rank Gaussian mixture over images, with exact draws, densities and denoiser."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Real, Shaped

__all__ = ["Mixture"]

Values = Float[Array, "b *shape"]
Labels = Int[Array, " b"] | None
Numbers = Real[Array, " b d"]


class ComponentPosterior(NamedTuple):
    """For each component k: log p(k, x_t), E[x0|x_t, k], and the trace of Cov[x0|x_t, k]."""

    log_p: Float[Array, "b k"]
    x0: Float[Array, "b k d"]
    trace: Float[Array, "b k"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["log_weights", "means", "factors", "floors", "classes"],
    meta_fields=[],
)
@dataclass(frozen=True, eq=False)
class Mixture:
    """Σ_k w_k N(mean_k, F_k F_kᵀ + diag(floor_k)), each component k of one class: x of d numbers in any shape.

    A few (r) `factors` and a diagonal `floors`, so that a posterior takes a solve with r unknowns (Woodbury). A label
    outside 0 … classes - 1, like the `null_cond` of a net, and None are unconditional.
    """

    log_weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    factors: Float[Array, "k d r"]
    floors: Float[Array, "k d"]
    classes: Int[Array, " k"]

    def draw(self, key: Key[Array, ""]) -> tuple[Float[Array, " d"], Int[Array, ""]]:
        """One example and its class, a pure function of the key."""
        which, ways, grain = jax.random.split(key, 3)
        k = jax.random.categorical(which, self.log_weights)
        z = jax.random.normal(ways, self.factors.shape[2:])
        x = self.means[k] + jnp.sqrt(self.floors[k]) * jax.random.normal(grain, self.means.shape[1:])
        for j in range(len(z)):  # in this order always, so that a batch's size changes no bit
            x = x + self.factors[k, :, j] * z[j]
        return x, self.classes[k]

    def log_density(self, x: Values, labels: Labels = None) -> Float[Array, " b"]:
        """log p(x), or log p(x | label), in nats."""
        return _log_densities(self, x, labels)[0]

    def log_components(self, x: Values, labels: Labels = None) -> Float[Array, "b k"]:
        """log p(component | x), or log p(component | x, label)."""
        return _log_densities(self, x, labels)[1]

    def entropies(self) -> Float[np.ndarray, " k"]:
        """The entropy of each component, in nats."""
        factors, floors = (np.asarray(a, float) for a in (self.factors, self.floors))
        squares = np.eye(factors.shape[2]) + np.einsum("kdi,kd,kdj->kij", factors, 1 / floors, factors)
        return (np.linalg.slogdet(squares)[1] + np.sum(np.log(2 * np.pi * np.e * floors), axis=1)) / 2

    def posterior_mean(
        self, x_t: Values, alpha: Values, sigma: Values, labels: Labels = None
    ) -> tuple[Values, Float[Array, " b"]]:
        """E[x0 | x_t] and the trace of Cov[x0 | x_t], for x_t = alpha x0 + sigma eps."""
        at, a, s = (values.reshape(len(x_t), -1) for values in (x_t, alpha, sigma))
        log_p, component_means, within = self.component_posterior(at, a, s, labels)
        share = jax.nn.softmax(log_p)
        x0 = jnp.einsum("bk,bkd->bd", share, component_means)
        between = jnp.sum((component_means - x0[:, None]) ** 2, axis=2)
        return x0.reshape(x_t.shape), jnp.sum(share * (within + between), axis=1)

    def component_posterior(
        self, x_t: Numbers, alpha: Numbers, sigma: Numbers, labels: Labels = None
    ) -> ComponentPosterior:
        """All components at once, exact at sigma = 0 too.

        x_t - alpha mean = alpha (F z + grain) + sigma eps, where z has the posterior of a linear regression, and
        E[x0] = mean + F E[z] + E[grain].
        """
        return _component_posterior(self, self.log_prior(labels), x_t, alpha, sigma)

    def log_prior(self, labels: Labels = None) -> Shaped[Array, "_ k"]:
        """log p(component | label)."""
        log_weights = jax.nn.log_softmax(self.log_weights)[None]
        if labels is None:
            return log_weights
        matches = self.classes[None] == labels[:, None]
        has_match = jnp.any(matches, axis=1, keepdims=True)
        return jax.nn.log_softmax(jnp.where(matches | ~has_match, log_weights, -jnp.inf))


@jax.jit
def _log_densities(law: Mixture, x: Array, labels: Labels) -> tuple[Array, Array]:
    flat = x.reshape(len(x), -1)
    log_p = law.component_posterior(flat, jnp.ones_like(flat), jnp.zeros_like(flat), labels).log_p
    return jax.nn.logsumexp(log_p, axis=1), jax.nn.log_softmax(log_p)


@jax.jit
def _component_posterior(
    law: Mixture, log_weights: Array, x_t: Array, alpha: Array, sigma: Array
) -> ComponentPosterior:
    """The sums are ordered so that a batch takes a few matrix products for each component."""
    k, d, r = law.factors.shape
    squares = (law.factors[:, :, :, None] * law.factors[:, :, None]).reshape(k, d, r * r)
    alpha = alpha[:, None]
    sigma = sigma[:, None]
    spread = alpha**2 * law.floors[None] + sigma**2
    away = x_t[:, None] - alpha * law.means[None]

    def inner(scale: Array) -> Array:
        """Σ_d F_di scale_d F_dj."""
        return jnp.einsum("bkd,kdq->bkq", scale, squares).reshape(-1, k, r, r)

    inverse, log_det = inverse_and_log_det(jnp.eye(r)[None, None] + inner(alpha**2 / spread))
    pull = jnp.einsum("bkd,kdr->bkr", alpha * away / spread, law.factors)
    z = jnp.sum(inverse * pull[:, :, None], axis=3)
    moved = jnp.einsum("kdr,bkr->bkd", law.factors, z)
    left = away - alpha * moved
    square = jnp.sum(left**2 / spread, axis=2) + jnp.sum(z**2, axis=2)
    log_det = log_det + jnp.sum(jnp.log(2 * jnp.pi * spread), axis=2)
    x0 = law.means[None] + moved + alpha * law.floors[None] / spread * left
    hidden = inverse * inner((sigma**2 / spread) ** 2)  # x0 moves with z by F sigma² / spread
    rest = jnp.sum(law.floors[None] * sigma**2 / spread, axis=2) + jnp.sum(hidden, axis=(2, 3))
    return ComponentPosterior(log_weights - (square + log_det) / 2, x0, rest)


def inverse_and_log_det(matrix: Float[Array, "b k r r"]) -> tuple[Float[Array, "b k r r"], Float[Array, "b k"]]:
    """Inverse and log-determinant of positive definite matrices, by Gauss-Jordan elimination without pivoting.

    For few unknowns this is as fast as LAPACK, whose batches inside a larger program were seen to deadlock on a CPU of
    two cores (JAX 0.10.2).
    """
    log_det = jnp.zeros(matrix.shape[:2])
    number = jnp.arange(matrix.shape[2])[None, None]
    for i in range(matrix.shape[2]):
        here = number == i
        pivot = matrix[:, :, i, i]
        row = jnp.where(here, 1.0, matrix[:, :, i]) / pivot[..., None]
        column = jnp.where(here, -1.0, matrix[:, :, :, i])
        others = jnp.where(here[..., None] | here[:, :, None], 0.0, matrix)
        matrix = others - column[..., None] * row[:, :, None]
        log_det = log_det + jnp.log(pivot)
    return matrix, log_det
