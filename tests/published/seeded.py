"""Random weights and inputs that NumPy makes anywhere, for a published net and for its original alike."""

from collections.abc import Mapping
from zlib import crc32

import numpy as np

Shape = tuple[int, ...]
NORMS = ("norm", "bn", "ln")  # in the names of weights that are near 1


def seeded_tensor(name: str, shape: Shape, seed: int = 0) -> np.ndarray:
    """A tensor by its name: matrices of unit gain, vectors small, scales of norms near 1; float32."""
    draw = np.random.default_rng([seed, crc32(name.encode())]).standard_normal(shape)
    if len(shape) > 1:
        draw /= np.sqrt(max(1, np.prod(shape[1:])))
    elif name.endswith("weight") and any(norm in name for norm in NORMS):
        draw = 1 + 0.2 * draw
    else:
        draw *= 0.2
    return draw.astype(np.float32)


def seeded_tensors(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """All tensors of a net by name."""
    return {name: seeded_tensor(name, shape, seed) for name, shape in shapes.items()}


def seeded_input(shape: Shape, seed: int = 1) -> np.ndarray:
    """An input [b, c, h, w] of unit variance, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
