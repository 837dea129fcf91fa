"""The noise of diffusers' schedulers: the chain of betas that a model was trained on, and what its net predicts.

What a scheduler says of drawing (its steps, clipping, the variance of a step) is no part of the noise, and is not read.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffjax import net_inputs, predict, schedule
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.weight_files import read_config

CONFIG = "scheduler_config.json"
FOLDER = "scheduler"  # of a pipeline, beside the model's
MAX_STEPS = 100_000
PREDICTIONS = {"epsilon": predict.eps, "sample": predict.x0, "v_prediction": predict.v}
FIXED = {"use_flow_sigmas": False, "timestep_type": "discrete", "predict_epsilon": True}  # else the noise is another
CLASSES = (  # whose noise is a chain of betas, and whose nets receive the index of a step
    *("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler"),
    *("PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
    *("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "UniPCMultistepScheduler"),
    *("DPMSolverMultistepScheduler", "DPMSolverMultistepInverseScheduler", "DPMSolverSinglestepScheduler"),
    *("DPMSolverSDEScheduler", "DEISMultistepScheduler", "SASolverScheduler", "LCMScheduler", "TCDScheduler"),
)


class SchedulerConfig(NamedTuple):
    """The config of a scheduler, and the file that messages name."""

    config: Mapping[str, object]
    path: Path


def scheduler_beside(folder: Path) -> SchedulerConfig:
    """The scheduler of the model in a folder: in the folder, or in the pipeline around it; else DDPM's."""
    folder = folder.absolute()
    for path in (folder / CONFIG, folder.parent / FOLDER / CONFIG):
        if path.is_file():
            return SchedulerConfig(read_config(path), path)
    return SchedulerConfig({}, folder)


def noise_of_scheduler(config: Mapping[str, object], path: Path) -> Gaussian:
    """The noise of a scheduler's config; of an empty one DDPM's, linear betas 1e-4 … 0.02 of 1000 steps, and eps.

    Step n of the scheduler is t = (n + 1)/T. Raises UserError, which names the field, for a noise that is not known.
    """
    settings = WeightFile(path, {}, config=config)
    _choice(settings, "_class_name", "DDPMScheduler", CLASSES)
    for name, expected in FIXED.items():
        if config.get(name, expected) != expected:
            raise UserError(f"{path}: {name} {config[name]!r:.80} is not known here; known is {expected!r}")
    prediction = _choice(settings, "prediction_type", "epsilon", PREDICTIONS)
    zero_terminal = settings.setting("rescale_betas_zero_snr", bool, False)
    if zero_terminal and prediction == "epsilon":
        problem = "rescale_betas_zero_snr is true, and prediction_type 'epsilon' tells nothing where no signal is left"
        raise UserError(f"{path}: {problem}; use the config that the weights came with")
    betas = _betas(settings)
    if zero_terminal:
        betas = _with_zero_terminal(betas)
    inputs = net_inputs.discrete_steps(len(betas))
    try:
        return Gaussian(schedule.discrete(betas.tolist()), PREDICTIONS[prediction], inputs=inputs)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def schedule_text(config: Mapping[str, object], path: Path) -> str:
    """The schedule as a text of a config; empty where `diffjax.schedule` has no name for it."""
    settings = WeightFile(path, {}, config=config)
    if config.get("trained_betas") is not None or config.get("rescale_betas_zero_snr"):
        return ""
    first, last, count = _ends_and_count(settings)
    texts = {
        "linear": f"discrete_linear(first={first!r}, last={last!r}, count={count})",
        "squaredcos_cap_v2": f"discrete_cosine(count={count})",
    }
    return texts.get(settings.setting("beta_schedule", str, "linear"), "")


def _linear(first: float, last: float, count: int) -> np.ndarray:
    return np.linspace(first, last, count)


def _scaled_linear(first: float, last: float, count: int) -> np.ndarray:
    """Linear in the square root (Rombach et al. 2022, as published)."""
    return np.linspace(first**0.5, last**0.5, count) ** 2


def _squared_cosine(first: float, last: float, count: int) -> np.ndarray:
    """Those of Nichol & Dhariwal 2021, eq. 17, for which the ends are not used."""
    return schedule.cosine_betas(count)


BETAS: Mapping[str, Callable[[float, float, int], np.ndarray]] = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": _squared_cosine,
}


def _betas(settings: WeightFile) -> np.ndarray:
    first, last, count = _ends_and_count(settings)
    trained = settings.config.get("trained_betas")
    if trained is None:
        return BETAS[_choice(settings, "beta_schedule", "linear", BETAS)](first, last, count)
    if not isinstance(trained, list) or len(trained) != count or not all(_is_beta(beta) for beta in trained):
        problem = f"expected trained_betas to be num_train_timesteps = {count} numbers in (0, 1), got {trained!r:.80}"
        raise UserError(f"{settings.path}: {problem}; use the config that the weights came with")
    return np.asarray(trained, np.float64)


def _ends_and_count(settings: WeightFile) -> tuple[float, float, int]:
    """The first and last beta and their number. Raises UserError where they are out of range."""
    ends = {"beta_start": 1e-4, "beta_end": 0.02}
    first, last = (settings.setting(name, float, default) for name, default in ends.items())
    for name, beta in zip(ends, (first, last), strict=True):
        if not _is_beta(beta):
            raise UserError(f"{settings.path}: expected {name} to be in (0, 1), got {beta!r}; use the original config")
    count = settings.setting("num_train_timesteps", int, 1000)
    if not 1 <= count <= MAX_STEPS:
        raise UserError(f"{settings.path}: expected num_train_timesteps to be in 1 … {MAX_STEPS:,}, got {count!s:.20}")
    return first, last, count


def _is_beta(value: object) -> bool:
    return isinstance(value, float) and 0 < value < 1


def _with_zero_terminal(betas: np.ndarray) -> np.ndarray:
    """The betas for which alpha is moved and stretched to 0 at the last step, and stays at the first.

    Lin et al. 2024, algorithm 1.
    """
    alpha = np.sqrt(np.cumprod(1 - betas))
    with np.errstate(all="ignore"):  # of too few betas or too large ones, which the schedule refuses
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        return 1 - np.square(alpha / np.concatenate([[1.0], alpha[:-1]]))


def _choice(settings: WeightFile, name: str, default: str, choices: Iterable[str]) -> str:
    """The text of a field. Raises UserError where it is none of the choices."""
    value = settings.setting(name, str, default)
    if value not in choices:
        known = ", ".join(choices)
        raise UserError(f"{settings.path}: {name} {value!r:.80} is not known here; known are {known}")
    return value
