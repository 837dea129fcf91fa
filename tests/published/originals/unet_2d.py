"""UNet2DModel and the schedulers of diffusers."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from tests.published.originals import golden
from tests.published.seeded import seeded_input

TIMES = (0.0, 1.0, 250.0, 731.0, 999.0)
DDPM = {  # the conventions of google/ddpm-*
    **{"flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0, "norm_eps": 1e-6},
    **{"attention_head_dim": None},
}
MODULATED = {
    **{"resnet_time_scale_shift": "scale_shift", "num_class_embeds": 6, "mid_block_scale_factor": 1.4},
    **{"center_input_sample": True, "norm_num_groups": 16},
}
ATTENTION_LAST = (("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D"))
ATTENTION_FIRST = (("AttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "AttnUpBlock2D"))
ATTENTION_WITHIN = (
    ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
)
CASES: dict[str, dict[str, Any]] = {
    "small_16": {
        **{"block_out_channels": (16,), "blocks": (("DownBlock2D",), ("UpBlock2D",)), "sample_size": 6},
        **{"layers_per_block": 1, "norm_num_groups": 4, "num_class_embeds": 6},
    },
    "ddpm_32": {**DDPM, "block_out_channels": (32, 64), "blocks": ATTENTION_LAST, "sample_size": 16},
    "ddpm_64": {**DDPM, "block_out_channels": (64, 96, 96), "blocks": ATTENTION_WITHIN, "sample_size": (8, 12)},
    "ddpm_128": {**DDPM, "block_out_channels": (128, 128), "blocks": ATTENTION_LAST, "sample_size": 8},
    "default_32": {"block_out_channels": (32, 64), "blocks": ATTENTION_FIRST, "sample_size": 12, "layers_per_block": 1},
    "default_64": {"block_out_channels": (64, 128), "blocks": ATTENTION_LAST, "sample_size": 8},
    "default_96": {"block_out_channels": (96, 96), "blocks": ATTENTION_LAST, "sample_size": (4, 10)},
    "modulated_32": {**MODULATED, "block_out_channels": (32, 48), "blocks": ATTENTION_LAST, "sample_size": 8},
    "modulated_64": {
        **{**MODULATED, "block_out_channels": (64, 96), "blocks": ATTENTION_LAST, "sample_size": (12, 4)},
        **{"attn_norm_num_groups": 8, "in_channels": 1, "out_channels": 1},
    },
    "plain_64": {
        **{"block_out_channels": (64, 64), "blocks": (("DownBlock2D",) * 2, ("UpBlock2D",) * 2), "sample_size": 10},
        **{"add_attention": False, "layers_per_block": 3},
    },
}
SCHEDULERS: tuple[dict[str, Any], ...] = (
    {"_class_name": "DDPMScheduler"},
    {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 400},
    {
        **{"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        **{"prediction_type": "v_prediction"},
    },
    {
        **{"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        **{"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    },
    {
        **{"_class_name": "DDPMScheduler", "beta_schedule": "linear", "rescale_betas_zero_snr": True},
        **{"prediction_type": "sample", "num_train_timesteps": 250, "beta_end": 0.08},
    },
    {"_class_name": "DDPMScheduler", "trained_betas": [0.01, 0.03, 0.02, 0.4, 0.9], "num_train_timesteps": 5},
    {"_class_name": "DPMSolverMultistepScheduler", "num_train_timesteps": 100, "beta_end": 0.2},
)


def make(originals: Path) -> None:
    """Nets of both conventions, and with modulated norms, each at five steps; and alpha² at the steps of schedulers."""
    for name, settings in CASES.items():
        make_net(name, **settings)
    make_schedulers()


def make_net(name: str, blocks: tuple[tuple[str, ...], tuple[str, ...]], **settings: Any) -> None:
    down, up = blocks
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(down_block_types=down, up_block_types=up, **settings)
    recipe = golden.fill(net)
    config = {name: value for name, value in net.config.items() if name != "_use_default_values"}  # a set, unordered
    size = config["sample_size"]
    sides = (size, size) if isinstance(size, int) else size
    x = seeded_input((len(TIMES), config["in_channels"], *sides))
    labels = np.arange(len(TIMES)) if config["num_class_embeds"] else None
    with torch.no_grad():
        cond = None if labels is None else torch.from_numpy(labels)
        out = net(torch.from_numpy(x), torch.tensor(TIMES), cond).sample
    about = {"file": "unet", "kind": "UNet2DModel", "config": config, "level": TIMES}
    arrays = {} if labels is None else {"cond": labels}
    golden.save(f"unet_2d_{name}", recipe, about, x=x, out=golden.channels_last(out), **arrays)


def make_schedulers() -> None:
    """alpha² at each step of each scheduler, one after another; the test knows their numbers of steps."""
    schedulers = [getattr(diffusers, config["_class_name"])(**_arguments(config)) for config in SCHEDULERS]
    alpha2 = np.concatenate([scheduler.alphas_cumprod.numpy() for scheduler in schedulers])
    about = {"file": "scheduler_config.json", "configs": SCHEDULERS}
    golden.save("schedulers", {"shapes": {}, "kept": {}}, about, alpha2=alpha2)


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "_class_name"}
