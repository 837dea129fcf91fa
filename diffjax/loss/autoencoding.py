"""The loss of a codec: how well an image comes back from its latent."""

import jax.numpy as jnp
from jaxtyping import PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.loss.protocol import Apply, Loss, Losses, mean_per_example
from diffjax.order import Order
from diffjax.protocols import Keys, Noise, Sample
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.shape_checks import require_floating


@validate_arguments
def reconstruction(noise: Noise, order: Order, *, divergence: float = 1e-5) -> Loss:
    """E |x - decode(z)|² + lambda KL(q(z | x) | N(0, 1)), z of q(z | x), per pixel: a codec's (Kingma & Welling 2014).

    lambda = `divergence`, 2 sigma² / c of a decoder whose pixels are N(., sigma²) in c channels, keeps latents near to
    N(0, 1), which takes from what they tell of x. With 0 it is the loss of a plain autoencoder: z is the mean, and no
    noise is drawn. For `nets.AutoencoderKL`; noise and order are not used. Raises UserError where `divergence` < 0.
    """
    if not divergence >= 0:
        raise UserError(f"reconstruction: divergence must be at least 0, got {divergence:g}")

    def loss(keys: Keys, apply: Apply, x0: Sample, cond: PyTree) -> Losses:
        x0 = noise.data(x0)
        level = jnp.zeros((len(x0),) + (1,) * (x0.ndim - 1))
        latent_keys = fold(keys, KeyUse.CORRUPT) if divergence else None
        with_divergence = (*x0.shape[:-1], x0.shape[-1] + 1)
        out = require_floating("the codec's output", apply(x0, level, cond, latent_keys), with_divergence)
        error = jnp.square(out[..., :-1] - x0)
        return mean_per_example(error) + divergence * mean_per_example(out[..., -1])

    return loss
