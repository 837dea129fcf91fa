"""diffusers' copy of DiT, its sinusoids mended to those that the weights were trained with."""

from pathlib import Path

import numpy as np
import torch
from diffusers import DiTTransformer2DModel

from tests.published.originals import golden
from tests.published.seeded import seeded_input

TIMES = (1.0, 250.0, 999.0)
SIZES = {64: 8, 128: 6}  # of x, by width


def make(originals: Path) -> None:
    """Two widths, each at three steps."""
    for width, size in SIZES.items():
        net = DiTTransformer2DModel(
            num_attention_heads=width // 64,
            attention_head_dim=64,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            sample_size=size,
            patch_size=2,
            num_embeds_ada_norm=10,
            activation_fn="gelu-approximate",
        )
        recipe = golden.fill(net)
        state = net.state_dict()
        first = "transformer_blocks.0.norm1.emb."
        for name in state:  # the embedders of all blocks are one, as in the published weights
            if ".norm1.emb." in name:
                state[name] = state[first + name.split(".norm1.emb.")[1]]
        net.load_state_dict(state)
        for module in net.modules():
            if hasattr(module, "downscale_freq_shift"):
                module.downscale_freq_shift = 0
        x = seeded_input((len(TIMES), 4, size, size))
        labels = np.array([2, 5, 10])  # the last is the null class
        with torch.no_grad():
            out = net(torch.from_numpy(x), torch.tensor(TIMES), torch.from_numpy(labels)).sample
        about = {"file": "transformer", "kind": "DiTTransformer2DModel", "level": TIMES}
        about["config"] = {"sample_size": size, "patch_size": 2}
        golden.save(f"dit_diffusers_{width}", recipe, about, x=x, cond=labels, out=golden.channels_last(out))
