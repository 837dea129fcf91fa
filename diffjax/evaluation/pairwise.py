"""Tables of points, one per row: their validation, and squared distances computed in blocks of rows."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float64

from diffjax.errors import UserError

BLOCK = 512  # rows per block: their distances to 50,000 points take 200 MB


def validate_points(name: str, x: np.ndarray, min_rows: int) -> Float[np.ndarray, "_ _"]:
    """x as a table of float32 or float64.

    Raises `UserError`, naming the table `name`, for another shape, NaN or infinities, or fewer than `min_rows` rows.
    """
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise UserError(f"{name} has shape {x.shape}: give one row per point, as x.reshape(len(x), -1) does")
    if len(x) < min_rows:
        raise UserError(f"{name} has {len(x)} rows: give at least {min_rows}")
    if not all(np.isfinite(x[rows]).all() for rows in blocks(len(x))):
        raise UserError(f"{name} holds NaN or infinities: drop or correct those rows")
    return x


def validate_pair(
    a: np.ndarray, b: np.ndarray, min_rows: int
) -> tuple[Float[np.ndarray, "_ d"], Float[np.ndarray, "_ d"]]:
    """Two tables of points of equal width, named a and b in messages, with at least `min_rows` rows each."""
    a = validate_points("a", a, min_rows)
    b = validate_points("b", b, min_rows)
    check_same_dimension(a, b)
    return a, b


def check_same_dimension(a: np.ndarray, b: np.ndarray) -> None:
    """Raises `UserError` for points of different width."""
    if a.shape[-1] != b.shape[-1]:
        raise UserError(f"the points have {a.shape[-1]} and {b.shape[-1]} values each: compare images of one size")


def blocks(count: int) -> list[slice]:
    """Slices of at most `BLOCK` rows that cover range(count)."""
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def squared_distance_rows(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]
) -> Iterator[tuple[slice, Float64[np.ndarray, "_ m"]]]:
    """Rows of a and their |aᵢ − bⱼ|², a block of rows at a time.

    By |a|² + |b|² − 2 a·b about the mean of b: one matrix product per block, whose rounding is relative to the spread
    of the points and not to their location. Negative values are set to zero.
    """
    centre = b.mean(0, dtype=np.float64)
    lengths = np.concatenate([np.square(b[rows] - centre).sum(1) for rows in blocks(len(b))])
    for rows in blocks(len(a)):
        x = a[rows] - centre
        distances = np.empty((len(x), len(b)))
        for columns in blocks(len(b)):
            np.matmul(x, (b[columns] - centre).T, out=distances[:, columns])
        distances *= -2
        distances += np.square(x).sum(1)[:, None]
        distances += lengths
        yield rows, np.maximum(distances, 0, out=distances)
