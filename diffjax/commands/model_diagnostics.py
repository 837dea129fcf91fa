"""A trained model's own parts, held to what is known of good ones: at each noise level and at each of its steps."""

from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, PyTree, Shaped

from diffjax.commands import likelihood_report
from diffjax.commands.image_sampler import ImageSampler
from diffjax.conditions import has_label
from diffjax.denoising import NetDenoiser
from diffjax.diagnostics import by_noise_level, known_density, level_profile, loss_shares
from diffjax.diagnostics.level_profile import NoiseLevelProfile
from diffjax.diagnostics.loss_shares import Share
from diffjax.distributions import Mixture
from diffjax.experiment.build import LossByLevel
from diffjax.loss.protocol import Apply
from diffjax.noise import Gaussian
from diffjax.parallel.dispatch import batch_for
from diffjax.protocols import Denoise, Keys, Noise
from diffjax.reports import Curves
from diffjax.utils.prng import keys

TRAJECTORIES = 64  # examples that are followed along the sampler's way, or
FOLLOWED = 2**16  # as many as have so many values, but 4
BINS = 16  # of the noise levels that training draws
Labels = Integer[np.ndarray, " _"] | None
Real = Float[np.ndarray, " _"]


class PredictionPath(NamedTuple):
    """x̂0 at every step of the sampler, as its mean, spread and share outside of the data's range; and the data's."""

    mean: Real
    spread: Real
    outside: Real
    of_data: tuple[float, float]


class TrainingWeights(NamedTuple):
    """What training makes of the noise levels: shares of its loss and its gradient, in equally likely bins.

    `log_snr` is the median of each bin, `weight` what the error of x0 counts there per unit of log-SNR.
    """

    log_snr: Real
    weight: Real
    shares: list[Share]


class Diagnostics(NamedTuple):
    """What is known of a model by noise level and by step; None for what was left out, or is not there.

    `local_errors` is None where the sampler is stochastic, `training_weights` where the training loss draws no levels.
    """

    profile: NoiseLevelProfile | None = None
    local_errors: Real | None = None
    prediction_path: PredictionPath | None = None
    training_weights: TrainingWeights | None = None


class HeldOut(NamedTuple):
    """Held-out examples as a net sees them, their conditions, and the training examples."""

    painter: ImageSampler
    keys: Keys
    x: Array
    cond: PyTree
    train: Array

    @property
    def batch(self) -> int:
        """How many examples are looked at at once."""
        return batch_for(self.x.shape[1:], len(self.x))


def encode_held_out(
    sampler: ImageSampler, train: Shaped[np.ndarray, "_ *_"], test: tuple[Any, Any], seed: int
) -> HeldOut | None:
    """Images and labels of test, as the data set has them, for a Gaussian model with one level; None for any other."""
    facts, (images, labels) = sampler.facts, test
    if not isinstance(sampler.noise, Gaussian) or sampler.order.width != 1:
        return None
    cond = jnp.asarray(labels) if has_label(sampler.net.null_cond) else None
    x, known = (
        facts.encoding.encode(keys(seed, len(part)), jnp.asarray(part), facts.levels) for part in (images, train)
    )
    return HeldOut(sampler, keys(seed, len(x)), x, cond, known)


def profile_by_level(held_out: HeldOut, denoise: Denoise) -> NoiseLevelProfile:
    """The denoiser without guidance, which changes what it is the mean of."""
    noise = _gaussian(held_out.painter.noise)
    return level_profile.noise_level_profile(
        held_out.keys, noise, denoise, held_out.x, held_out.cond, held_out.train, batch=held_out.batch
    )


def prediction_path(held_out: HeldOut) -> tuple[PredictionPath, Real | None]:
    """What is believed at each step of the sampler, under guidance, as it draws; and what each step is off by."""
    p = held_out.painter
    few = trajectories_for(held_out.x.shape[1:])
    cond = None if held_out.cond is None else held_out.cond[:few]
    way = (held_out.keys[:few], p.noise, p.order, p.denoise, held_out.x.shape[1:], p.grid)
    belief = _prediction_path(by_noise_level.predictions(*way, cond=cond, step=p.step), held_out.train)
    if p.step.stochastic:
        return belief, None
    off = by_noise_level.local_error(*way, cond=cond, step=p.step)
    return belief, np.asarray(off, np.float64).mean(axis=1)


