"""Synthetic images of known density: soft shapes of ten classes, generated from a Gaussian mixture in closed form.

An image is a shape given by a formula, slightly shifted, scaled, thickened and rotated (to first order, so that it
stays Gaussian), with a light gradient and pixel noise. Each class has four components: large or small, bright or dark.
"""

import functools
from collections.abc import Callable, Mapping
from math import isqrt
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float32, Float64, Int32, Key, UInt32

from diffjax.data.aspect_buckets import Buckets
from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.splits import Dataset
from diffjax.distributions import Mixture
from diffjax.errors import UserError
from diffjax.utils.image_fit import Size
from diffjax.utils.prng import fold_index

TRAIN_COUNT = 2**31  # training examples, more than a run sees
HELD_OUT_COUNT = 2_000  # validation examples, and test examples
SEED = 16  # a part of the set, like its name
GRAIN = 0.06  # standard deviation of the pixel noise
EDGE = 0.15  # width of the soft outline, in half widths of the image
SIZES = (0.8, 0.55)  # half widths of shapes, in half widths of the image
TONES = (0.75, -0.75)  # brightness of shapes
PREFIX = "known"
SIDES = (8, 64)  # smallest and largest, in pixels

Grid = Float64[np.ndarray, "h w"]
Shape = Callable[[Grid, Grid, float], Grid]  # (x to the right, y up, extra thickness) -> negative inside, at size 1


def _bars(x: Grid, y: Grid, thick: float) -> Grid:
    a = np.abs(x)
    b = np.abs(y)
    return np.minimum(np.maximum(a - 0.24 - thick, b - 1), np.maximum(b - 0.24 - thick, a - 1))


def _moon(x: Grid, y: Grid, thick: float) -> Grid:
    return np.maximum(np.hypot(x, y) - 1 - thick, 0.78 - thick - np.hypot(x - 0.5, y - 0.2))


def _heart(x: Grid, y: Grid, thick: float) -> Grid:
    return np.hypot(x, 1.15 * y + 0.2 - 0.72 * np.sqrt(np.sqrt(x**2 + 0.01))) - 0.88 - thick


SHAPES: Mapping[str, Shape] = {
    "disc": lambda x, y, thick: np.hypot(x, y) - 0.85 - thick,
    "ring": lambda x, y, thick: np.abs(np.hypot(x, y) - 0.8) - 0.2 - thick,
    "square": lambda x, y, thick: np.maximum(np.abs(x), np.abs(y)) - 0.82 - thick,
    "frame": lambda x, y, thick: np.abs(np.maximum(np.abs(x), np.abs(y)) - 0.75) - 0.18 - thick,
    "plus": _bars,
    "cross": lambda x, y, thick: _bars((x + y) / 2**0.5, (x - y) / 2**0.5, thick),
    "triangle": lambda x, y, thick: np.maximum(0.87 * np.abs(x) + y / 2, -y) - 0.55 - thick,
    "star": lambda x, y, thick: 0.7 * (np.hypot(x, y) - 0.75 - 0.3 * np.sin(5 * np.arctan2(y, x))) - thick,
    "moon": _moon,
    "heart": _heart,
}


class Variation(NamedTuple):
    """The latent variables of an image."""

    right: float  # shift, in half widths of the image
    up: float
    scale: float  # relative change of size
    thickness: float
    angle: float  # radians
    tone: float  # change of contrast
    light_x: float  # brightness gradients
    light_y: float


DEVIATIONS = Variation(0.08, 0.08, 0.08, 0.03, 0.08, 0.12, 0.15, 0.1)  # standard deviations of the latent variables


def open_known(name: str, size: Size | Buckets | None = None) -> Dataset:
    """The set `known16`, of images 16 pixels wide, or of another width; `dataset.distribution` is theirs.

    Example i of a split is a function of i alone: training has 2³¹, none of which a run sees twice, validation and test
    2,000 each. Pixels are real numbers, most of them in [-1, 1]. Raises `UserError` for a width outside of `SIDES`.
    """
    side = int(name.removeprefix(PREFIX))
    if not SIDES[0] <= side <= SIDES[1]:
        raise UserError(f"data set {name!r}: expected {SIDES[0]} … {SIDES[1]} pixels a side; write {PREFIX}16, or so")
    if size not in (None, (side, side)):
        width = size[1] if isinstance(size, tuple) else side
        raise UserError(
            f"image_size: images of a known distribution are not scaled; write {PREFIX}{width}, and leave it out"
        )
    distribution = shapes_density(side)
    shares = (1 / len(SHAPES),) * len(SHAPES)
    counts = {"train": TRAIN_COUNT, "validation": HELD_OUT_COUNT, "test": HELD_OUT_COUNT}
    roots = jax.random.split(jax.random.key(SEED), len(counts))
    splits = {
        split: GeneratedSplit(count, Partial(_examples, distribution, root), shares)
        for (split, count), root in zip(counts.items(), roots, strict=True)
    }
    return Dataset(name, (side, side, 1), len(SHAPES), tuple(SHAPES), 256, splits, distribution, encoded=False)


@functools.cache
def shapes_density(side: int) -> Mixture:
    """The density of images with `side` pixels a side: a low-rank Gaussian per shape, size and tone."""
    kinds = [(shape, size, tone) for shape in SHAPES.values() for size in SIZES for tone in TONES]
    count = len(DEVIATIONS)
    steps = np.concatenate([np.zeros((1, count)), 1e-3 * np.eye(count), -1e-3 * np.eye(count)])
    images = np.stack([[_render(*kind, side, Variation(*step)) for step in steps] for kind in kinds])
    means, plus, minus = np.split(images, [1, 1 + count], axis=1)
    factors = np.swapaxes(plus - minus, 1, 2) / 2e-3 * np.array(DEVIATIONS)  # central differences
    return Mixture(
        log_weights=jnp.full(len(kinds), -np.log(len(kinds))),
        means=jnp.asarray(means[:, 0], jnp.float32),
        factors=jnp.asarray(factors, jnp.float32),
        floors=jnp.full((len(kinds), side**2), GRAIN**2),
        classes=jnp.repeat(jnp.arange(len(SHAPES)), len(kinds) // len(SHAPES)),
    )


def _render(shape: Shape, size: float, tone: float, side: int, change: Variation) -> Float64[np.ndarray, " d"]:
    """The pixels of a shape of this half width and brightness, changed by the latent variables."""
    at = (2 * np.arange(side) + 1) / side - 1
    x = at[None, :]
    y = -at[:, None]
    scale = size * (1 + change.scale)
    across = (x - change.right) / scale
    along = (y - change.up) / scale
    sine = np.sin(change.angle)
    cosine = np.cos(change.angle)
    outline = shape(cosine * across + sine * along, cosine * along - sine * across, change.thickness / size) * scale
    inside = (1 - np.tanh(outline / EDGE)) / 2
    return ((2 * tone + change.tone) * inside - tone + change.light_x * x + change.light_y * y).ravel()


def _examples(
    distribution: Mixture, root: Key[Array, ""], ids: UInt32[Array, " b"]
) -> tuple[Float32[Array, "b h w 1"], Int32[Array, " b"]]:
    """The images with these ids, and their classes."""
    x, classes = jax.vmap(distribution.draw)(fold_index(root, ids))
    side = isqrt(x.shape[1])
    return x.reshape(-1, side, side, 1), classes
