"""The lines of a picture: the skeletons of strokes, and edges."""

import numpy as np
from jaxtyping import Float32, Float64

_OVERSAMPLING = 4  # of the image, in which the skeleton of thin strokes is computed


def skeleton(image: Float64[np.ndarray, "h w 1"]) -> Float32[np.ndarray, "h w 1"]:
    """The pixels on the skeleton of the strokes, which is computed at `_OVERSAMPLING` times the resolution."""
    from skimage.measure import block_reduce  # half a second to import, needed by few
    from skimage.morphology import skeletonize
    from skimage.transform import resize

    around = np.pad(image[..., 0], 1)
    finer = resize(around, tuple(_OVERSAMPLING * side for side in around.shape), order=3, mode="constant")
    lines = block_reduce(skeletonize(finer > 0.5), _OVERSAMPLING, np.max)
    return lines[1:-1, 1:-1, None].astype(np.float32)


def edges(sigma: float, image: Float64[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h w 1"]:
    """The edges by Canny of the grey image."""
    from skimage.color import rgb2gray
    from skimage.feature import canny

    grey = image[..., 0] if image.shape[2] == 1 else rgb2gray(image[..., :3])
    return canny(grey, sigma, mode="nearest")[..., None].astype(np.float32)