def trajectories_for(shape: tuple[int, ...]) -> int:
    """How many examples of this shape are followed."""
    return max(4, min(TRAJECTORIES, FOLLOWED // prod(shape)))


def training_weights(held_out: HeldOut, denoise: Denoise, trained: LossByLevel | None) -> TrainingWeights | None:
    """Of the loss that a net learnt by: on held-out examples, without dropout."""
    if trained is None or not isinstance(denoise, NetDenoiser):
        return None
    noise = _gaussian(held_out.painter.noise)

    def apply(variables: PyTree) -> Apply:
        def silent(x: Any, level: Any, cond: PyTree, keys: Any) -> Any:
            return denoise.net.apply(variables, x, level, cond, None)

        return silent

    def level(quantile: Array) -> Array:
        return noise.log_snr(trained.times(noise, quantile))

    arguments = (held_out.keys, noise, trained.loss_of, apply, denoise.variables, held_out.x, held_out.cond)
    batch = max(1, held_out.batch // 4)  # a gradient needs what every layer made
    shares = loss_shares.gradients(*arguments, bins=BINS, times=trained.times, batch=batch)
    log_snr, slope = jax.vmap(jax.value_and_grad(level))((BINS - 0.5 - jnp.arange(BINS)) / BINS)
    weight = jnp.exp(trained.log_weight(log_snr)) / jnp.abs(slope)  # levels have the density 1/|slope|
    return TrainingWeights(np.asarray(log_snr, np.float64), np.asarray(weight, np.float64), shares)


def _gaussian(noise: Noise) -> Gaussian:
    assert isinstance(noise, Gaussian)
    return noise


def _prediction_path(predictions: Float[Array, "steps b *shape"], data: Float[Array, "n *_shape"]) -> PredictionPath:
    x = np.asarray(predictions, np.float64).reshape(len(predictions), -1)
    low, high = float(data.min()), float(data.max())
    outside = ((x < low) | (x > high)).mean(axis=1)
    return PredictionPath(x.mean(axis=1), x.std(axis=1), outside, (float(data.mean()), float(data.std())))


def diagnostic_curves(diagnostics: Diagnostics) -> dict[str, Curves]:
    """All that is known by noise level and by step, to be drawn."""
    return {
        **({} if diagnostics.profile is None else _of_levels(diagnostics.profile)),
        **({} if diagnostics.training_weights is None else _training_weight_curves(diagnostics.training_weights)),
        **({} if diagnostics.prediction_path is None else {"belief": _of_belief(diagnostics.prediction_path)}),
        **({} if diagnostics.local_errors is None else {"local": _of_steps(diagnostics.local_errors)}),
    }


def _of_levels(profile: NoiseLevelProfile) -> dict[str, Curves]:
    errors = {"this model": profile.error, "the best linear denoiser": profile.linear}
    moves = {"answers move by": profile.change[1:], "the error falls by": (profile.change - profile.excess)[1:]}
    caption = f"The error of x0 at each noise level (the linear denoiser: {profile.linear_from})"
    agreement = "How answers move from one noise level to the next: of a consistent model, by what its error falls"
    return {
        "levels": Curves(caption, _lines_over(profile.log_snr, errors), "error of x0", "log-SNR", "log"),
        "agreement": Curves(agreement, _lines_over(profile.log_snr[1:], moves), "per number of x0", "log-SNR"),
    }


def _of_belief(belief: PredictionPath) -> Curves:
    steps = np.arange(1.0, len(belief.mean) + 1)
    mean, spread = belief.of_data
    lines = {
        "mean": belief.mean,
        "mean of data": mean,
        "spread": belief.spread,
        "spread of data": spread,
        "beyond the data's range, share": belief.outside,
    }
    drawn = {name: (steps, np.broadcast_to(values, steps.shape)) for name, values in lines.items()}
    caption = "What the model believes to be drawing, at each step of the sampler"
    return Curves(caption, drawn, "x0 as the model predicts it", "step of the sampler")


def _of_steps(local: Real) -> Curves:
    caption = "What each step of the sampler is off by, beside a fine solution from where it stands"
    steps = np.arange(1.0, len(local) + 1)
    return Curves(caption, {"local error": (steps, local)}, "error of x", "step of the sampler")


def _training_weight_curves(weights: TrainingWeights) -> dict[str, Curves]:
    loss = np.array([share.loss for share in weights.shares])
    gradient = np.array([share.gradient for share in weights.shares])
    shares = {"of the loss": loss / loss.sum(), "of the gradient's norm": gradient / gradient.sum()}
    caption = (
        f"What each of {BINS} equally likely bins of noise levels adds to the loss of training and to its gradient"
    )
    weight_caption = "The weight that training gives to the error of x0, per unit of log-SNR"
    return {
        "shares": Curves(caption, _lines_over(weights.log_snr, shares), "share", "log-SNR"),
        "weight": Curves(
            weight_caption, _lines_over(weights.log_snr, {"weight": weights.weight}), "weight", "log-SNR", "log"
        ),
    }


def compare_with_density(
    law: Mixture, sampler: ImageSampler, x: np.ndarray, cond: Labels, test: tuple[Any, Labels], count: int, seed: int
) -> tuple[dict[str, Curves], dict[str, str]]:
    """How far the denoiser, and what it drew, are from a law that is known: losses by log-SNR, and all in words.

    The denoiser on `count` images of test, what was drawn beside all of them.
    """
    images, image_labels = likelihood_report.evenly_spaced_images(test, count)
    cond_labels = None if cond is None else image_labels
    denoiser_gap = known_density.denoiser_gap(
        keys(seed, len(images)), sampler.noise, sampler.denoise, law, images, cond_labels
    )
    comparison = known_density.compare_with_density(law, x, test[0], cond, None if cond is None else test[1])
    least_loss, excess = denoiser_gap.exact_error.mean(axis=0), denoiser_gap.excess.mean(axis=0)
    lines = {
        "this model": (denoiser_gap.log_snr, least_loss + excess),
        "the least there is": (denoiser_gap.log_snr, least_loss),
    }
    nats, error = denoiser_gap.total
    (density, spread), (real, of_real) = comparison.log_density, comparison.real_log_density
    summary = {
        "the bound less the entropy": f"{nats:.4g} ± {error:.2g} nats ({nats / images[0].size / np.log(2):.4f} bits "
        f"per dimension), of {len(images)} images of test",
        "log density of samples by the law": f"{density:.1f} ± {spread:.1f} nats, of test {real:.1f} ± {of_real:.1f}, "
        f"z {comparison.z:+.1f}",
        "share of components that is off": f"{comparison.component_distance:.3f}, of test "
        f"{comparison.real_component_distance:.3f}",
    }
    if comparison.accuracy is not None:
        summary["class by the law"] = f"{comparison.accuracy:.2%} as asked for, of test {comparison.real_accuracy:.2%}"
    caption = "The loss at each noise level, beside the least there is"
    return {"truth": Curves(caption, lines, "loss", "log-SNR")}, summary


def _lines_over(x: np.ndarray, lines: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (np.asarray(x, float), np.asarray(y, float)) for name, y in lines.items()}
