"""Pictures whose density is known: soft shapes of ten classes, drawn without end from a law in closed form.

A picture is a shape by a formula, moved, sized, thickened and turned a little (to first order, so that the law stays
normal), lit from some side, with grain. Each class has four components: large or small, light on dark or dark on light.
"""

import functools
from collections.abc import Callable, Mapping
from math import isqrt

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float32, Float64, Int32, Key, UInt32

from diffjax.data.splits import Dataset, GeneratedSplit
from diffjax.distributions import Mixture
from diffjax.errors import UserError
from diffjax.utils.prng import fold_index

TRAIN_COUNT, HELD_OUT_COUNT = 2**31, 2_000  # examples of training: more than a run sees; of validation, and of test
SEED = 16  # a part of the set, like its name
GRAIN, EDGE = 0.06, 0.15  # standard deviation of each pixel's own noise; how soft a shape's outline is
SIZES, TONES = (0.8, 0.55), (0.75, -0.75)  # half the width of a shape, 1 being half the picture's; its brightness
PREFIX, SIDES = "known", (8, 64)

Grid = Float64[np.ndarray, "h w"]
Shape = Callable[[Grid, Grid, float], Grid]  # (x to the right, y up, extra thickness) -> below 0 inside, of size 1


def _bars(x: Grid, y: Grid, thick: float) -> Grid:
    a, b = np.abs(x), np.abs(y)
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
# What changes from picture to picture, and its standard deviation.
VARIATIONS = {
    "right": 0.08,
    "up": 0.08,
    "larger": 0.08,
    "thicker": 0.03,
    "turned": 0.08,
    "tone": 0.12,
    "lit": 0.15,
    "sky": 0.1,
}


def open_known(name: str, image_size: int | None = None) -> Dataset:
    """The set `known16`, of pictures 16 pixels wide, or of another width; its `law` is what they are drawn from.

    Example i of a split is a function of i alone: training has 2³¹, none of which a run sees twice, validation and test
    2,000 each. Pixels are real numbers, most of them in [-1, 1].
    """
    side = int(name.removeprefix(PREFIX))
    if not SIDES[0] <= side <= SIDES[1]:
        raise UserError(f"data set {name!r}: expected {SIDES[0]} … {SIDES[1]} pixels a side; write {PREFIX}16, or so")
    if image_size not in (None, side):
        raise UserError(
            f"image_size: pictures of a known law are not scaled, got {image_size}; write {PREFIX}{image_size}"
        )
    law, shape = shapes_density(side), (side, side, 1)
    shares = (1 / len(SHAPES),) * len(SHAPES)
    counts = {"train": TRAIN_COUNT, "validation": HELD_OUT_COUNT, "test": HELD_OUT_COUNT}
    roots = jax.random.split(jax.random.key(SEED), len(counts))
    splits = {
        split: GeneratedSplit(count, Partial(_examples, law, root), shares)
        for (split, count), root in zip(counts.items(), roots, strict=True)
    }
    return Dataset(name, shape, len(SHAPES), tuple(SHAPES), 256, splits, law)


@functools.cache
def shapes_density(side: int) -> Mixture:
    """The law of the pictures of so many pixels a side."""
    kinds = [(shape, size, tone) for shape in SHAPES.values() for size in SIZES for tone in TONES]
    steps = np.concatenate(
        [np.zeros((1, len(VARIATIONS))), 1e-3 * np.eye(len(VARIATIONS)), -1e-3 * np.eye(len(VARIATIONS))]
    )
    pictures = np.stack([[_picture(*kind, side, *step) for step in steps] for kind in kinds])
    means, plus, minus = np.split(pictures, [1, 1 + len(VARIATIONS)], axis=1)
    factors = np.swapaxes(plus - minus, 1, 2) / 2e-3 * np.array([*VARIATIONS.values()])  # central differences
    return Mixture(
        log_weights=jnp.full(len(kinds), -np.log(len(kinds))),
        means=jnp.asarray(means[:, 0], jnp.float32),
        factors=jnp.asarray(factors, jnp.float32),
        floors=jnp.full((len(kinds), side**2), GRAIN**2),
        classes=jnp.repeat(jnp.arange(len(SHAPES)), len(kinds) // len(SHAPES)),
    )


def _picture(
    shape: Shape,
    size: float,
    tone: float,
    side: int,
    right: float,
    up: float,
    larger: float,
    thicker: float,
    angle: float,
    brighter: float,
    light: float,
    sky: float,
) -> Float64[np.ndarray, " d"]:
    """The pixels of a shape that is changed in these ways."""
    at = (2 * np.arange(side) + 1) / side - 1
    x, y = at[None, :], -at[:, None]
    scale = size * (1 + larger)
    across, along = (x - right) / scale, (y - up) / scale
    sine, cosine = np.sin(angle), np.cos(angle)
    outline = shape(cosine * across + sine * along, cosine * along - sine * across, thicker / size) * scale
    inside = (1 - np.tanh(outline / EDGE)) / 2
    return ((2 * tone + brighter) * inside - tone + light * x + sky * y).ravel()


def _examples(
    law: Mixture, root: Key[Array, ""], ids: UInt32[Array, " b"]
) -> tuple[Float32[Array, "b h w 1"], Int32[Array, " b"]]:
    """The pictures of these numbers, and their classes."""
    x, classes = jax.vmap(law.draw)(fold_index(root, ids))
    side = isqrt(x.shape[1])
    return x.reshape(-1, side, side, 1), classes
