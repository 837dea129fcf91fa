"""Images of a data set as bytes, for display, and as points, for measures.

`Splits` map "train", "validation" and "test" to (images, labels): images uint8 [n, h, w, c] with values 0 … levels − 1,
labels integers [n] or None.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Integer, UInt8

from diffjax.errors import UserError

Splits = Mapping[str, tuple[UInt8[np.ndarray, "_ ..."], Integer[np.ndarray, " _"] | None]]
SPLIT_NAMES = ("train", "validation", "test")


def as_bytes(images: UInt8[np.ndarray, "*shape"], levels: int) -> UInt8[np.ndarray, "*shape"]:
    """Pixel values 0 … levels − 1 scaled to 0 … 255 and rounded."""
    if not 2 <= levels <= 256:
        raise UserError(f"levels is {levels}: the values of a uint8 pixel number 2 to 256")
    return np.rint(images * (255 / (levels - 1))).astype(np.uint8)


def fractions(name: str, images: UInt8[np.ndarray, "n h w c"], levels: int) -> Float[np.ndarray, "n d"]:
    """Pixel values 0 … levels − 1 as fractions in [0, 1], one row per image."""
    if images.ndim != 4 or images.dtype != np.uint8:
        raise UserError(f"{name}: images of shape {images.shape} and type {images.dtype}; give uint8 [n, h, w, c]")
    if not 2 <= levels <= 256:
        raise UserError(f"levels is {levels}: the values of a uint8 pixel number 2 to 256")
    if images.size and images.max() >= levels:
        raise UserError(f"{name}: a pixel is {images.max()}, beyond {levels} levels; give the set's own levels")
    return images.reshape(len(images), -1) / (levels - 1)


def require_splits(splits: Splits) -> None:
    """Raises `UserError` if one of the three splits is missing or empty."""
    missing = [name for name in SPLIT_NAMES if name not in splits or len(splits[name][0]) == 0]
    if missing:
        raise UserError(
            f"the data set has no {' and no '.join(missing)} split: evaluation needs {', '.join(SPLIT_NAMES)}"
        )


def fractions_of(splits: Splits, levels: int) -> list[Float[np.ndarray, "_ d"]]:
    """The three splits as points, in the order of `SPLIT_NAMES`."""
    require_splits(splits)
    return [fractions(name, splits[name][0], levels) for name in SPLIT_NAMES]


def fractions_like(samples: UInt8[np.ndarray, "n h w c"], splits: Splits) -> Float[np.ndarray, "n d"]:
    """Samples as points; raises `UserError` for another size than that of the data set's images."""
    shape = splits["train"][0].shape[1:]
    if samples.shape[1:] != shape:
        raise UserError(
            f"samples are {samples.shape[1:]} (height, width, channels), the data set {shape}: give the matching set"
        )
    return fractions("samples", samples, 256)
