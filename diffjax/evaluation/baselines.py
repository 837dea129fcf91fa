"""What a likelihood should beat: two models in closed form, in bits per dimension of a pixel's level.

Each is fitted to one class of the training images at a time; a class with fewer than two of them is read as if it had
all. Images are uint8 levels 0 … levels - 1, and both functions give the bits of each image.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from scipy.stats import multivariate_normal

Labelled = tuple[UInt8[np.ndarray, "_ _ _ _"], Integer[np.ndarray, " _"] | None]
Bits = Float[np.ndarray, " _"]
Rows = Bool[np.ndarray, " _"]
_DEQUANTISE = 0  # the seed


def independent_pixels(train: Labelled, images: Labelled, levels: int) -> Bits:
    """Each pixel has its own histogram of levels; half a count is added to each (Krichevsky & Trofimov 1981)."""

    def fit(some: UInt8[np.ndarray, "_ d"]) -> Callable[[np.ndarray], Bits]:
        counts = np.stack([(some == level).sum(axis=0) for level in range(levels)]) + 0.5
        bits = -np.log2(counts / counts.sum(axis=0, keepdims=True))
        return lambda others: np.take_along_axis(bits, others.astype(int), axis=0).mean(axis=1)

    return _by_class(fit, train, images)


def gaussian_per_class(train: Labelled, images: Labelled, levels: int) -> Bits:
    """A normal law of the dequantised pixels: the levels' covariance, shrunk as Ledoit & Wolf (2004) do, and 1/12.

    That is the variance of the noise, and keeps the law regular where two images are all there is of a class.
    """
    from sklearn.covariance import LedoitWolf  # a second to import

    noise = np.random.default_rng(_DEQUANTISE)

    def fit(some: UInt8[np.ndarray, "_ d"]) -> Callable[[np.ndarray], Bits]:
        law = LedoitWolf().fit(some)
        density = multivariate_normal(law.location_ + 0.5, law.covariance_ + np.eye(some.shape[1]) / 12)
        nats = some.shape[1] * np.log(2)
        return lambda others: -density.logpdf(others + noise.random(others.shape)) / nats

    return _by_class(fit, train, images)


def _by_class(fit: Callable[[np.ndarray], Callable[[np.ndarray], Bits]], train: Labelled, images: Labelled) -> Bits:
    flat, others = (part[0].reshape(len(part[0]), -1) for part in (train, images))
    bits = np.empty(len(others))
    for learnt, read in _classes(train, images):
        bits[read] = fit(flat[learnt])(others[read])
    return bits


def _classes(train: Labelled, images: Labelled) -> Iterator[tuple[Rows, Rows]]:
    """Of every class of the images, the rows to learn from, and those to read."""
    known, asked = (np.zeros(len(x), int) if labels is None else labels for x, labels in (train, images))
    for label in np.unique(asked):
        own = known == label
        yield (own if own.sum() >= 2 else np.ones_like(own)), asked == label
