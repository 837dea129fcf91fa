"""Synthetic signals of known density: an autoregressive process of second order, a damped and driven oscillation.

x_i = 1.5 x_{i-1} - 0.8 x_{i-2} + noise, with a period of about eleven samples, stationary and of variance 1 at every
position. It is Gaussian, so density, entropy, denoiser and forecasts are known in closed form.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float32, Float64, Int32, Key, UInt32

from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.splits import Dataset
from diffjax.distributions import Mixture
from diffjax.errors import UserError
from diffjax.utils.prng import fold_index

NAME = "ar_process"
LENGTH = 32  # samples of a signal
COEFFICIENTS = (1.5, -0.8)
TRAIN_COUNT = 2**31  # training examples, more than a run sees
HELD_OUT_COUNT = 2_000  # validation examples, and test examples
SEED = 17  # a part of the set, like its name
GRAIN_SHARE = 0.9  # of the smallest variance of any direction, as independent noise in each sample


def open_ar_process(image_size: object = None) -> Dataset:
    """The set `ar_process`, of signals of 32 samples and one channel; `dataset.distribution` is theirs.

    Example i of a split is a function of i alone: training has 2³¹, validation and test 2,000 each. Raises `UserError`
    for an image size.
    """
    if image_size is not None:
        raise UserError(f"data.image_size: {NAME!r} is of signals, which are not scaled; leave it out")
    distribution = process_density()
    counts = {"train": TRAIN_COUNT, "validation": HELD_OUT_COUNT, "test": HELD_OUT_COUNT}
    roots = jax.random.split(jax.random.key(SEED), len(counts))
    splits = {
        split: GeneratedSplit(count, Partial(_examples, distribution, root), ())
        for (split, count), root in zip(counts.items(), roots, strict=True)
    }
    return Dataset(NAME, (LENGTH, 1), 0, (), 256, splits, distribution)


def process_covariance(length: int = LENGTH) -> Float64[np.ndarray, "length length"]:
    """The covariance of so many neighbouring samples: the autocovariances solve the Yule-Walker equations."""
    first, second = COEFFICIENTS
    lags = [1.0, first / (1 - second)]
    for _ in range(length - 2):
        lags.append(first * lags[-1] + second * lags[-2])
    places = np.arange(length)
    return np.array(lags)[np.abs(places[:, None] - places[None])]


@functools.cache
def process_density() -> Mixture:
    """The density of signals: one Gaussian, its covariance as that of its factors and of noise in each sample."""
    variances, axes = np.linalg.eigh(process_covariance())
    grain = GRAIN_SHARE * variances[0]
    return Mixture(
        log_weights=jnp.zeros(1),
        means=jnp.zeros((1, LENGTH)),
        factors=jnp.asarray((axes * np.sqrt(variances - grain))[None], jnp.float32),
        floors=jnp.full((1, LENGTH), grain, jnp.float32),
        classes=jnp.zeros(1, jnp.int32),
    )


def _examples(
    distribution: Mixture, root: Key[Array, ""], ids: UInt32[Array, " b"]
) -> tuple[Float32[Array, "b n 1"], Int32[Array, " b"]]:
    """The signals with these ids, and their class, 0."""
    x, classes = jax.vmap(distribution.draw)(fold_index(root, ids))
    return x[..., None], classes
