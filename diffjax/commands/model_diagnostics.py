"""Diagnostics of a trained model by noise level and by sampling step."""

from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from diffjax.commands.evaluation_subject import Labelled
from diffjax.commands.image_sampler import ImageSampler
from diffjax.conditions import fill_condition, has_label
from diffjax.denoising import NetDenoiser
from diffjax.diagnostics import by_noise_level, level_profile, loss_shares
from diffjax.diagnostics.by_noise_level import Examples, SamplerRun
from diffjax.diagnostics.level_profile import NoiseLevelProfile
from diffjax.diagnostics.loss_shares import Share
from diffjax.experiment.build import LossByLevel
from diffjax.loss.protocol import Losses
from diffjax.noise import Gaussian
from diffjax.parallel.dispatch import batch_for
from diffjax.protocols import Denoise, Keys, Noise
from diffjax.times import Times
from diffjax.utils.prng import keys

MAX_TRAJECTORIES = 64  # sampling trajectories that are followed, but
MAX_TRAJECTORY_VALUES = 2**16  # no more than this many values in all, and at least 4 trajectories
BINS = 16  # of the noise levels of training
Real = Float[np.ndarray, " _"]


class PredictionPath(NamedTuple):
    """The predicted x0 at every step of the sampler: mean, standard deviation, share outside of the data's range.

    `of_data`: mean and standard deviation of the data.
    """

    mean: Real
    spread: Real
    outside: Real
    of_data: tuple[float, float]


class TrainingWeights(NamedTuple):
    """How training weighs noise levels: shares of its loss and its gradient, in equally likely bins.

    `log_snr` is the median of each bin, `weight` the weight of the error of x0 there, per unit of log-SNR.
    """

    log_snr: Real
    weight: Real
    shares: list[Share]


class HeldOut(NamedTuple):
    """Held-out examples as a net sees them, their conditions, and training examples."""

    sampler: ImageSampler
    keys: Keys
    x: Array
    cond: PyTree
    train: Array

    @property
    def examples(self) -> Examples:
        """The held-out examples with their keys and conditions."""
        return Examples(self.keys, self.x, self.cond)

    @property
    def batch(self) -> int:
        """Examples per batch."""
        return batch_for(self.x.shape[1:], len(self.x))


def encode_held_out(sampler: ImageSampler, train: Shaped[np.ndarray, "_ *_"], test: Labelled, seed: int) -> HeldOut:
    """Training and test images, encoded, for a Gaussian model with one noise level per image.

    Their condition is their label; of a model without classes, such as of text, it is null.
    """
    data = sampler.data
    images, labels = test
    null = sampler.net.null_cond
    labelled = has_label(null) and labels is not None
    cond = jnp.asarray(labels) if labelled else fill_condition(null, len(images), {})
    x, train_x = (
        data.encoding.encode(keys(seed, len(part)), jnp.asarray(part), data.levels) for part in (images, train)
    )
    return HeldOut(sampler, keys(seed, len(x)), x, cond, train_x)


def profile_by_level(held_out: HeldOut, denoise: Denoise) -> NoiseLevelProfile:
    """The profile of the denoiser without guidance: under guidance it is no conditional mean."""
    noise = _gaussian(held_out.sampler.noise)
    return level_profile.noise_level_profile(held_out.examples, noise, denoise, held_out.train, batch=held_out.batch)


def prediction_path(held_out: HeldOut) -> tuple[PredictionPath, Real | None]:
    """The predictions at each step of the sampler, under guidance, and the local errors of a deterministic sampler."""
    p = held_out.sampler
    shape = held_out.x.shape[1:]
    count = trajectories_for(shape)
    cond = jax.tree.map(lambda leaf: leaf[:count], held_out.cond)
    run = SamplerRun(held_out.keys[:count], p.noise, p.order, p.denoise, shape, p.grid, cond, p.step)
    path = _summarize(by_noise_level.predictions(run), held_out.train)
    if p.step.stochastic:
        return path, None
    return path, np.asarray(by_noise_level.local_error(run), np.float64).mean(axis=1)


def trajectories_for(shape: tuple[int, ...]) -> int:
    """How many sampling trajectories of this shape are followed."""
    return max(4, min(MAX_TRAJECTORIES, MAX_TRAJECTORY_VALUES // prod(shape)))


def training_weights(held_out: HeldOut, denoise: Denoise, trained: LossByLevel | None) -> TrainingWeights | None:
    """How the training loss weighs noise levels, on held-out examples without dropout; None if it draws no levels."""
    if trained is None or not isinstance(denoise, NetDenoiser):
        return None
    noise = _gaussian(held_out.sampler.noise)

    def loss(variables: PyTree, times: Times, examples: Examples) -> Losses:
        def apply(x: Array, level: Array, cond: PyTree, keys: Keys) -> Array:
            return denoise.net.apply(variables, x, level, cond, None)

        return trained.loss_of(times)(examples.keys, apply, examples.x, examples.cond)

    def level(quantile: Array) -> Array:
        return noise.log_snr(trained.times(noise, quantile))

    batch = max(1, held_out.batch // 4)  # a gradient needs the activations of every layer
    shares = loss_shares.gradients(held_out.examples, noise, loss, denoise.variables, BINS, trained.times, batch)
    log_snr, slope = jax.vmap(jax.value_and_grad(level))((BINS - 0.5 - jnp.arange(BINS)) / BINS)
    weight = jnp.exp(trained.log_weight(log_snr)) / jnp.abs(slope)  # levels have the density 1/|slope|
    return TrainingWeights(np.asarray(log_snr, np.float64), np.asarray(weight, np.float64), shares)


def _gaussian(noise: Noise) -> Gaussian:
    assert isinstance(noise, Gaussian)
    return noise


def _summarize(predictions: Float[Array, "steps b *shape"], data: Float[Array, "n *_shape"]) -> PredictionPath:
    x = np.asarray(predictions, np.float64).reshape(len(predictions), -1)
    low = float(data.min())
    high = float(data.max())
    outside = ((x < low) | (x > high)).mean(axis=1)
    return PredictionPath(x.mean(axis=1), x.std(axis=1), outside, (float(data.mean()), float(data.std())))
