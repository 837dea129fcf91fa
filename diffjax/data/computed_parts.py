"""Parts of a condition that are computed of the image: lines, and the image at low resolution."""

import numpy as np
from jaxtyping import Float32, Float64, UInt8

_OVERSAMPLING = 4  # of the image, in which the skeleton of thin strokes is computed

Image = UInt8[np.ndarray, "h w c"]


def draw_lines(sigma: float, levels: int, image: Image, label: int) -> Float32[np.ndarray, "h w 1"]:
    """The skeleton of the strokes with sigma 0, else the edges at that scale: see `condition_parts.sketch`."""
    pixels = _unit(image, levels)
    return _edges(sigma, pixels) if sigma else _skeleton(pixels)


def average_blocks(factor: int, noisy: bool, levels: int, image: Image, label: int) -> Float32[np.ndarray, "_ _ _"]:
    """Means of blocks of `factor` × `factor` pixels, in [−1, 1]; if `noisy`, with a channel for the noise, 0."""
    height, width, channels = image.shape
    blocks = _unit(image, levels).reshape(height // factor, factor, width // factor, factor, channels)
    picture = (2 * blocks.mean((1, 3)) - 1).astype(np.float32)
    return np.pad(picture, ((0, 0), (0, 0), (0, int(noisy))))


def unit_picture(levels: int, image: Image, label: int) -> Float32[np.ndarray, "h w c"]:
    """The picture in [−1, 1]."""
    return (2 * _unit(image, levels) - 1).astype(np.float32)


def _unit(image: Image, levels: int) -> Float64[np.ndarray, "h w c"]:
    """Levels 0 … levels − 1 as numbers in [0, 1]."""
    return np.asarray(image, np.float64) / (levels - 1)


def _skeleton(image: Float64[np.ndarray, "h w 1"]) -> Float32[np.ndarray, "h w 1"]:
    """The pixels on the skeleton of the strokes, which is computed at `_OVERSAMPLING` times the resolution."""
    from skimage.measure import block_reduce  # half a second to import, needed by few
    from skimage.morphology import skeletonize
    from skimage.transform import resize

    around = np.pad(image[..., 0], 1)
    finer = resize(around, tuple(_OVERSAMPLING * side for side in around.shape), order=3, mode="constant")
    lines = block_reduce(skeletonize(finer > 0.5), _OVERSAMPLING, np.max)
    return lines[1:-1, 1:-1, None].astype(np.float32)


def _edges(sigma: float, image: Float64[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h w 1"]:
    """The edges by Canny of the grey image."""
    from skimage.color import rgb2gray
    from skimage.feature import canny

    grey = image[..., 0] if image.shape[2] == 1 else rgb2gray(image[..., :3])
    return canny(grey, sigma, mode="nearest")[..., None].astype(np.float32)
