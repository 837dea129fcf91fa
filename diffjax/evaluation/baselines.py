"""Two likelihood baselines in closed form, in bits per dimension of discrete pixel levels.

Each is fitted to every class of the training images; a class of fewer than two images is fitted to all. Images are
uint8 with levels 0 … levels - 1. Both functions take several sets of images and return the bits of each image, by set.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8

from diffjax.utils import covariances

LabelledImages = tuple[UInt8[np.ndarray, "_ _ _ _"], Integer[np.ndarray, " _"] | None]
Bits = Float[np.ndarray, " _"]
Fit = Callable[[UInt8[np.ndarray, "_ d"]], Callable[[UInt8[np.ndarray, "_ d"], np.random.Generator], Bits]]
_DEQUANTISE = 0  # the seed


def independent_pixels(train: LabelledImages, sets: Sequence[LabelledImages], levels: int) -> list[Bits]:
    """A histogram of levels for each pixel, with half a count added to each level (Krichevsky & Trofimov 1981)."""

    def fit_histograms(train_rows: UInt8[np.ndarray, "_ d"]) -> Callable[[np.ndarray, np.random.Generator], Bits]:
        counts = np.stack([(train_rows == level).sum(axis=0) for level in range(levels)]) + 0.5
        bits = -np.log2(counts / counts.sum(axis=0, keepdims=True))
        return lambda rows, _: np.take_along_axis(bits, rows.astype(int), axis=0).mean(axis=1)

    return _by_class(fit_histograms, train, sets)


def gaussian_per_class(train: LabelledImages, sets: Sequence[LabelledImages], levels: int) -> list[Bits]:
    """A Gaussian of the dequantised pixels: the covariance of the levels, shrunk (Ledoit & Wolf 2004), plus 1/12.

    The variance 1/12 of the dequantisation noise keeps the Gaussian regular for a class of two images. Time grows with
    min(n, d)³ for n images of d values.
    """
    return _by_class(_normal, train, sets)


def _normal(train_rows: UInt8[np.ndarray, "_ d"]) -> Callable[[np.ndarray, np.random.Generator], Bits]:
    """One variance per eigenvector of the covariance, and one for all other directions."""
    axes = covariances.axes(train_rows)
    spectrum = axes.spectrum
    rest = spectrum.shrinkage * spectrum.mean_variance + 1 / 12
    variances = (1 - spectrum.shrinkage) * spectrum.variances + rest
    log_det = np.log(variances).sum() + (spectrum.dim - len(variances)) * np.log(rest)

    def bits(others: UInt8[np.ndarray, "_ d"], noise: np.random.Generator) -> Bits:
        x = others + noise.random(others.shape) - 0.5
        square = np.square(x - axes.mean).sum(1) / rest
        square += (1 / variances - 1 / rest) @ np.square(covariances.along(axes, train_rows, x))
        return (square + log_det + spectrum.dim * np.log(2 * np.pi)) / (2 * spectrum.dim * np.log(2))

    return bits


def _by_class(fit: Fit, train: LabelledImages, sets: Sequence[LabelledImages]) -> list[Bits]:
    """Every class is fitted once, and the dequantisation noise is the same for every set."""
    flat = train[0].reshape(len(train[0]), -1)
    known = _labels(train)
    bits_by_set = [np.empty(len(images)) for images, _ in sets]
    noises = [np.random.default_rng(_DEQUANTISE) for _ in sets]
    for label in np.unique(np.concatenate([_labels(labelled_set) for labelled_set in sets])):
        class_mask = known == label
        read = fit(flat[class_mask] if class_mask.sum() >= 2 else flat)
        for bits, noise, labelled_set in zip(bits_by_set, noises, sets, strict=True):
            mask = _labels(labelled_set) == label
            if mask.any():
                bits[mask] = read(labelled_set[0][mask].reshape(mask.sum(), -1), noise)
    return bits_by_set


def _labels(images: LabelledImages) -> Integer[np.ndarray, " _"]:
    return np.zeros(len(images[0]), int) if images[1] is None else images[1]
