"""Step rules that draw x_s given x_t and the predicted x0: ancestral sampling and DDIM."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from diffjax.errors import UserError
from diffjax.protocols import GaussianNoise, Keys, Level, Noise, Prediction, Sample, Step
from diffjax.utils.memo import memoize_by_arguments

DenoiseAt = Callable[[Array, Array], Array]  # (x_t, t) -> prediction: a denoiser under its condition


def no_carry(x: Sample) -> None:
    """The carry of a rule without memory."""


@memoize_by_arguments
def posterior(learned_variance: bool = False, upper_variance: bool = False) -> Step:
    """x_s ~ q(x_s | x_t, x0 = E[x0|x_t]): ancestral sampling (Ho et al. 2020, eq. 7), for every noise and order.

    `learned_variance`: with the variance that the net predicts (Nichol & Dhariwal 2021, section 3.1), of Gaussian
    noise and a denoiser by `with_variance`. `upper_variance`: of Gaussian noise with that of q(x_t | x_s), which is
    beta in DDPM's chain and right for data of unit variance (Ho et al. 2020, section 3.2).
    """
    if learned_variance and upper_variance:
        raise UserError("posterior: the variance is either learned_variance or upper_variance; leave one out")

    def update(
        keys: Keys, noise: Noise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        pred = denoise(x, t)
        if upper_variance:
            pred = Prediction(pred, jnp.ones_like(pred))
        return jax.vmap(noise.posterior)(keys, x, pred, t, s), carry

    return Step(
        no_carry,
        update,
        per_position=True,
        stochastic=True,
        needs=GaussianNoise if learned_variance or upper_variance else Noise,
        prediction_type=Prediction if learned_variance else None,
    )


@memoize_by_arguments
def ddim(eta: float = 0.0, limit: float = math.inf) -> Step:
    """x_s = alpha_s x0 + sigma_s (√(1 - eta² (1 - rho²)) eps + eta √(1 - rho²) z) (Song et al. 2021, DDIM, eq. 12).

    eta = 0 is deterministic and of order 1, eta = 1 the posterior. rho = alpha_t sigma_s / (alpha_s sigma_t). The x0
    that is written, not that of eps, is clipped to ±limit, as in diffusers; `clipped(ddim())` clips it in both.
    """
    if not 0 <= eta <= 1:
        raise UserError(f"ddim: eta must be in [0, 1], got {eta}")
    if not limit > 0:
        raise UserError(f"ddim: limit must be above 0, got {limit}")

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        x0 = denoise(x, t)
        direction = noise.eps(x, x0, t)
        if limit < math.inf:
            x0 = jnp.clip(x0, -limit, limit)
        if eta > 0:
            fresh = eta**2 * (1 - noise.noise_correlation(t, s) ** 2)
            direction = jnp.sqrt(1 - fresh) * direction + square_root(fresh) * standard_normal(keys, x)
        at_s = noise.coefficients(s)
        return jnp.where(t == s, x, at_s.alpha * x0 + at_s.sigma * direction), carry

    order = None if eta > 0 or limit < math.inf else 1
    return Step(no_carry, update, per_position=True, stochastic=eta > 0, needs=GaussianNoise, order=order)


def standard_normal(keys: Keys, x: Sample) -> Sample:
    """Standard normal draws of the shape of x, each example from its key."""
    return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)


def square_root(value: Array) -> Array:
    """√ whose slope at 0 is 0, so that gradients pass where nothing is drawn."""
    positive = value > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1)), 0)
