"""A trained model's own parts, held to what is known of good ones: at each noise level and at each of its steps."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, PyTree, Shaped

from diffjax import bits, diagnose, inspection, truth
from diffjax.build import ByLevel
from diffjax.conditions import knows_labels
from diffjax.denoising import NetDenoiser
from diffjax.diagnose import Share
from diffjax.draw import Painter
from diffjax.evaluation import Curves
from diffjax.inspection import Profile
from diffjax.loss import Apply
from diffjax.mixtures import Mixture
from diffjax.noise import Gaussian
from diffjax.protocols import Denoise, Keys
from diffjax.randomness import keys
from diffjax.training import metrics
from diffjax.training.validation import NAME

FEW = 64  # examples that are followed along the sampler's way
BAND = f"{NAME}/"
BINS = 16  # of the noise levels that training draws
Labels = Integer[np.ndarray, " _"] | None
Real = Float[np.ndarray, " _"]


class Belief(NamedTuple):
    """x̂0 at every step of the sampler, as its mean, spread and share outside of the data's range; and the data's."""

    mean: Real
    spread: Real
    outside: Real
    of_data: tuple[float, float]


class Learnt(NamedTuple):
    """What training makes of the noise levels: shares of its loss and its gradient, in equally likely bins.

    `log_snr` is the median of each bin, `weight` what the error of x0 counts there per unit of log-SNR.
    """

    log_snr: Real
    weight: Real
    shares: list[Share]


class Judged(NamedTuple):
    """What is known of a model by noise level and by step.

    `local` is what each step is off by, None where the sampler is stochastic; `learnt` is None where the loss of the
    training draws no levels.
    """

    profile: Profile
    local: Real | None
    belief: Belief
    learnt: Learnt | None


def judged(
    painter: Painter,
    denoise: Denoise,
    train: Shaped[np.ndarray, "_ *_"],
    test: tuple[Any, Any],
    seed: int,
    trained: ByLevel | None = None,
) -> Judged | None:
    """A Gaussian model with one level for all positions, on images and labels of test; None for any other.

    The denoiser is looked at without guidance, which changes what it is the mean of; the sampler's steps with it, as it
    draws. Images are as the data set has them. `trained` is the loss that it learnt by, if it is a net.
    """
    noise, order, facts, (images, labels) = painter.noise, painter.order, painter.facts, test
    if not isinstance(noise, Gaussian) or order.width != 1:
        return None
    cond = jnp.asarray(labels) if knows_labels(painter.net.null_cond) else None
    x, known = (
        facts.encoding.encode(keys(seed, len(part)), jnp.asarray(part), facts.levels) for part in (images, train)
    )
    root = keys(seed, len(x))
    learnt = _learnt(trained, root, noise, denoise, x, cond) if trained and isinstance(denoise, NetDenoiser) else None
    few = None if cond is None else cond[:FEW]
    on_its_way = (root[:FEW], noise, order, painter.denoise, x.shape[1:], painter.grid)
    found = diagnose.predictions(*on_its_way, cond=few, step=painter.step)
    local = None
    if not painter.step.stochastic:
        off = diagnose.local_error(*on_its_way, cond=few, step=painter.step)
        local = np.asarray(off, np.float64).mean(axis=1)
    profile = inspection.profile(root, noise, denoise, x, cond, known)
    return Judged(profile, local, _belief(found, known), learnt)


def _learnt(trained: ByLevel, root: Keys, noise: Gaussian, denoise: NetDenoiser, x: Array, cond: PyTree) -> Learnt:
    """On held-out examples, without dropout."""

    def apply(variables: PyTree) -> Apply:
        def silent(x: Any, level: Any, cond: PyTree, keys: Any) -> Any:
            return denoise.net.apply(variables, x, level, cond, None)

        return silent

    def level(quantile: Array) -> Array:
        return noise.log_snr(trained.times(noise, quantile))

    shares = diagnose.gradients(
        root, noise, trained.loss_of, apply, denoise.variables, x, cond, bins=BINS, times=trained.times
    )
    log_snr, slope = jax.vmap(jax.value_and_grad(level))((BINS - 0.5 - jnp.arange(BINS)) / BINS)
    weight = jnp.exp(trained.log_weight(log_snr)) / jnp.abs(slope)  # levels have the density 1/|slope|
    return Learnt(np.asarray(log_snr, np.float64), np.asarray(weight, np.float64), shares)


def _belief(found: Float[Array, "steps b *shape"], data: Float[Array, "n *_shape"]) -> Belief:
    x = np.asarray(found, np.float64).reshape(len(found), -1)
    low, high = float(data.min()), float(data.max())
    outside = ((x < low) | (x > high)).mean(axis=1)
    return Belief(x.mean(axis=1), x.std(axis=1), outside, (float(data.mean()), float(data.std())))


def curves(found: Judged) -> dict[str, Curves]:
    """All that is known by noise level and by step, to be drawn."""
    profile, drawn = found.profile, {}
    errors = {"this model": profile.error, "the best linear denoiser": profile.linear}
    drawn["levels"] = Curves(
        f"The error of x0 at each noise level (the linear denoiser: {profile.linear_from})",
        _over(profile.log_snr, errors),
        "error of x0",
        "log-SNR",
        "log",
    )
    moves = {"answers move by": profile.change[1:], "the error falls by": (profile.change - profile.excess)[1:]}
    drawn["agreement"] = Curves(
        "How answers move from one noise level to the next: of a consistent model, by what its error falls",
        _over(profile.log_snr[1:], moves),
        "per number of x0",
        "log-SNR",
    )
    drawn |= {} if found.learnt is None else _of_training(found.learnt)
    steps = np.arange(1.0, len(found.belief.mean) + 1)
    mean, spread = found.belief.of_data
    drawn["belief"] = Curves(
        "What the model believes to be drawing, at each step of the sampler",
        {
            name: (steps, np.broadcast_to(values, steps.shape))
            for name, values in {
                "mean": found.belief.mean,
                "mean of data": mean,
                "spread": found.belief.spread,
                "spread of data": spread,
                "beyond the data's range, share": found.belief.outside,
            }.items()
        },
        "x0 as the model predicts it",
        "step of the sampler",
    )
    if found.local is not None:
        caption = "What each step of the sampler is off by, beside a fine solution from where it stands"
        drawn["local"] = Curves(caption, {"local error": (steps, found.local)}, "error of x", "step of the sampler")
    return drawn


def _of_training(learnt: Learnt) -> dict[str, Curves]:
    loss, gradient = (np.array([getattr(share, name) for share in learnt.shares]) for name in ("loss", "gradient"))
    shares = {"of the loss": loss / loss.sum(), "of the gradient's norm": gradient / gradient.sum()}
    caption = (
        f"What each of {BINS} equally likely bins of noise levels adds to the loss of training and to its gradient"
    )
    told = "The weight that training gives to the error of x0, per unit of log-SNR"
    return {
        "shares": Curves(caption, _over(learnt.log_snr, shares), "share", "log-SNR"),
        "weight": Curves(told, _over(learnt.log_snr, {"weight": learnt.weight}), "weight", "log-SNR", "log"),
    }


def training_curves(workdir: Path) -> dict[str, Curves]:
    """The training loss, and that of validation by noise level, where the run has kept them."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in metrics.read(workdir / metrics.NAME):
        for name, value in row.values.items():
            lines.setdefault(name, []).append((row.step, value))
    told = {name: (steps, values) for name, line in lines.items() for steps, values in [np.array(line, float).T]}
    losses = {name: told[key] for name, key in (("training", "loss"), ("validation", NAME)) if key in told}
    bands = {f"level {name.removeprefix(BAND)}": told[name] for name in sorted(told) if name.startswith(BAND)}
    found = {"loss": Curves("Loss over training", losses, "loss")} if losses else {}
    return found | ({"bands": Curves("Validation loss by noise level", bands, "loss", scale="log")} if bands else {})


