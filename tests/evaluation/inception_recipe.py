"""Random weights and images by a rule that needs NumPy alone, and what a reference makes of them.

`python tests/evaluation/inception_recipe.py`, where PyTorch and torch-fidelity 0.4.0 are installed, writes the golden
data anew: what torch-fidelity's `FeatureExtractorInceptionV3` and `interpolate_bilinear_2d_like_tensorflow1x` give.
"""

import sys
import tempfile
from pathlib import Path
from zlib import crc32

import numpy as np

GOLDEN = Path(__file__).parent / "data" / "inception.npz"
SIZES = {"small": (32, 32), "oblong": (64, 48), "own": (299, 299)}  # height, width
RESIZED = {"larger": (32, 48), "smaller": (400, 310)}
EVERY = 13  # pixels of a resized image are kept, along both sides


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """In [0, 1), multiples of 2⁻²⁴; the raw stream of PCG64 is the same in every version of NumPy."""
    raw = np.random.PCG64(crc32(name.encode())).random_raw(int(np.prod(shape)))
    return ((raw >> 40) / 2**24).reshape(shape).astype(np.float32)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights that keep the scale of what passes through, and statistics that are far from 0 and 1."""
    drawn = uniform(name, shape)
    if name.endswith(("running_var", "bn.weight")):
        return drawn + np.float32(0.5)
    if name.endswith("weight"):
        return (drawn - np.float32(0.5)) * np.float32((24 / np.prod(shape[1:])) ** 0.5)  # of variance 2 / inputs
    return (drawn - np.float32(0.5)) * np.float32(0.5)


def image(name: str, size: tuple[int, int]) -> np.ndarray:
    """Noise on a slope of colours, uint8 [1, h, w, 3]."""
    slope = np.add.outer(np.arange(size[0]), np.arange(size[1]))[None, :, :, None] / sum(size)
    return (127 * uniform(name, (1, *size, 3)) + 128 * slope).astype(np.uint8)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A tensor for each name."""
    return {name: tensor(name, shape) for name, shape in shapes.items()}


def reference(tensors: dict[str, np.ndarray]):
    """torch-fidelity's net with these weights: uint8 [b, 3, h, w] into (pool3, logits without bias)."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        state = {name: torch.from_numpy(value) for name, value in tensors.items()}
        torch.save(state | {"fc.bias": torch.zeros(len(state["fc.weight"]))}, file.name)
        return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], file.name)


def main() -> None:
    import torch
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as resize

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from diffjax.evaluation import inception_weights

    def planes(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())

    net, found = reference(weights(inception_weights.tensor_shapes())), {}
    for name, size in SIZES.items():
        found[f"{name}_pool3"], found[f"{name}_logits"] = (part[0].numpy() for part in net(planes(image(name, size))))
    for name, size in RESIZED.items():
        resized = resize(planes(image(name, size)).float(), size=(299, 299), align_corners=False)
        found[name] = resized.permute(0, 2, 3, 1).numpy()[:, ::EVERY, ::EVERY]
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN, **found)
    print(f"{GOLDEN}: {GOLDEN.stat().st_size:,} bytes", {name: float(value.std()) for name, value in found.items()})


if __name__ == "__main__":
    main()
