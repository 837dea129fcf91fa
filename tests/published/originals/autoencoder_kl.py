"""AutoencoderKL of diffusers, and of LTH14/mar, whose names are those of latent-diffusion."""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from tests.published.originals import golden
from tests.published.originals.dit import load
from tests.published.seeded import seeded_input

Net = torch.nn.Module
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
DIFFUSERS = {  # settings and the sides of an image, by case
    "kl_64": ({"block_out_channels": (32, 64), "layers_per_block": 1}, (8, 8)),
    "kl_96": ({"block_out_channels": (64, 96), "layers_per_block": 2, "latent_channels": 3}, (13, 11)),
    "kl_128": (
        {
            "block_out_channels": (32, 64, 128),
            "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D"),
            "up_block_types": ("UpDecoderBlock2D", "AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
            "latent_channels": 8,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "mid_block_add_attention": False,
            "scaling_factor": 1.5305,
            "shift_factor": 0.0609,
        },
        (18, 15),
    ),
}
MAR = {  # width, multipliers, residual blocks, sides at which each half attends, sides of an image
    "kl_mar_64": (32, (1, 2), 2, (), (), (8, 12)),
    "kl_mar_96": (32, (1, 1, 3), 1, (8,), (), (13, 11)),
    "kl_mar_128": (64, (1, 2), 1, (16,), (32,), (18, 9)),
}
RESOLUTION = 32  # that the sides of attention refer to
SCALE = 0.2325


def make(originals: Path) -> None:
    """Both programs at three widths, and the names of attention in old files of diffusers."""
    for case, (settings, sides) in DIFFUSERS.items():
        net = build(**settings)
        config = {name: value for name, value in net.config.items() if not name.startswith("_")}
        recipe = golden.fill(net)
        save(case, net, recipe, sides, file="vae", kind="AutoencoderKL", config=config)
    make_old("kl_old", (12, 11))
    models = load(originals / "mar" / "models" / "vae.py")
    encoder, decoder = models.Encoder, models.Decoder
    for case, (width, multipliers, layers, down, up, sides) in MAR.items():
        shared = {"ch": width, "num_res_blocks": layers, "resolution": RESOLUTION}
        models.Encoder = partial(encoder, **shared, attn_resolutions=down)
        models.Decoder = partial(decoder, **shared, attn_resolutions=up)
        net = models.AutoencoderKL(embed_dim=4, ch_mult=multipliers)
        save(case, net, golden.fill(net), sides, file="kl.ckpt", config={"scaling_factor": SCALE})


def build(block_out_channels: tuple[int, ...], **settings: Any) -> Net:
    blocks = len(block_out_channels)
    plain = {"down_block_types": ("DownEncoderBlock2D",) * blocks, "up_block_types": ("UpDecoderBlock2D",) * blocks}
    return AutoencoderKL(block_out_channels=block_out_channels, **plain | settings)


def make_old(case: str, sides: tuple[int, int]) -> None:
    """As diffusers itself reads such a file."""
    net = build((32,), layers_per_block=1)
    rename = {name: name for name in net.state_dict()}
    for new, old in OLD_NAMES.items():
        rename = {name: other.replace(f"attentions.0.{new}.", f"attentions.0.{old}.") for name, other in rename.items()}
    config = {name: value for name, value in net.config.items() if not name.startswith("_")}
    shapes = {rename[name]: list(tensor.shape) for name, tensor in net.state_dict().items()}
    weights = {name: torch.from_numpy(golden.seeded_tensor(name, tuple(shape))) for name, shape in shapes.items()}
    with tempfile.TemporaryDirectory() as folder:
        save_file(weights, Path(folder) / "diffusion_pytorch_model.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **config}))
        net = AutoencoderKL.from_pretrained(folder).eval()
    save(case, net, {"shapes": shapes, "kept": {}}, sides, file="vae", kind="AutoencoderKL", config=config)


def save(case: str, net: Net, recipe: dict[str, Any], sides: tuple[int, int], **about: Any) -> None:
    """The moments of two images, and the images of two latents."""
    x = seeded_input((2, 3, *sides), seed=1)
    with torch.no_grad():
        output = net.encode(torch.from_numpy(x))
        moments = output.latent_dist if hasattr(output, "latent_dist") else output
        z = seeded_input(tuple(moments.mean.shape), seed=2)
        image = net.decode(torch.from_numpy(z))
    image = image.sample if hasattr(image, "sample") else image
    outputs = {"mean": moments.mean, "log_variance": moments.logvar, "image": image}
    golden.save(case, recipe, about, x=x, z=z, **{name: golden.channels_last(out) for name, out in outputs.items()})
