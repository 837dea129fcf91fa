"""What sampling by tiles costs, on a Gaussian field, whose exact denoiser is known at the tile's size and the whole's.

Both denoisers are linear, so a deterministic rule maps x at t = 1 to x0 by a matrix A: samples are N(0, A Aᵀ),
and their KL divergence to the field is exact.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax import oracles, order
from diffjax.edit.tiling import tiled
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.oracles.stationary_field import covariances
from diffjax.protocols import Denoise, Step
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys


class TileBias(NamedTuple):
    """KL divergences of samples to the field, in nats per position: by tiles, and by the whole's own denoiser.

    The second is the error of the step rule alone. `correlation_error` is the largest difference between the samples'
    covariance and the field's, of neighbours along the first axis; of a field whose numbers are N(0, 1).
    """

    nats: float
    whole_nats: float
    correlation_error: float


def tile_bias(
    noise: Gaussian,
    sides: tuple[int, ...],
    correlations: tuple[float, ...],
    tile: int,
    overlap: int,
    *,
    step: Step,
    steps: int = 100,
) -> TileBias:
    """The bias of `edit.tiled` with these tiles, for the field of these sides (`oracles.gaussian_field`), in float64.

    `step` must be deterministic. At most 4,096 positions: the matrices of the samples are dense. Raises UserError
    beyond.
    """
    positions = int(np.prod(sides))
    if positions > 4_096 or step.stochastic:
        raise UserError(f"tile_bias: expected a deterministic rule and at most 4,096 positions, got {positions:,}")
    with jax.enable_x64(True):
        tile_sides = tuple(min(side, tile) for side in sides)
        whole = oracles.gaussian_field(noise, sides, correlations)
        by_tiles = tiled(oracles.gaussian_field(noise, tile_sides, correlations), tile, overlap)
        law = np.eye(1)
        for matrix in covariances(sides, correlations):
            law = np.kron(law, matrix)
        samples = [_sample_covariance(noise, denoise, sides, step, steps) for denoise in (by_tiles, whole)]
    nats, whole_nats = (_divergence(covariance, law) / positions for covariance in samples)
    neighbours = int(np.prod(sides[1:]))
    gap = np.diagonal(samples[0] - law, neighbours)
    return TileBias(nats, whole_nats, float(np.max(np.abs(gap))))


def _sample_covariance(noise: Gaussian, denoise: Denoise, sides: tuple[int, ...], step: Step, steps: int) -> np.ndarray:
    """The covariance A Aᵀ of samples, from the images of unit vectors at t = 1."""
    units = jnp.eye(int(np.prod(sides))).reshape(-1, *sides, 1)
    scale = noise.coefficients(jnp.ones(())).sigma
    options = {"steps": steps, "step": step, "start": scale * units}
    x0 = sample(keys(0, len(units)), noise, order.together, denoise, (*sides, 1), **options)
    rows = np.asarray(x0, np.float64).reshape(len(units), -1)
    return rows.T @ rows


def _divergence(covariance: np.ndarray, law: np.ndarray) -> float:
    """KL(N(0, covariance) ‖ N(0, law)) in nats: ½ (tr(law⁻¹ covariance) − d + log|law| − log|covariance|)."""
    log_dets = np.linalg.slogdet(law)[1] - np.linalg.slogdet(covariance)[1]
    return float(np.trace(np.linalg.solve(law, covariance)) - len(law) + log_dets) / 2
