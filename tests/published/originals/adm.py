"""ADM of openai/guided-diffusion."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from tests.published.originals import golden
from tests.published.seeded import seeded_input

CLASSES = 10
ROUNDING = 32  # of x, so that it takes few bytes
# The name of a file, which says the side of x; times; and arguments of UNetModel beside those of all published models.
# Attention is where the sides are divided by one of `attention_resolutions`.
CASES = {
    "adm_64": (
        "16x16_diffusion.pt",
        (0.0, 37.0, 412.5, 999.0),
        {
            **{
                "model_channels": 32,
                "channel_mult": (1, 2, 3, 4),
                "num_res_blocks": 1,
                "attention_resolutions": (2, 8),
            },
            **{"num_head_channels": 64, "num_classes": CLASSES, "use_new_attention_order": True, "out_channels": 6},
        },
    ),
    "adm_128": (
        "32x32_diffusion.pt",
        (1.0, 250.0, 998.0),
        {
            **{"model_channels": 32, "channel_mult": (1, 1, 2, 3, 4), "num_res_blocks": 1},
            **{"attention_resolutions": (4, 8, 16), "num_heads": 4, "out_channels": 3},
        },
    ),
    "adm_heads_of_64": (
        "8x8_diffusion.pt",
        (0.0, 3.0, 100.0, 700.0, 999.0),
        {
            **{"model_channels": 64, "channel_mult": (0.5, 1, 2), "num_res_blocks": 2, "attention_resolutions": (2, 4)},
            **{"num_head_channels": 64, "num_classes": CLASSES, "out_channels": 6},
        },
    ),
    "adm_convolutions": (
        "12x12_diffusion.pt",
        (0.0, 20.0, 500.0, 999.0),
        {
            **{"model_channels": 96, "channel_mult": (1, 2), "num_res_blocks": 1, "attention_resolutions": (2,)},
            **{"num_heads": 4, "out_channels": 6, "resblock_updown": False, "use_scale_shift_norm": False},
        },
    ),
}
README_FLAGS = {  # of the published models
    "64x64_diffusion.pt": {
        **{"image_size": 64, "num_channels": 192, "num_res_blocks": 3, "num_head_channels": 64},
        **{"class_cond": True, "use_new_attention_order": True},
    },
    "128x128_diffusion.pt": {
        **{"image_size": 128, "num_channels": 256, "num_res_blocks": 2, "num_heads": 4, "class_cond": True}
    },
    "256x256_diffusion_uncond.pt": {
        **{"image_size": 256, "num_channels": 256, "num_res_blocks": 2, "num_head_channels": 64}
    },
    "512x512_diffusion.pt": {
        **{"image_size": 512, "num_channels": 256, "num_res_blocks": 2, "num_head_channels": 64, "class_cond": True}
    },
}


def make(originals: Path) -> None:
    """Nets at three widths, each at three times or more; the shapes of the published ones, and their chains."""
    sys.path.insert(0, str(originals / "guided-diffusion"))
    from guided_diffusion import gaussian_diffusion, script_util, unet

    for name, (file, times, settings) in CASES.items():
        _make_case(name, unet, file, times, settings)
    published = {}
    for file, flags in README_FLAGS.items():
        with torch.device("meta"):
            net = script_util.create_model(
                **flags,
                learn_sigma=True,
                attention_resolutions="32,16,8",
                resblock_updown=True,
                use_scale_shift_norm=True,
            )
        published[file] = {name: list(tensor.shape) for name, tensor in net.state_dict().items()}
    chains = {}
    for schedule in ("linear", "cosine"):
        betas = gaussian_diffusion.get_named_beta_schedule(schedule, 1000)
        diffusion = gaussian_diffusion.GaussianDiffusion(
            betas=betas,
            model_mean_type=gaussian_diffusion.ModelMeanType.EPSILON,
            model_var_type=gaussian_diffusion.ModelVarType.LEARNED_RANGE,
            loss_type=gaussian_diffusion.LossType.MSE,
        )
        chains[schedule] = diffusion.alphas_cumprod
    nothing = {"shapes": {}, "kept": {}}
    golden.save("adm_published", nothing, {"file": "", "published": published}, **chains)


def _make_case(name: str, unet: ModuleType, file: str, times: tuple[float, ...], settings: dict) -> None:
    size = int(file.split("x")[0])
    torch.manual_seed(0)
    arguments = {"resblock_updown": True, "use_scale_shift_norm": True} | settings
    net = unet.UNetModel(image_size=size, in_channels=3, **arguments)
    recipe = golden.fill(net)
    x = np.round(seeded_input((len(times), 3, size, size)) * ROUNDING) / ROUNDING
    labels = np.arange(len(times)) * 3 % CLASSES
    arrays = {"cond": labels} if "num_classes" in settings else {}
    with torch.no_grad():
        out = net(torch.from_numpy(x), torch.tensor(times), torch.from_numpy(labels) if arrays else None)
    golden.save(name, recipe, {"file": file, "level": times}, x=x, out=golden.channels_last(out), **arrays)
