"""Data whose denoiser is known exactly, to hold everything else against.

Mixtures of Gaussians in any dimension: denoiser, score and density at every level, and what an observation leaves of
them (`normals`). In one dimension the exact solution of the probability-flow ODE (`quantiles`). Numbers and tokens of
which all values and their probabilities are listed (`listed`, `tokens`).
"""

from diffjax.oracles.discrete_points import atoms
from diffjax.oracles.gaussian_mixture import draws, gaussian, log_density, mixture, mixture_denoiser, posterior, score
from diffjax.oracles.quantile_flow import quantile, quantile_map
from diffjax.oracles.token_joint import entropy, joint

__all__ = [
    "atoms",
    "draws",
    "entropy",
    "gaussian",
    "joint",
    "log_density",
    "mixture",
    "mixture_denoiser",
    "posterior",
    "quantile",
    "quantile_map",
    "score",
]
