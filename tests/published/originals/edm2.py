"""The U-Net and the preconditioning of EDM2, of NVlabs/edm2."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch

from tests.published.originals import golden
from tests.published.seeded import seeded_input

SIGMAS = (0.002, 0.05, 0.5, 5.0, 80.0)
CASES = {  # by width; side, channels, classes, and what differs from the defaults
    64: (8, 3, 10, {"channel_mult": [1, 2], "num_blocks": 2, "attn_resolutions": [4]}),
    128: (12, 4, 0, {"channel_mult": [1, 1, 2], "num_blocks": 1, "attn_resolutions": [6], "sigma_data": 0.7}),
    192: (6, 4, 7, {"channel_mult": [1], "channel_mult_noise": 2, "channel_mult_emb": 2, "num_blocks": 1}),
}


def make(originals: Path) -> None:
    """Three widths, each at five noise levels: the U-Net alone (`out`), and the whole denoiser (`denoised`)."""
    networks = load(originals / "edm2/training/networks_edm2.py")
    sigma = torch.tensor(SIGMAS)
    for width, (side, channels, classes, settings) in CASES.items():
        torch.manual_seed(0)
        sizes = {"img_resolution": side, "img_channels": channels, "label_dim": classes, "model_channels": width}
        net = networks.Precond(**sizes, **settings)
        recipe = golden.fill(net, kept=["unet.emb_fourier.freqs", "unet.emb_fourier.phases"])
        x = torch.from_numpy(seeded_input((len(SIGMAS), channels, side, side)))
        noisy = x * (sigma**2 + net.sigma_data**2).sqrt().reshape(-1, 1, 1, 1)
        labels = np.arange(len(SIGMAS)) * 2 + classes - 8  # the last is the null class, whose row is zeros
        rows = torch.from_numpy(np.eye(classes + 1, classes, dtype=np.float32)[labels]) if classes else None
        level = sigma.log() / 4
        with torch.no_grad():
            out = golden.channels_last(net.unet(x, level, rows))
            denoised = golden.channels_last(net(noisy, sigma, rows))
        about = {"file": "edm2-test.pkl", "kind": "Precond", "config": sizes | settings}
        about |= {"level": level.tolist(), "sigma": SIGMAS}
        arrays = {"x": x.numpy(), "out": out, "noisy": noisy.numpy(), "denoised": denoised}
        golden.save(f"edm2_{width}", recipe, about, **arrays, **({"cond": labels} if classes else {}))


def load(path: Path) -> ModuleType:
    """The module of the networks, without what it imports of its repository: pickling, and a cache of constants."""
    persistence, misc = ModuleType("torch_utils.persistence"), ModuleType("torch_utils.misc")
    persistence.persistent_class = lambda kind: kind
    misc.const_like = lambda tensor, value: torch.as_tensor(value, dtype=tensor.dtype)
    package = ModuleType("torch_utils")
    package.persistence, package.misc = persistence, misc
    stubs = {module.__name__: module for module in (package, persistence, misc)}
    spec = importlib.util.spec_from_file_location("original_edm2", path)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, stubs):
        spec.loader.exec_module(module)
    return module
