"""Methods that put what was seen into the prediction of x0: rules of a denoiser that also says what was seen."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array

from diffjax.edit import constraints
from diffjax.edit.observation import check_exact
from diffjax.edit.solver import Method, Problem, drawn
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import Keys, State, Step
from diffjax.steps.ancestral import nothing, square_root
from diffjax.utils.closures import portable
from diffjax.utils.memo import one_object


class Sight(NamedTuple):
    """The prediction, and what was seen of x0."""

    x0: Any
    seen: Any


def seeing(seen: Any, denoise: Any) -> Partial:
    """The denoiser, that also says what was seen."""
    return Partial(_see, seen, portable(denoise))


def _see(seen: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> Sight:
    return Sight(inner(x_t, t, cond), seen)


@one_object
def ddnm() -> Method:
    """The seen coordinates of the prediction are replaced by what was seen (Wang et al. 2023, DDNM, algorithm 1).

    With noise, by as much of it as the step's own noise can hide, of which so much less is drawn (DDNM+, eq. 17 to 19).
    By the posterior; another rule, where all is exact. 1 evaluation a step.
    """
    return Method("ddnm", _ddnm, noisy=True)


def _ddnm(problem: Problem) -> State:
    noise, seen, denoise, step = problem.noise, problem.seen, problem.denoise, problem.step
    if step is None:
        return drawn(problem, seeing(seen, denoise), constraints.pinned(noise, seen), _by_null_space())
    check_exact(seen, f"ddnm by {step.name}, and not by its own rule")
    return drawn(problem, Partial(_replaced, seen, portable(denoise)), constraints.pinned(noise, seen))


def _replaced(seen: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> Array:
    values, std = seen.told()
    return seen.put(inner(x_t, t, cond), values, std == 0)


@one_object
def _by_null_space() -> Step:
    """x_s ~ a x̂ + b x_t + c n, as the posterior, with x̂ = x0 + λ (values - x0), λ = min(1, c/(a std)) where seen.

    What of the noise on the values comes with them, a λ std, is drawn the less: c² - (a λ std)².
    """

    def update(
        keys: Keys, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, carry: Any
    ) -> tuple[Array, Any]:
        x0, seen = denoise(x, t)
        values, std = seen.told()
        a, c = from_x0(noise, t, s), fresh(noise, t, s)
        reach = a * jnp.where(jnp.isfinite(std), std, 0)
        share = jnp.where(reach > c, c / jnp.where(reach > c, reach, 1), 1) * jnp.isfinite(std)
        z_t, z0, n = seen.turned(x), seen.turned(x0), constraints.normal(keys, x)
        z0 = z0 + share * (values - z0)
        mean = noise.moment(s).alpha * z0 + noise.moment(s).sigma * noise.kept(t, s) * noise.eps(z_t, z0, t)
        return seen.back(mean + square_root(c**2 - (share * reach) ** 2) * n), carry

    return Step(nothing, update, stochastic=True, needs=("eps",), answer=Sight)


def from_x0(noise: Gaussian, t: Array, s: Array) -> Array:
    """How much of x0 is in the mean of x_s given x_t and x0, alpha_s - rho sigma_s alpha_t / sigma_t."""
    at_t, at_s = noise.moment(t), noise.moment(s)
    return at_s.alpha - noise.kept(t, s) * at_s.sigma * at_t.alpha / jnp.where(at_t.sigma > 0, at_t.sigma, 1)


def fresh(noise: Gaussian, t: Array, s: Array) -> Array:
    """The deviation of x_s given x_t and x0, sigma_s √(1 - rho²)."""
    return noise.moment(s).sigma * square_root(1 - noise.kept(t, s) ** 2)


@one_object
def ddrm(eta: float = 0.85, eta_b: float = 1.0) -> Method:
    """Each coordinate is drawn by its own noise: x_s is told what was seen, where that has less (Kawar et al. 2022).

    `eta` is how much of the noise of other coordinates is fresh, `eta_b` how much of what was seen is taken (eq. 7, 8).
    Brings its own rule. 1 evaluation a step.
    """
    for name, given in (("eta", eta), ("eta_b", eta_b)):
        if not 0 <= given <= 1:
            raise UserError(f"ddrm: {name} must be in [0, 1], got {given}; the paper has eta=0.85 and eta_b=1")
    return Method("ddrm", Partial(_ddrm, eta, eta_b), noisy=True, rule="one of each coordinate's noise")


def _ddrm(eta: float, eta_b: float, problem: Problem) -> State:
    denoise = seeing(problem.seen, problem.denoise)
    return drawn(problem, denoise, constraints.pinned(problem.noise, problem.seen), _by_coordinates(eta, eta_b))


@one_object
def _by_coordinates(eta: float, eta_b: float) -> Step:
    """Of z_s / alpha_s: hidden, seen with more noise than sigma_s / alpha_s, or with less: Kawar et al. 2022, eq. 8."""

    def update(
        keys: Keys, noise: Gaussian, denoise: Any, x: Array, t: Array, s: Array, carry: Any
    ) -> tuple[Array, Any]:
        x0, seen = denoise(x, t)
        (values, std), m = seen.told(), noise.moment(s)
        z_t, z0, n = seen.turned(x), seen.turned(x0), constraints.normal(keys, x)
        finite = jnp.isfinite(std)
        tau = jnp.where(finite, std, 1)
        eps = jnp.where(finite, (values - z0) / jnp.where(tau > 0, tau, 1), noise.eps(z_t, z0, t))
        far = m.alpha * z0 + m.sigma * ((1 - eta**2) ** 0.5 * eps + eta * n)
        left = square_root(m.sigma**2 - (m.alpha * tau * eta_b) ** 2)
        near = m.alpha * (z0 + eta_b * (values - z0)) + left * n
        return seen.back(jnp.where(finite & (m.alpha * tau <= m.sigma), near, far)), carry

    return Step(nothing, update, stochastic=True, needs=("eps",), answer=Sight)
