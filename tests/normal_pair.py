"""Data of which p(x) and p(x|c) are normal, so that guidance is known: by another road than the package's.

All is of y = x_t/alpha and sigma = sigma_t/alpha_t, where every schedule is one: y has the law N(mean, C + sigma² 1),
and dy/dsigma = (y - E[x0|y])/sigma (Karras et al. 2022, eq. 1 with Tweedie's formula), in float64 and without JAX.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.integrate import solve_ivp

from diffjax import oracles
from diffjax.noise import Gaussian

D = 4
_TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
MEANS = {"null": np.array([0.3, -0.2, 0.1, 0.4]), "cond": np.array([-0.5, 0.6, 0.9, -0.1])}
COVS = {
    "null": _TURN @ np.diag([1.0, 0.8, 0.5, 0.7]) @ _TURN.T,
    "cond": np.diag([0.3, 0.5, 0.2, 0.4]),
}
NULL = jnp.asarray(1, jnp.int32)


def denoiser(noise: Gaussian, means: dict = MEANS, covs: dict = COVS) -> Partial:
    """(x_t, t, cond) -> E[x0|x_t], given it where cond is 0, without it where cond is 1."""
    return Partial(_either, *(oracles.gaussian(noise, means[name], covs[name]) for name in ("cond", "null")))


def _either(given, without, x_t, t, cond):
    which = cond.reshape(-1, *(1,) * (x_t.ndim - 1)) == 0
    return jnp.where(which, given(x_t, t, None), without(x_t, t, None))


def score(y: np.ndarray, sigma: float, name: str) -> np.ndarray:
    """-(C + sigma² 1)⁻¹ (y - mean)."""
    return -np.linalg.solve(COVS[name] + sigma**2 * np.eye(D), y - MEANS[name])


def mean(y: np.ndarray, sigma: float, name: str) -> np.ndarray:
    """E[x0|y] = y + sigma² score: Tweedie's formula."""
    return y + sigma**2 * score(y, sigma, name)


def solved(rule: Callable, y: np.ndarray, high: float, low: float) -> np.ndarray:
    """The end of the guided ODE from sigma = high to low, for one example; rule(without, given, y, sigma) -> x0."""

    def slope(sigma: float, y: np.ndarray) -> np.ndarray:
        return (y - rule(mean(y, sigma, "null"), mean(y, sigma, "cond"), y, sigma)) / sigma

    return solve_ivp(slope, (high, low), y, rtol=1e-10, atol=1e-10, max_step=0.05).y[:, -1]
