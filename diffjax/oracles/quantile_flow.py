"""The exact solution of the probability-flow ODE of a one-dimensional mixture, which preserves quantiles.

x_s = F_s⁻¹(F_t(x_t)), with F_t the distribution function Σ_k w_k Φ((x - alpha m_k) / c_k), c_k² = alpha² std_k² +
sigma², of the data at level t. (The ODE maps q_t to q_s, and in one dimension its paths cannot cross.)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, logsumexp, ndtri
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.utils.memo import bind

Real = Float[Array | np.ndarray, "..."]
Values = Float[Array, "..."]


class _Law(NamedTuple):
    """The components, on the last axis."""

    log_weights: Values
    means: Values
    stds: Values


def quantile_map(noise: Gaussian, weights: Real, means: Real, stds: Real) -> Partial:
    """`(x, t, s) -> x_s`, the exact solution of the probability-flow ODE from level t to level s, either way.

    The data is Σ_k weights_k N(means_k, stds_k²), all [k]; x has any shape, and t and s broadcast against it. Solved to
    the precision of x, in both tails too, and differentiable in x. A point of almost no density under
    q_s is only as precise as its quantile.
    """
    return Partial(bind(_transport, noise), _validate(weights, means, stds))


def quantile(noise: Gaussian, weights: Real, means: Real, stds: Real) -> Partial:
    """`(p, t) -> x` with F_t(x) = p: the quantiles of the mixture at level t, for p in (0, 1) of any shape."""
    return Partial(bind(_quantile, noise), _validate(weights, means, stds))


@functools.partial(jax.jit, static_argnums=0)
def _transport(noise: Gaussian, law: _Law, x: Array, t: Array, s: Array) -> Array:
    at_t, at_s = (_at_level(noise, law, jnp.broadcast_to(level, x.shape)) for level in (t, s))
    z = (x[..., None] - at_t.means) / at_t.stds
    upper = _log_tail(at_t, x, jnp.zeros(x.shape, bool)) > _log_tail(at_t, x, jnp.ones(x.shape, bool))
    log_tail = _log_tail(at_t, x, upper)
    return jnp.where(t == s, x, _solve(at_s, upper, log_tail, jnp.min(z, axis=-1), jnp.max(z, axis=-1)))


@functools.partial(jax.jit, static_argnums=0)
def _quantile(noise: Gaussian, law: _Law, p: Array, t: Array) -> Array:
    upper = p > 0.5
    z = ndtri(p)
    log_tail = jnp.where(upper, jnp.log1p(-p), jnp.log(p))
    return _solve(_at_level(noise, law, jnp.broadcast_to(t, p.shape)), upper, log_tail, z, z)


def _at_level(noise: Gaussian, law: _Law, t: Array) -> _Law:
    """The law at each level."""
    alpha, sigma = (values[..., None] for values in noise.schedule(t))
    weights, means, stds = (a.reshape((1,) * t.ndim + a.shape) for a in law)
    return _Law(weights, alpha * means, jnp.sqrt(alpha**2 * stds**2 + sigma**2))


def _log_tail(law: _Law, x: Values, upper: Bool[Array, "..."]) -> Values:
    """log F(x), or log(1 - F(x)) in the upper tail, where `upper` is true."""
    z = (x[..., None] - law.means) / law.stds
    return logsumexp(law.log_weights + log_ndtr(jnp.where(upper[..., None], -z, z)), axis=-1)


def _solve(law: _Law, upper: Array, log_tail: Values, z_low: Values, z_high: Values) -> Values:
    """The x whose tail has this logarithm, where Φ⁻¹(F(x)) is between `z_low` and `z_high`.

    F(x) is a mean over components of Φ(z_k), so some z_k lie below Φ⁻¹(F(x)) and some above: that brackets x, and is
    halved until nothing is left. A last step of Newton's gives the slope in `log_tail`.
    """

    def halve(_: Array, bracket: tuple[Values, Values]) -> tuple[Values, Values]:
        low, high = bracket
        x = (low + high) / 2
        beyond = (_log_tail(law, x, upper) > log_tail) ^ upper
        return jnp.where(beyond, low, x), jnp.where(beyond, x, high)

    ends = jnp.min(law.means + law.stds * z_low[..., None], -1), jnp.max(law.means + law.stds * z_high[..., None], -1)
    halvings = int(jnp.finfo(log_tail.dtype).nmant) + 12
    low, high = jax.lax.fori_loop(0, halvings, halve, jax.lax.stop_gradient(ends))
    x = (low + high) / 2
    log_tail_at_x = _log_tail(law, x, upper)
    square = ((x[..., None] - law.means) / law.stds) ** 2 + jnp.log(2 * jnp.pi)
    density = logsumexp(law.log_weights - square / 2 - jnp.log(law.stds), axis=-1)
    over = jnp.exp(jnp.minimum(log_tail_at_x - density, 10.0))  # the tail over its slope, which may be almost 0
    return x + jnp.where(upper, -over, over) * jnp.clip(log_tail - log_tail_at_x, -1e-3, 1e-3)


def _validate(weights: Real, means: Real, stds: Real) -> _Law:
    law = [np.asarray(a, np.float64) for a in (weights, means, stds)]
    if any(a.ndim != 1 or len(a) != len(law[0]) for a in law):
        raise UserError(f"oracles: expected weights, means and stds of shape [k], got {[a.shape for a in law]}")
    if not (np.all(law[0] > 0) and np.all(law[2] > 0)):
        raise UserError("oracles: expected positive weights and standard deviations; leave out components of weight 0")
    return _Law(*(jnp.asarray(a) for a in (np.log(law[0] / law[0].sum()), law[1], law[2])))