def held_to(
    law: Mixture, painter: Painter, x: np.ndarray, cond: Labels, test: tuple[Any, Labels], count: int, seed: int
) -> tuple[dict[str, Curves], dict[str, str]]:
    """How far the denoiser, and what it drew, are from a law that is known: losses by log-SNR, and all in words.

    The denoiser on `count` images of test, what was drawn beside all of them.
    """
    some, own = bits.some(test, count)
    given = None if cond is None else own
    far = truth.gap(keys(seed, len(some)), painter.noise, painter.denoise, law, some, given)
    like = truth.likeness(law, x, test[0], cond, None if cond is None else test[1])
    least, excess = far.least.mean(axis=0), far.excess.mean(axis=0)
    lines = {"this model": (far.log_snr, least + excess), "the least there is": (far.log_snr, least)}
    nats, error = far.total
    (ours, spread), (theirs, of_real) = like.log_density, like.real_log_density
    told = {
        "the bound less the entropy": f"{nats:.4g} ± {error:.2g} nats ({nats / some[0].size / np.log(2):.4f} bits "
        f"per dimension), of {len(some)} images of test",
        "log density of samples by the law": f"{ours:.1f} ± {spread:.1f} nats, of test {theirs:.1f} ± {of_real:.1f}, "
        f"z {like.z:+.1f}",
        "share of components that is off": f"{like.apart:.3f}, of test {like.real_apart:.3f}",
    }
    if like.accuracy is not None:
        told["class by the law"] = f"{like.accuracy:.2%} as asked for, of test {like.real_accuracy:.2%}"
    caption = "The loss at each noise level, beside the least there is"
    return {"truth": Curves(caption, lines, "loss", "log-SNR")}, told


def _over(x: np.ndarray, lines: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (np.asarray(x, float), np.asarray(y, float)) for name, y in lines.items()}
