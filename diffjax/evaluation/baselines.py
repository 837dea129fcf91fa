"""What a likelihood should beat: two models in closed form, in bits per dimension of a pixel's level.

Each is fitted to one class of the training images at a time; a class with fewer than two of them is read as if it had
all. Images are uint8 levels 0 … levels - 1; both functions take several sets of them, and give for each set the bits of
each image.
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
    """Each pixel has its own histogram of levels; half a count is added to each (Krichevsky & Trofimov 1981)."""

    def fit_histograms(train_rows: UInt8[np.ndarray, "_ d"]) -> Callable[[np.ndarray, np.random.Generator], Bits]:
        counts = np.stack([(train_rows == level).sum(axis=0) for level in range(levels)]) + 0.5
        bits = -np.log2(counts / counts.sum(axis=0, keepdims=True))
        return lambda rows, _: np.take_along_axis(bits, rows.astype(int), axis=0).mean(axis=1)

    return _by_class(fit_histograms, train, sets)


def gaussian_per_class(train: LabelledImages, sets: Sequence[LabelledImages], levels: int) -> list[Bits]:
    """A normal law of the dequantised pixels: the levels' covariance, shrunk as Ledoit & Wolf (2004) do, and 1/12.

    That is the variance of the noise, and keeps the law regular where two images are all there is of a class. Time
    grows with min(n, d)³ of n images of d values.
    """
    return _by_class(_normal, train, sets)


def _normal(train_rows: UInt8[np.ndarray, "_ d"]) -> Callable[[np.ndarray, np.random.Generator], Bits]:
    """Along the eigenvectors of n images a variance for each, and one variance everywhere else."""
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
    """Every class is fitted once, and the noise of dequantisation is the same for every set."""
    flat, known = train[0].reshape(len(train[0]), -1), _labels(train)
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
