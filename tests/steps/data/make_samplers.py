"""Writes samplers.json: what k-diffusion's and diffusers' samplers make of one exact denoiser, in float64.

Not part of the tests, which read the file. In an environment of its own:

    pip install torch diffusers scipy numpy tqdm
    pip install --no-deps k-diffusion torchdiffeq torchsde
    python tests/steps/data/make_samplers.py

Data are a mixture of two Gaussians in one dimension; the state is y = x0 + sigma eps for k-diffusion, and
x = (x0 + sigma eps)/√(1 + sigma²) for diffusers, so that one list of sigmas is the grid of both.
"""

import functools
import importlib.metadata
import importlib.util
import json
import sys
import types
from pathlib import Path
from unittest import mock

import diffusers
import torch

MIXTURE = {"weights": [0.3, 0.7], "means": [-1.2, 0.8], "stds": [0.3, 0.2]}
START = [[-1.7], [-0.4], [0.25], [1.3]]  # in standard deviations of the noise
STEPS = 9


def ramp(count: int, high: float = 10.0, low: float = 0.05, rho: float = 5.0) -> torch.Tensor:
    """Falling sigmas, evenly in the rho-th root."""
    at = torch.linspace(0, 1, count, dtype=torch.float64)
    return (high ** (1 / rho) + at * (low ** (1 / rho) - high ** (1 / rho))) ** rho


def denoised(y: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """E[x0 | y] for y = x0 + sigma eps."""
    weights, means, stds = (torch.tensor(MIXTURE[name], dtype=torch.float64) for name in ("weights", "means", "stds"))
    spread = stds**2 + sigma.reshape(-1, 1) ** 2
    log_p = torch.log(weights) - (y - means) ** 2 / (2 * spread) - torch.log(spread) / 2
    return torch.sum(torch.softmax(log_p, 1) * (means + stds**2 / spread * (y - means)), 1, keepdim=True)


@functools.cache
def sampling_of_k_diffusion() -> types.ModuleType:
    """k_diffusion.sampling alone: the package's own __init__ imports what samplers do not need."""
    package = types.ModuleType("k_diffusion")
    found = importlib.util.find_spec("k_diffusion")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["k_diffusion"] = package
    sys.modules["k_diffusion.utils"] = types.ModuleType("k_diffusion.utils")
    package.utils = sys.modules["k_diffusion.utils"]
    package.utils.append_dims = lambda x, dims: x.reshape(x.shape + (1,) * (dims - x.ndim))
    return importlib.import_module("k_diffusion.sampling")


def of_k_diffusion(grid: torch.Tensor) -> dict[str, list]:
    """Every sampler that has no noise."""
    samplers = sampling_of_k_diffusion()
    start = grid[0] * torch.tensor(START, dtype=torch.float64)
    options = {"lms": {"order": 4}, "dpmpp_2s_ancestral": {"eta": 0.0}}
    ends = {}
    for name in ("euler", "heun", "dpm_2", "dpmpp_2s_ancestral", "dpmpp_2m", "lms"):
        run = getattr(samplers, f"sample_{name}")
        ends[name] = run(lambda y, s: denoised(y, s), start, grid, disable=True, **options.get(name, {})).tolist()
    return ends


def run_scheduler(scheduler, grid: torch.Tensor) -> list:
    """The scheduler's own steps, along the given sigmas in place of those that it would look up."""
    scheduler.set_timesteps(len(grid) - 1)
    scheduler.sigmas, scheduler.timesteps = grid, torch.arange(len(grid) - 1, 0, -1)
    scheduler.set_begin_index(0)
    x = grid[0] / torch.sqrt(1 + grid[0] ** 2) * torch.tensor(START, dtype=torch.float64)
    with mock.patch.object(torch, "float32", torch.float64):  # to which they cast what they are given
        for sigma, timestep in zip(grid, scheduler.timesteps, strict=False):
            x0 = denoised(x * torch.sqrt(1 + sigma**2), sigma)
            x = scheduler.step(x0, timestep, x).prev_sample
    return x.tolist()


def of_ddim(grid: torch.Tensor) -> list:
    """DDIM looks alpha up by the timestep, so the grid is its whole chain."""
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=len(grid), prediction_type="sample", clip_sample=False, set_alpha_to_one=False
    )
    scheduler.alphas_cumprod = 1 / (1 + torch.flip(grid, [0]) ** 2)
    scheduler.set_timesteps(len(grid))
    x = grid[0] / torch.sqrt(1 + grid[0] ** 2) * torch.tensor(START, dtype=torch.float64)
    for sigma, timestep in zip(grid[:-1], scheduler.timesteps[:-1], strict=True):
        x = scheduler.step(denoised(x * torch.sqrt(1 + sigma**2), sigma), timestep, x).prev_sample
    return x.tolist()


def of_diffusers(grid: torch.Tensor) -> dict[str, list]:
    """Multistep schedulers, with the orders of their last steps kept."""
    ends = {"ddim": of_ddim(grid)}
    common = {"prediction_type": "sample", "lower_order_final": False}
    for order in (2, 3):
        rule = diffusers.DPMSolverMultistepScheduler(solver_order=order, final_sigmas_type="sigma_min", **common)
        ends[f"dpmsolver++_{order}"] = run_scheduler(rule, grid)
        ends[f"deis_{order}"] = run_scheduler(diffusers.DEISMultistepScheduler(solver_order=order, **common), grid)
        for variant in ("bh1", "bh2"):
            rule = diffusers.UniPCMultistepScheduler(solver_order=order, solver_type=variant, **common)
            ends[f"unipc_{order}_{variant}"] = run_scheduler(rule, grid)
    return ends


def main() -> None:
    grid = ramp(STEPS + 1)
    to_zero = torch.cat([grid, torch.zeros(1, dtype=torch.float64)])
    versions = {name: importlib.metadata.version(name) for name in ("k-diffusion", "diffusers", "torch")}
    told = {
        "note": "Made by tests/steps/data/make_samplers.py with "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ", all in float64. `sigmas` are sigma/alpha; `start` is in units of the noise's deviation. k-diffusion's "
        "states have alpha = 1, and diffusers' alpha² + sigma² = 1. k_diffusion_to_zero goes on to sigma = 0.",
        "mixture": MIXTURE,
        "sigmas": grid.tolist(),
        "start": START,
        "k_diffusion": of_k_diffusion(grid),
        "k_diffusion_to_zero": of_k_diffusion(to_zero),
        "diffusers": of_diffusers(grid),
    }
    Path(__file__).with_name("samplers.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
