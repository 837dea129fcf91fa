"""The hybrid loss, which also trains the variance of the reverse process."""

from math import log

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import share_of
from diffjax.errors import UserError
from diffjax.loss.protocol import Apply, Loss, Losses, mean_per_example, position_shape, sum_per_example
from diffjax.loss.simple import clock_levels, weigh_error
from diffjax.order import Order
from diffjax.protocols import GaussianNoise, Keys, Prediction, Sample
from diffjax.times import Times, uniform
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.shape_checks import require_floating
from diffjax.weights import LogWeight


@validate_arguments
def hybrid(
    noise: GaussianNoise,
    order: Order,
    *,
    bound_weight: float = 0.001,
    steps: int = 1000,
    weight: LogWeight | None = None,
    times: Times | None = None,
) -> Loss:
    """L_simple + lambda L_vlb, lambda = `bound_weight` (Nichol & Dhariwal 2021, eq. 16), of a net of learned variance.

    L_simple is `loss.regression`, of the first half of the output's channels. L_vlb is the bound's term of a step of
    1 / `steps` from the same x_t, times `steps`, in bits per dimension; it trains the second half alone, the mean being
    kept from its gradient. Raises UserError where the output has not twice the channels of x.
    """
    noise.check_prior()
    if not bound_weight >= 0 or steps < 1:
        raise UserError(f"hybrid: expected bound_weight >= 0 and steps >= 1, got {bound_weight:g} and {steps}")
    quantile = times or uniform()

    def loss(keys: Keys, apply: Apply, x0: Sample, cond: PyTree) -> Losses:
        x0 = noise.data(x0)
        t = clock_levels(noise, order, quantile, keys, position_shape(noise, x0))
        x_t, target = jax.vmap(noise.corrupt)(fold(keys, KeyUse.CORRUPT), x0, t)
        out = apply(noise.feed(x_t, t), noise.level(t), cond, fold(keys, KeyUse.DROPOUT))
        doubled = (*x0.shape[:-1], 2 * x0.shape[-1])
        mean, variance = jnp.split(require_floating("the net's output", out, doubled), 2, axis=-1)
        error = weigh_error(noise, weight, noise.miss(mean, target, x_t, t), t)
        pred = Prediction(jax.lax.stop_gradient(noise.read(mean, x_t, t)), share_of(variance))
        s = jnp.where(t > 1 / steps, t - 1 / steps, t)  # the last step draws nothing
        bits = steps * sum_per_example(noise.bound(x0, pred, x_t, t, s)) / (x0[0].size * log(2))
        return mean_per_example(error) + bound_weight * bits

    return loss
