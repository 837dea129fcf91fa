"""Distributions whose denoiser is known exactly, as ground truth for tests and the laboratory.

Mixtures of Gaussians in any dimension: denoiser, score and density at every level, and the posterior of a linear
observation (`gaussian_mixture`). Stationary Gaussian fields of any rank and size (`stationary_field`). In one dimension
the exact solution of the probability-flow ODE (`quantile_flow`). Distributions over finitely many points
(`discrete_points`) and token sequences (`token_joint`).
"""

from diffjax.oracles.discrete_points import atoms
from diffjax.oracles.gaussian_mixture import draws, gaussian, log_density, mixture, mixture_denoiser, posterior, score
from diffjax.oracles.quantile_flow import quantile, quantile_map
from diffjax.oracles.stationary_field import field_draws, field_posterior, gaussian_field
from diffjax.oracles.token_joint import entropy, joint

__all__ = [
    "atoms",
    "draws",
    "entropy",
    "field_draws",
    "field_posterior",
    "gaussian",
    "gaussian_field",
    "joint",
    "log_density",
    "mixture",
    "mixture_denoiser",
    "posterior",
    "quantile",
    "quantile_map",
    "score",
]
