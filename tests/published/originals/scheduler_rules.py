"""What the schedulers of diffusers draw in 20 steps, of a net that is a formula: their own loops, with seeded noise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import numpy as np
import torch

from tests.published.originals import golden
from tests.published.seeded import seeded_input

STEPS, BATCH, CHANNELS, SIDE = 20, 2, 4, 4
STOPS = (5, 10, 15, 20)  # steps after which states are kept
STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
FIRST = {**STABLE_DIFFUSION, "steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False}
ZERO = {
    **{**STABLE_DIFFUSION, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    "timestep_spacing": "trailing",
}
V = {"prediction_type": "v_prediction"}
KARRAS = {"use_karras_sigmas": True}
LARGE = {"_class_name": "DDPMScheduler", "variance_type": "fixed_large"}
SDE = {"algorithm_type": "sde-dpmsolver++"}
DPM = {"_class_name": "DPMSolverMultistepScheduler", **STABLE_DIFFUSION}
UNIPC = {"_class_name": "UniPCMultistepScheduler", **STABLE_DIFFUSION}
EULER = {"_class_name": "EulerDiscreteScheduler", **STABLE_DIFFUSION}
DDIM = {"_class_name": "DDIMScheduler"}
PNDM = {"_class_name": "PNDMScheduler", **FIRST}
CONFIGS: dict[str, dict[str, Any]] = {
    "ddim": {**DDIM, **FIRST},
    "ddim_zero_terminal": {**DDIM, **ZERO, "clip_sample": False},
    "ddim_sample": {**DDIM, **STABLE_DIFFUSION, "prediction_type": "sample", "clip_sample": False},
    "pndm": {**PNDM, "skip_prk_steps": True},
    "pndm_runge_kutta": PNDM,
    "pndm_to_data": {**PNDM, "skip_prk_steps": True, "set_alpha_to_one": True, "timestep_spacing": "trailing"},
    "euler": {**EULER, "timestep_spacing": "leading", "steps_offset": 1},
    "euler_trailing_to_sigma_min": {**EULER, "timestep_spacing": "trailing", "final_sigmas_type": "sigma_min", **V},
    "euler_linspace": EULER,
    "euler_karras": {**EULER, **KARRAS},
    "euler_karras_leading": {**EULER, **KARRAS, "timestep_spacing": "leading", "steps_offset": 1},
    "euler_ancestral": {"_class_name": "EulerAncestralDiscreteScheduler", **STABLE_DIFFUSION},
    "dpm": DPM,
    "dpm_leading": {**DPM, "timestep_spacing": "leading", "steps_offset": 1},
    "dpm_to_sigma_min": {**DPM, "final_sigmas_type": "sigma_min"},
    "dpm_first_order": {**DPM, "solver_order": 1, "timestep_spacing": "trailing"},
    "dpm_sde": {**DPM, **SDE},
    "dpm_karras": {**DPM, **KARRAS},
    "dpm_karras_to_sigma_min": {**DPM, **KARRAS, "final_sigmas_type": "sigma_min"},
    "unipc": UNIPC,
    "unipc_bh1": {**UNIPC, "solver_type": "bh1", "final_sigmas_type": "sigma_min", **V},
    "unipc_karras": {**UNIPC, **KARRAS},
    "ddpm": {"_class_name": "DDPMScheduler", "clip_sample": False, "timestep_spacing": "trailing"},
    "ddpm_clipped_large": {**LARGE, "clip_sample": True},
    "ddim_linspace": {**DDIM, **FIRST, "timestep_spacing": "linspace"},
    "ddim_clipped": {**DDIM, "steps_offset": 1},
    "pndm_linspace": {**PNDM, "skip_prk_steps": True, "timestep_spacing": "linspace"},
    "pndm_v": {**PNDM, "skip_prk_steps": True, **V},
    "ddpm_large_trailing": {**LARGE, "clip_sample": False, "timestep_spacing": "trailing"},
    "euler_zero_terminal": {**EULER, **ZERO},
    "dpm_zero_terminal": {**DPM, **ZERO},
    "unipc_zero_terminal": {**UNIPC, **ZERO},
}


def make(originals: Path) -> None:
    """The states of all schedulers, in x = alpha x0 + sigma eps."""
    states = [draw(CONFIGS[name]) for name in sorted(CONFIGS)]  # in the order of a file
    about = {"file": "scheduler_config.json", "configs": CONFIGS, "steps": STEPS, "stops": STOPS}
    golden.save("scheduler_rules", {"shapes": {}, "kept": {}}, about, states=np.stack(states))


def draw(config: dict[str, Any]) -> np.ndarray:
    """The states [stops, b, h, w, c] of a scheduler."""
    scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
    scheduler.set_timesteps(STEPS)
    draws = iter(torch.from_numpy(seeded_input((1 + STEPS, BATCH, CHANNELS, SIDE, SIDE))))
    with patch.object(torch, "randn", lambda shape, **_: next(draws)):
        states = whole_steps(config, list(loop(scheduler, next(draws))))
    return np.stack([golden.channels_last(states[stop - 1]) for stop in STOPS])


def loop(scheduler: Any, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """The state after each call, from x. Euler's states are x / alpha."""
    scaled = "Euler" in type(scheduler).__name__
    norms = (scheduler.sigmas**2 + 1) ** 0.5 if scaled else torch.ones(len(scheduler.timesteps) + 1)
    x = x * norms[0]
    for number, t in enumerate(scheduler.timesteps):
        out = net(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(out, t, x).prev_sample
        yield x / norms[number + 1]


def whole_steps(config: dict[str, Any], states: list[torch.Tensor]) -> list[torch.Tensor]:
    """Without the states within a step of PNDM: one in the first, or three in each Runge-Kutta step."""
    if config["_class_name"] != "PNDMScheduler":
        return states
    return states[1:] if config.get("skip_prk_steps") else [*states[3:12:4], *states[12:]]


def net(x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    """A net at step n: near that of normal data if it predicts eps, and no straight line."""
    return (1 - torch.exp(-n / 300)) * x + 0.3 * torch.tanh(2 * x + torch.sin(n / 100))
