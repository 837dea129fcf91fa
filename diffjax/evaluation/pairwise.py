"""Tables of points, one row each: what is asked of them, and their squared distances a block at a time."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Float64

from diffjax.errors import UserError

BLOCK = 512  # rows worked on at once: their distances to 50,000 points take 200 MB
SquaredDistances = Callable[[Float[np.ndarray, "_ _"]], Float64[np.ndarray, "_ _"]]


def validate_points(name: str, x: np.ndarray, min_rows: int) -> Float[np.ndarray, "_ _"]:
    """x as a table of float32 or float64, with at least `min_rows` rows; `name` is what the message calls it."""
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise UserError(f"{name} has shape {x.shape}: give one row per point, as x.reshape(len(x), -1) does")
    if len(x) < min_rows:
        raise UserError(f"{name} has {len(x)} rows: give at least {min_rows}")
    if not all(np.isfinite(x[rows]).all() for rows in blocks(len(x))):
        raise UserError(f"{name} holds NaN or infinities: drop or mend those rows first")
    return x


def validate_pair(
    a: np.ndarray, b: np.ndarray, min_rows: int
) -> tuple[Float[np.ndarray, "_ d"], Float[np.ndarray, "_ d"]]:
    """Two tables of points of one dimension, called a and b, with at least `min_rows` rows each."""
    a, b = validate_points("a", a, min_rows), validate_points("b", b, min_rows)
    check_same_dimension(a, b)
    return a, b


def check_same_dimension(a: np.ndarray, b: np.ndarray) -> None:
    """Refuses points of different dimensions."""
    if a.shape[-1] != b.shape[-1]:
        raise UserError(f"the points have {a.shape[-1]} and {b.shape[-1]} values each: compare images of one size")


def blocks(count: int) -> list[slice]:
    """Slices of at most `BLOCK` rows that cover range(count)."""
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def squared_distances_to(b: Float[np.ndarray, "m d"]) -> SquaredDistances:
    """The function that gives |xᵢ − bⱼ|² as [n, m], for a block of points x [n, d].

    By |x|² + |b|² − 2 x·b about the mean of b: one matrix product, its rounding relative to the width of the cloud
    and not to its place; what falls below zero is zero.
    """
    centre = b.mean(0, dtype=np.float64)
    lengths = np.concatenate([np.square(b[rows] - centre).sum(1) for rows in blocks(len(b))])

    def squared(x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n m"]:
        x = x - centre
        distances = np.empty((len(x), len(b)))
        for rows in blocks(len(b)):
            np.matmul(x, (b[rows] - centre).T, out=distances[:, rows])
        distances *= -2
        distances += np.square(x).sum(1)[:, None]
        distances += lengths
        return np.maximum(distances, 0, out=distances)

    return squared


def squared_distance_rows(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]
) -> Iterator[tuple[slice, Float64[np.ndarray, "_ m"]]]:
    """Rows of a, and their squared distances to all of b, a block at a time."""
    squared = squared_distances_to(b)
    return ((rows, squared(a[rows])) for rows in blocks(len(a)))
