"""DiT of facebookresearch/DiT and SiT of willisma/SiT."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from tests.published.originals import golden, timm_stub
from tests.published.seeded import seeded_input

TIMES = {"DiT": (1.0, 50.0, 250.0, 500.0, 999.0), "SiT": (0.0, 0.02, 0.3, 0.77, 1.0)}
SIZES = {64: 8, 128: 10, 192: 6}  # of x, by width


def make(originals: Path) -> None:
    """Both families at three widths, each at five times."""
    for family, times in TIMES.items():
        models = load(originals / family / "models.py")
        for width, size in SIZES.items():
            torch.manual_seed(0)
            settings = {"input_size": size, "patch_size": 2, "in_channels": 4, "hidden_size": width, "depth": 2}
            net = vars(models)[family](**settings, num_heads=width // 64, num_classes=10)
            recipe = golden.fill(net, kept=["pos_embed"])
            x = seeded_input((len(times), 4, size, size))
            labels = np.arange(len(times)) * 2 + 2  # the last is the null class
            with torch.no_grad():
                out = net(torch.from_numpy(x), torch.tensor(times), torch.from_numpy(labels))
            if family == "SiT":
                out = -out  # of the net of `predict.velocity`
            about = {"file": f"{family}-test.pt", "level": times}
            out = golden.channels_last(out)
            golden.save(f"{family.lower()}_{width}", recipe, about, x=x, cond=labels, out=out)


def load(path: Path) -> ModuleType:
    """A module of an original by its file, under a name that no other has."""
    timm_stub.install()
    spec = importlib.util.spec_from_file_location(f"original_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
