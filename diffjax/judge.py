"""A trained model's own parts, held to what is known of good ones: at each noise level and at each of its steps."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from diffjax import diagnose, inspection
from diffjax.draw import Painter
from diffjax.evaluation import Curves
from diffjax.inspection import Profile
from diffjax.noise import Gaussian
from diffjax.protocols import Denoise
from diffjax.randomness import keys

FEW = 64  # examples that are followed along the sampler's way


class Judged(NamedTuple):
    """The profile by noise level; and what each step of the sampler is off by, None where it is stochastic."""

    profile: Profile
    local: Float[np.ndarray, " steps"] | None


def judged(
    painter: Painter, denoise: Denoise, train: Shaped[np.ndarray, "_ *_"], test: tuple[Any, Any], seed: int
) -> Judged | None:
    """A Gaussian model with one level for all positions, on images and labels of test; None for any other.

    The denoiser is looked at without guidance, which changes what it is the mean of; the sampler's steps with it, as it
    draws. Images are as the data set has them.
    """
    noise, order, facts, (images, labels) = painter.noise, painter.order, painter.facts, test
    if not isinstance(noise, Gaussian) or order.width != 1:
        return None
    cond = None if painter.net.null_cond is None else jnp.asarray(labels)
    x, known = (
        facts.encoding.encode(keys(seed, len(part)), jnp.asarray(part), facts.levels) for part in (images, train)
    )
    root = keys(seed, len(x))
    profile = inspection.profile(root, noise, denoise, x, cond, known)
    if painter.step.stochastic:
        return Judged(profile, None)
    few = None if cond is None else cond[:FEW]
    shape, step = x.shape[1:], painter.step
    local = diagnose.local_error(root[:FEW], noise, order, painter.denoise, shape, painter.grid, cond=few, step=step)
    return Judged(profile, np.asarray(local, np.float64).mean(axis=1))


def curves(found: Judged) -> dict[str, Curves]:
    """All that is known by noise level and by step, to be drawn."""
    profile = found.profile
    errors = {"this model": profile.error, "the best linear denoiser": profile.linear}
    drawn = {"levels": Curves("The error of x0 at each noise level", _over(profile.log_snr, errors), "error of x0",
                              "log-SNR", "log")}  # fmt: skip
    if found.local is not None:
        caption = "What each step of the sampler is off by, beside a fine solution from where it stands"
        steps = np.arange(1.0, len(found.local) + 1)
        drawn["local"] = Curves(caption, {"local error": (steps, found.local)}, "error of x", "step of the sampler")
    return drawn


def _over(x: np.ndarray, lines: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (np.asarray(x, float), np.asarray(y, float)) for name, y in lines.items()}
