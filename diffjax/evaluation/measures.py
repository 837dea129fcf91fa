"""What is reported of samples: five measures against a data set, and what real images get in the same five.

Images become points by flattening their pixels, as fractions in [0, 1]. A data set is a mapping from "train",
"validation" and "test" to (images, labels): images uint8 [n, h, w, c] with values 0 … levels − 1, labels integers
[n], or None where there are none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float, Integer, UInt8

from diffjax.errors import UserError
from diffjax.evaluation.classifiers import label_accuracy, two_sample_accuracy
from diffjax.evaluation.gaussians import frechet
from diffjax.evaluation.kernels import mmd2
from diffjax.evaluation.neighbours import copies, nearest

Splits = Mapping[str, tuple[UInt8[np.ndarray, "_ _ _ _"], Integer[np.ndarray, " _"] | None]]
NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Kernels:
    """Widths of the three RBF kernels, for pixels in [0, 1].

    The defaults suit the 64 pixels of scikit-learn's digits. Squared distances grow with the number of pixels:
    for other images use `kernels_for(pixels)`, or choose the widths yourself and print them beside the scores.
    """

    sigma: float = 25 / 16  # of MMD²: exp(−d² / 2σ²)
    two_sample_gamma: float = 0.384  # of the two-sample test: exp(−γ d²)
    two_sample_C: float = 3.0  # its penalty
    accuracy_gamma: float = 0.256  # of the classifier that checks labels


DIGITS = Kernels()


@dataclass(frozen=True)
class Scores:
    """The five measures of a set of images; `accuracy` is None where there are no labels."""

    frechet_ratio: float  # Fréchet distance to the test images, over that of the training images: 1 is as good as real
    mmd2: float  # unbiased, to the test images: 0 is ideal, negative is chance
    two_sample: float  # accuracy of telling them from test images: 0.5 is ideal
    accuracy: float | None  # share whose label a classifier trained on real images confirms
    copies: float  # share as near to a training image as the nearest 1 % of the test images are


def kernels_for(pixels: int) -> Kernels:
    """The digits' kernels for images of `pixels` values (h·w·c): σ ∝ √pixels, γ ∝ 1/pixels, the same at 64."""
    if pixels < 1:
        raise UserError(f"pixels is {pixels}: give height times width times channels")
    size = pixels / 64
    return Kernels(
        sigma=DIGITS.sigma * sqrt(size),
        two_sample_gamma=DIGITS.two_sample_gamma / size,
        two_sample_C=DIGITS.two_sample_C,
        accuracy_gamma=DIGITS.accuracy_gamma / size,
    )


def scores(
    samples: UInt8[np.ndarray, "n h w c"],
    labels: Integer[np.ndarray, " n"] | None,
    splits: Splits,
    levels: int,
    *,
    kernels: Kernels = DIGITS,
    draws: int = 3,
    seed: int = 0,
) -> Scores:
    """The five measures of samples, uint8 scaled to 0 … 255, with the labels they were asked for.

    The two-sample test takes as many samples as there are test images, `draws` times from `seed`, and is the mean.
    The Fréchet distance falls as images are added: the ratio is fair for as many samples as there are training
    images, and 180 real digits beside 1,257 get 2.0. Time grows with the square of the number of images; pass a part
    of each split for sets above some 10,000.
    """
    train, _, test = fractions_of(splits, levels)
    x = fractions_like(samples, splits)
    real_labels = splits["train"][1]
    floor = frechet(train, test)
    if floor <= 1e-12 * np.square(train).mean():
        raise UserError("the train and test splits hold the same images: give splits without overlap")
    return Scores(
        frechet_ratio=frechet(x, test) / floor,
        mmd2=mmd2(x, test, kernels.sigma),
        two_sample=two_sample_accuracy(x, test, kernels.two_sample_gamma, kernels.two_sample_C, draws, seed),
        accuracy=optional_accuracy(train, real_labels, x, labels, kernels.accuracy_gamma),
        copies=copies(x, train, test),
    )


def real_scores(
    splits: Splits,
    levels: int,
    *,
    kernels: Kernels = DIGITS,
    draws: int = 3,
    seed: int = 0,
) -> Scores:
    """What real images get in the five measures: nobody should hope for much better, or worry about no worse.

    Distances are those of the training images to the test images (the Fréchet ratio is therefore 1); accuracy and
    copies are those of the validation images, on which nothing was trained.
    """
    train, validation, test = fractions_of(splits, levels)
    gamma, C = kernels.two_sample_gamma, kernels.two_sample_C
    labels = splits["train"][1], splits["validation"][1]
    return Scores(
        frechet_ratio=1.0,
        mmd2=mmd2(train, test, kernels.sigma),
        two_sample=two_sample_accuracy(train, test, gamma, C, draws, seed),
        accuracy=optional_accuracy(train, labels[0], validation, labels[1], kernels.accuracy_gamma),
        copies=copies(validation, train, test),
    )


def nearest_images(
    samples: UInt8[np.ndarray, "n h w c"], splits: Splits, levels: int
) -> tuple[UInt8[np.ndarray, "n h w c"], Float[np.ndarray, " n"]]:
    """The training image nearest to each sample, scaled to 0 … 255, and its distance (of pixels in [0, 1])."""
    train, _, _ = fractions_of(splits, levels)
    distances, indices = nearest(fractions_like(samples, splits), train)
    return as_bytes(splits["train"][0][indices], levels), distances


def as_bytes(images: UInt8[np.ndarray, "*shape"], levels: int) -> UInt8[np.ndarray, "*shape"]:
    """Pixel values 0 … levels − 1 spread over 0 … 255, rounded: the scale of samples and of pictures."""
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


def require(splits: Splits) -> None:
    """Refuses a data set without one of the three splits."""
    missing = [name for name in NAMES if name not in splits or len(splits[name][0]) == 0]
    if missing:
        raise UserError(f"the data set has no {' and no '.join(missing)} split: evaluation needs {', '.join(NAMES)}")


def fractions_of(splits: Splits, levels: int) -> list[Float[np.ndarray, "_ d"]]:
    """The three splits as points, in the order of `NAMES`."""
    require(splits)
    return [fractions(name, splits[name][0], levels) for name in NAMES]


def fractions_like(samples: UInt8[np.ndarray, "n h w c"], splits: Splits) -> Float[np.ndarray, "n d"]:
    """Samples as points; refuses those of another size than the data set's images."""
    ours, theirs = samples.shape[1:], splits["train"][0].shape[1:]
    if ours != theirs:
        raise UserError(
            f"samples are {ours} (height, width, channels), the data set {theirs}: name the set they imitate"
        )
    return fractions("samples", samples, 256)


def optional_accuracy(
    train_x: Float[np.ndarray, "m d"],
    train_y: Integer[np.ndarray, " m"] | None,
    x: Float[np.ndarray, "n d"],
    y: Integer[np.ndarray, " n"] | None,
    gamma: float,
) -> float | None:
    """Label accuracy, or None where either side has no labels."""
    return None if train_y is None or y is None else label_accuracy(train_x, train_y, x, y, gamma)
