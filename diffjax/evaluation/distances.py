"""How far two sets of points lie apart: pure functions of NumPy arrays, one row per point, computed in float64.

Every function raises `UserError` when an array is not a table, holds NaN or infinities, or has too few rows.
"""

import numpy as np
from jaxtyping import Float, Integer
from scipy.spatial.distance import cdist
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC

from diffjax.errors import UserError

BLOCK = 256  # rows compared at once: their distances to 50,000 points take 100 MB


def frechet(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """|μa − μb|² + tr(Σa + Σb − 2 (Σa Σb)^½), the squared distance of the Gaussians fitted to a and b.

    Dowson & Landau 1982; Heusel et al. 2017, eq. 6 (there of features, here of whatever is given).
    The covariances are unbiased (n − 1) and may be singular: tr (Σa Σb)^½ is the sum of the singular values of
    Σa^½ Σb^½, which loses no digits where an eigenvalue is zero. In squared units of the points; it falls as n
    and m grow, so compare values of equal n and m only. Needs two rows each.
    """
    a, b = points("a", a, 2), points("b", b, 2)
    same_width(a, b)
    gap = a.mean(0) - b.mean(0)
    root_a, root_b = covariance_root(a), covariance_root(b)
    overlap = np.linalg.svd(root_a @ root_b, compute_uv=False).sum()
    spread = np.square(root_a).sum() + np.square(root_b).sum()  # tr Σa + tr Σb
    return max(0.0, float(gap @ gap + spread - 2 * overlap))


def mmd2(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], sigma: float) -> float:
    """Unbiased MMD²: mean k(a, a') + mean k(b, b') − 2 mean k(a, b) over pairs of different points.

    Gretton et al. 2012, eq. 3, with k(x, y) = exp(−|x − y|² / 2σ²). Its expectation is zero for equal distributions,
    so it can be negative. `sigma` is in the units of the points. Needs two rows each.
    """
    a, b = points("a", a, 2), points("b", b, 2)
    same_width(a, b)
    if not sigma > 0:
        raise UserError(f"sigma is {sigma}: the width of the kernel must be positive")
    n, m = len(a), len(b)
    within_a = (kernel_sum(a, a, sigma) - n) / (n * (n - 1))
    within_b = (kernel_sum(b, b, sigma) - m) / (m * (m - 1))
    return float(within_a + within_b - 2 * kernel_sum(a, b, sigma) / (n * m))


def two_sample_accuracy(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], gamma: float, C: float, draws: int, seed: int
) -> float:
    """Held-out accuracy in [0, 1] of an RBF support vector machine that tells a from b: 0.5 where it cannot.

    Lopez-Paz & Oquab 2017, section 3, with three shuffled stratified folds. Each of the `draws` takes as many
    rows of the larger set, without replacement, as the smaller has; the result is their mean. `gamma` multiplies
    squared distances. Needs three rows each.
    """
    a, b = points("a", a, 3), points("b", b, 3)
    same_width(a, b)
    if draws < 1:
        raise UserError(f"draws is {draws}: give at least one")
    return float(np.mean([one_draw(a, b, machine(gamma, C), seed + draw) for draw in range(draws)]))


def label_accuracy(
    train_x: Float[np.ndarray, "m d"],
    train_y: Integer[np.ndarray, " m"],
    x: Float[np.ndarray, "n d"],
    y: Integer[np.ndarray, " n"],
    gamma: float,
) -> float:
    """Share of x, in [0, 1], to which an RBF support vector machine trained on the real images gives the label y.

    The GAN-test of Shmelkov et al. 2018, section 3. `gamma` multiplies squared distances. Training needs two
    classes, and every image a label.
    """
    train_x, x = points("train_x", train_x, 2), points("x", x, 1)
    same_width(train_x, x)
    if len(train_y) != len(train_x) or len(y) != len(x):
        raise UserError(f"{len(train_x)} and {len(x)} images have {len(train_y)} and {len(y)} labels: give one each")
    if len(np.unique(train_y)) < 2:
        raise UserError("the training labels hold a single class: accuracy needs two, or pass no labels")
    return float(machine(gamma, 1.0).fit(train_x, train_y).score(x, y))


def nearest(
    x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
    """minⱼ |xᵢ − trainⱼ| and the j that attains it, for every i: exact, so that a copy lies at distance 0."""
    x, train = points("x", x, 1), points("train", train, 1)
    same_width(x, train)
    distances, indices = np.empty(len(x)), np.empty(len(x), np.int64)
    for rows in blocks(len(x)):
        apart = cdist(x[rows], train)
        indices[rows] = apart.argmin(1)
        distances[rows] = apart.min(1)
    return distances, indices


def nearest_distances(x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"]) -> Float[np.ndarray, " n"]:
    """minⱼ |xᵢ − trainⱼ|, in the units of the points, for every i."""
    return nearest(x, train)[0]


def copies(x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"], reference: Float[np.ndarray, "r d"]) -> float:
    """Share of x, in [0, 1], as near to a training image as the nearest 1 % of the reference images are.

    The limit itself counts: where real images repeat training images exactly, the limit is 0, and copies are
    still found. Images like the reference score about 0.01.
    """
    limit = np.quantile(nearest_distances(reference, train), 0.01)
    return float(np.mean(nearest_distances(x, train) <= limit))


def points(name: str, x: np.ndarray, least: int) -> np.ndarray:
    """x as a table of float64, with at least `least` rows; `name` is what the message calls it."""
    x = np.asarray(x, np.float64)
    if x.ndim != 2:
        raise UserError(f"{name} has shape {x.shape}: give one row per point, as x.reshape(len(x), -1) does")
    if len(x) < least:
        raise UserError(f"{name} has {len(x)} rows: give at least {least}")
    if not np.isfinite(x).all():
        raise UserError(f"{name} holds NaN or infinities: drop or mend those rows first")
    return x


def same_width(a: np.ndarray, b: np.ndarray) -> None:
    """Refuses points of different dimensions."""
    if a.shape[1] != b.shape[1]:
        raise UserError(f"the points have {a.shape[1]} and {b.shape[1]} values each: compare images of one size")


def covariance_root(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric Σ^½ of the unbiased covariance, with eigenvalues below zero (rounding) taken as zero."""
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]))
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def kernel_sum(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], sigma: float) -> float:
    """Σᵢⱼ exp(−|aᵢ − bⱼ|² / 2σ²), a block of rows at a time."""
    return sum(float(np.exp(cdist(a[rows], b, "sqeuclidean") / (-2 * sigma**2)).sum()) for rows in blocks(len(a)))


def blocks(count: int) -> list[slice]:
    """Slices of at most `BLOCK` rows that cover range(count)."""
    return [slice(start, start + BLOCK) for start in range(0, count, BLOCK)]


def machine(gamma: float, C: float) -> SVC:
    """A support vector machine with the kernel exp(−γ|x − y|²) and penalty C, both positive."""
    if not (gamma > 0 and C > 0):
        raise UserError(f"gamma is {gamma} and C is {C}: both must be positive")
    return SVC(kernel="rbf", gamma=gamma, C=C)  # pyright: ignore[reportArgumentType] (takes numbers too)


def one_draw(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], classifier: SVC, seed: int) -> float:
    """Accuracy of one two-sample test on equal numbers of rows."""
    rng, size = np.random.default_rng(seed), min(len(a), len(b))
    x = np.concatenate([rng.choice(side, size, replace=False, shuffle=False) for side in (a, b)])
    side = np.repeat([0, 1], size)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    return float(cross_val_score(classifier, x, side, cv=folds).mean())
