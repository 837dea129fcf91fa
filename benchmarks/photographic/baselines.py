"""What needs no diffusion model: interpolation, biharmonic filling, the nearest training patch, a Gaussian field."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from PIL import Image
from skimage.restoration import inpaint_biharmonic

from diffjax.oracles.stationary_field import field_posterior
from photographic.measures import Images, in_blocks

BLOCK = 256  # training patches whose distances are taken at once


class Field(NamedTuple):
    """A stationary Gaussian field as a model of pictures: each channel's mean, and the correlations of neighbours."""

    mean: Float64[np.ndarray, " c"]
    down: float
    across: float


def block_means(images: Images, factor: int) -> Images:
    """The pictures at low resolution."""
    count, height, width, channels = images.shape
    return images.reshape(count, height // factor, factor, width // factor, factor, channels).mean((2, 4))


def resampled(low: Images, factor: int, filter: Image.Resampling) -> Images:
    """Pictures enlarged by one of Pillow's filters, in floating point, clipped to [0, 1]."""
    height, width = factor * low.shape[1], factor * low.shape[2]

    def enlarge(plane: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "_ _"]:
        image = Image.fromarray(plane.astype(np.float32))
        return np.asarray(image.resize((width, height), filter), np.float64)

    enlarged = [np.stack([enlarge(picture[..., c]) for c in range(low.shape[3])], axis=-1) for picture in low]
    return np.clip(np.stack(enlarged), 0, 1)


def biharmonic(images: Images, hidden: Bool[np.ndarray, "h w"]) -> Images:
    """The hidden pixels by biharmonic equations of those around them (Chui & Mhaskar 2010), by scikit-image."""
    return np.clip([inpaint_biharmonic(image, hidden, channel_axis=-1) for image in images], 0, 1)


def nearest(images: Images, train: Images, seen: Bool[np.ndarray, "h w"] | int) -> Images:
    """For each picture the training patch that is nearest to what is seen of it: pixels, or means of such blocks."""

    def view(pictures: Images) -> Float64[np.ndarray, "n _"]:
        shown = block_means(pictures, seen) if isinstance(seen, int) else pictures[:, seen]
        return shown.reshape(len(pictures), -1)

    rows = view(images)
    best = np.full(len(images), np.inf)
    found = np.zeros(len(images), int)
    for block in in_blocks(len(train), BLOCK):
        candidates = view(train[block])
        distances = (candidates**2).sum(1) - 2 * rows @ candidates.T
        at = distances.argmin(1)
        closer = distances[np.arange(len(rows)), at] < best
        found[closer] = block.start + at[closer]
        best = np.minimum(best, distances.min(1))
    return train[found]


def fit_field(train: Images) -> Field:
    """The field with the means of the training patches and the correlations of their neighbours."""
    mean = train.mean((0, 1, 2))
    centred = train - mean
    variance = float(np.mean(centred**2))
    down = float(np.mean(centred[:, 1:] * centred[:, :-1])) / variance
    across = float(np.mean(centred[:, :, 1:] * centred[:, :, :-1])) / variance
    return Field(mean, down, across)


def field_means(low: Images, factor: int, field: Field) -> Images:
    """The field's mean given block means, exactly."""
    sizes = [factor * side for side in low.shape[1:3]]
    correlations = (field.down, field.across)
    means = [field_posterior(picture - field.mean, factor, sizes, correlations).mean for picture in low]
    return np.clip(np.stack(means) + field.mean, 0, 1)
