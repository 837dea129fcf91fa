"""What the report says of models that are broken on purpose: python benchmarks/faults.py runs/digits

Two minutes. Of a class-conditional run of digits: as it is; with nothing learnt in one band of noise levels; in place
of the net, the exact denoiser of the training images, which can draw nothing else; and under guidance that saturates.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

sys.path.insert(0, str(Path(__file__).parent.parent))

from diffjax import reports
from diffjax.commands import evaluation_subject, image_sampler, likelihood_report, model_diagnostics
from diffjax.commands.evaluation_subject import EvaluationSubject
from diffjax.diagnostics import level_profile
from diffjax.errors import UserError

LOW, HIGH = -1.5, 1.5  # log-SNRs of the band that is not learnt
COUNT = 1_440


def main() -> None:
    """A model a line, and below it every alarm."""
    if len(sys.argv) != 2:
        raise UserError("faults: give the folder of a run, such as runs/digits")
    model = evaluation_subject.open_subject(Path(sys.argv[1]), None, None, 5_000)
    sound = vars(model.info.config.sample)
    told(model, sound, "as it is")
    told(dataclasses.replace(model, denoise=without_band(model)), sound, f"nothing learnt from {LOW} to {HIGH}")
    told(dataclasses.replace(model, denoise=copying(model)), sound, "the training images alone")
    told(model, {**sound, "guidance": 8.0}, "guidance 8")


def told(model: EvaluationSubject, settings: dict[str, Any], name: str) -> None:
    """What stands out of a model, as `evaluate.py` has it."""
    painter, (cond, _), facts = model.build_sampler(settings), model.balanced_conditions(COUNT), model.info.facts
    images = image_sampler.sample_images(painter, jax.random.key(0), COUNT, 360, cond)
    held = model_diagnostics.encode_held_out(
        painter, model.real["train"][0], likelihood_report.evenly_spaced_images(model.real["test"], 360), 0
    )
    alarms = (
        [] if held is None else level_profile.describe_alarms(model_diagnostics.profile_by_level(held, model.denoise))
    )
    print(f"\n{name}")
    for alarm in reports.find_problems(images, model.splits, facts.levels, alarms).alarms:
        print(f"  * {alarm}")


def without_band(model: EvaluationSubject) -> Callable[..., Array]:
    """The model, but within the band the mean of the data, which is what a net that has learnt nothing says."""
    mean = jnp.asarray(encoded(model)[0].mean(axis=0))

    def denoise(x_t: Array, t: Array, cond: Any) -> Array:
        level = model.noise.log_snr(t)
        return jnp.where((level > LOW) & (level < HIGH), mean[None], model.denoise(x_t, t, cond))

    return denoise


def copying(model: EvaluationSubject) -> Callable[..., Array]:
    """E[x0 | x_t, class] where the training images are all there is: weights ∝ exp(-|x_t - alpha x|² / 2 sigma²)."""
    images, labels = (jnp.asarray(part) for part in encoded(model))
    flat = images.reshape(len(images), -1)

    def denoise(x_t: Array, t: Array, cond: Any) -> Array:
        m, x = model.noise.coefficients(t.reshape(-1, 1)), x_t.reshape(len(x_t), -1)
        away = jnp.sum((x[:, None] - m.alpha[..., None] * flat[None]) ** 2, axis=2)
        log_weight = jnp.where(labels[None] == cond[:, None], -away / (2 * jnp.maximum(m.sigma, 1e-3) ** 2), -jnp.inf)
        return (jax.nn.softmax(log_weight) @ flat).reshape(x_t.shape)

    return denoise


def encoded(model: EvaluationSubject) -> tuple[np.ndarray, np.ndarray]:
    """The training images as the model has them, and their labels."""
    images, labels = model.real["train"]
    return np.asarray(model.info.facts.encoding.encode(None, jnp.asarray(images), model.info.facts.levels)), labels


if __name__ == "__main__":
    main()
