"""UNet2DConditionModel of diffusers."""

from pathlib import Path
from typing import Any

import diffusers
import torch

from tests.published.originals import golden
from tests.published.seeded import seeded_input

TIMES = (1.0, 250.0, 999.0)
TEXT_SEED = 2
TOKENS = 77  # of a text
TEXT_LAST = (("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D"))
TEXT_FIRST = (("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D"))
TEXT_APART = (  # at the first depth on the way down, and at the second on the way up
    ("CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    ("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
)
SD2 = {"use_linear_projection": True, "upcast_attention": True}
CASES: dict[str, dict[str, Any]] = {
    "sd1_32": {
        **{"block_out_channels": (32, 64), "blocks": TEXT_FIRST, "sample_size": (10, 6), "cross_attention_dim": 24},
    },
    "sd1_64": {
        **{
            "block_out_channels": (64, 96, 96),
            "blocks": TEXT_APART,
            "sample_size": (12, 20),
            "cross_attention_dim": 40,
        },
        **{"layers_per_block": 1, "norm_num_groups": 16},
    },
    "sd2_96": {
        **{**SD2, "block_out_channels": (96, 64), "blocks": TEXT_FIRST, "sample_size": (14, 10), "tokens": 20},
        **{"attention_head_dim": (3, 4), "cross_attention_dim": 32, "transformer_layers_per_block": (1, 2)},
        **{"layers_per_block": 1},
    },
    "sd2_64": {
        **{**SD2, "block_out_channels": (64, 128), "blocks": TEXT_LAST, "sample_size": 8, "layers_per_block": 1},
        **{"attention_head_dim": (1, 2), "cross_attention_dim": 64, "flip_sin_to_cos": False, "freq_shift": 1},
    },
    "inpainting_32": {
        **{"block_out_channels": (32,), "blocks": (("CrossAttnDownBlock2D",), ("CrossAttnUpBlock2D",))},
        **{"in_channels": 9, "sample_size": (5, 7), "cross_attention_dim": 16, "layers_per_block": 1},
    },
}


def make(originals: Path) -> None:
    """Nets of both kinds, and one for inpainting, each at three steps; texts are made of a seed."""
    for name, settings in CASES.items():
        make_net(name, **settings)


def make_net(name: str, blocks: tuple[tuple[str, ...], tuple[str, ...]], tokens: int = TOKENS, **settings: Any) -> None:
    down, up = blocks
    net = diffusers.UNet2DConditionModel(down_block_types=down, up_block_types=up, **settings)
    recipe = golden.fill(net)
    config = {name: value for name, value in net.config.items() if name != "_use_default_values"}  # a set, unordered
    size = config["sample_size"]
    x = seeded_input((len(TIMES), config["in_channels"], *((size, size) if isinstance(size, int) else size)))
    text = (len(TIMES), tokens, config["cross_attention_dim"])
    with torch.no_grad():
        value = torch.from_numpy(seeded_input(text, TEXT_SEED))
        out = net(torch.from_numpy(x), torch.tensor(TIMES), value).sample
    about = {"file": "unet", "kind": "UNet2DConditionModel", "config": config, "steps": TIMES}
    about["text"] = {"shape": text, "seed": TEXT_SEED}
    golden.save(f"unet_2d_condition_{name}", recipe, about, x=x, out=golden.channels_last(out))
