"""EDM of NVlabs/edm: SongUNet as DDPM++ and NCSN++, DhariwalUNet, and what EDMPrecond makes of each."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from tests.published.originals import golden
from tests.published.seeded import seeded_input

DDPMPP = {"model_type": "SongUNet"}
NCSNPP = {
    **{"model_type": "SongUNet", "embedding_type": "fourier", "channel_mult_noise": 2},
    **{"encoder_type": "residual", "resample_filter": [1, 3, 3, 1]},
}
ADM = {"model_type": "DhariwalUNet"}
# Of each net three widths: side, label_dim, augment_dim, multipliers, blocks and sides with attention.
CASES = {
    "ddpmpp_64": (DDPMPP, 64, (8, 10, 9, [1, 2], 2, [4])),
    "ddpmpp_96": (DDPMPP, 96, (12, 0, 9, [1, 1, 2], 1, [6])),
    "ddpmpp_128": (DDPMPP, 128, (5, 3, 0, [2], 1, [5])),
    "ncsnpp_64": (NCSNPP, 64, (12, 10, 9, [1, 2, 2], 1, [6])),
    "ncsnpp_96": (NCSNPP, 96, (8, 0, 9, [1, 2], 1, [])),
    "ncsnpp_128": (NCSNPP, 128, (6, 3, 0, [1, 1], 1, [6])),
    "adm_64": (ADM, 64, (12, 10, 9, [1, 2, 3], 1, [12, 6])),
    "adm_96": (ADM, 96, (8, 0, 9, [1, 2], 1, [4])),
    "adm_128": (ADM, 128, (6, 3, 0, [1, 1], 2, [3])),
}
SIGMAS = (0.002, 0.03, 0.5, 6.0, 80.0)
DENOISERS = {"ddpmpp_128": (7, 5), "ncsnpp_96": (12, 8)}  # sides other than those of the case


def make(originals: Path) -> None:
    """Each net at five levels; and the preconditioned output of two, of images at five sigmas."""
    networks = load(originals / "edm" / "training" / "networks.py")
    for name, (form, width, sizes) in CASES.items():
        make_net(networks, f"edm_{name}", config(form, width, sizes), DENOISERS.get(name))


def config(form: dict[str, Any], width: int, sizes: tuple[int, int, int, list[int], int, list[int]]) -> dict[str, Any]:
    side, classes, augmentations, multipliers, blocks, attention = sizes
    settings = {"img_resolution": side, "img_channels": 3, "label_dim": classes, "augment_dim": augmentations}
    settings |= {"model_channels": width, "channel_mult": multipliers, "num_blocks": blocks}
    return {**settings, "attn_resolutions": attention, **form}


def make_net(networks: ModuleType, name: str, settings: dict[str, Any], sides: tuple[int, int] | None) -> None:
    torch.manual_seed(0)
    module = networks.EDMPrecond(**settings)
    kept = [key for key in module.state_dict() if key.endswith((".freqs", ".resample_filter"))]
    recipe = golden.fill(module, kept)
    about = {"file": f"{name}.pkl", "kind": "EDMPrecond", "config": settings}
    classes, count = settings["label_dim"], len(SIGMAS)
    labels = np.minimum(np.arange(count) * 3, classes)  # the last is the null class
    one_hot = torch.eye(classes + 1)[labels, :classes] if classes else None
    cond = {"cond": labels} if classes else {}
    levels = torch.tensor(SIGMAS).log() / 4
    x = seeded_input((count, 3, settings["img_resolution"], settings["img_resolution"]))
    with torch.no_grad():
        out = golden.channels_last(module.model(torch.from_numpy(x), levels, one_hot))
    golden.save(name, recipe, {**about, "level": levels.tolist()}, x=x, out=out, **cond)
    if sides:
        sigmas = torch.tensor(SIGMAS).reshape(-1, 1, 1, 1)
        noisy = (0.5**2 + sigmas**2).sqrt() * torch.from_numpy(seeded_input((count, 3, *sides), seed=2))
        with torch.no_grad():
            out = golden.channels_last(module(noisy, sigmas, one_hot))
        golden.save(f"{name}_denoiser", recipe, {**about, "sigma": SIGMAS}, x=noisy.numpy(), out=out, **cond)


def load(path: Path) -> ModuleType:
    """The original's module of nets, with a decorator that leaves its classes as they are."""
    persistence = ModuleType("torch_utils.persistence")
    persistence.persistent_class = lambda kind: kind
    package = ModuleType("torch_utils")
    package.persistence = persistence
    sys.modules |= {"torch_utils": package, "torch_utils.persistence": persistence}
    spec = importlib.util.spec_from_file_location("original_edm", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
