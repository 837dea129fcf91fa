"""A step rule whose predictions keep to the range of the data."""

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from diffjax.errors import UserError
from diffjax.protocols import GaussianNoise, Keys, Level, Noise, Prediction, Sample, Step
from diffjax.steps.ancestral import DenoiseAt, posterior
from diffjax.utils.memo import memoize_by_arguments


@memoize_by_arguments
def clipped(step: Step | None = None, limit: float = 1.0) -> Step:
    """The rule, by default `posterior()`, with every predicted x0 clipped to ±limit (Ho et al. 2020, as published).

    eps follows from the clipped x0. No order is claimed. Raises UserError unless limit is positive.
    """
    if not limit > 0:
        raise UserError(f"clipped: limit must be above 0, got {limit}")
    rule = step or posterior()

    def update(
        keys: Keys, noise: Noise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: PyTree, *row: PyTree
    ) -> tuple[Sample, PyTree]:
        def clip(x_t: Sample, level: Level) -> Array | Prediction:
            pred = denoise(x_t, level)
            if isinstance(pred, Prediction):
                return pred._replace(x0=jnp.clip(pred.x0, -limit, limit))
            return jnp.clip(pred, -limit, limit)

        return rule.update(keys, noise, clip, x, t, s, carry, *row)

    return replace(rule, update=update, needs=GaussianNoise, order=None, name=f"clipped({rule.name})")
