"""Measures by support vector machines: a two-sample test of samples against real images, and the accuracy of labels.

Every function raises `UserError` for an array that is not a table of finite numbers, or has too few rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Integer
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from diffjax.errors import UserError
from diffjax.evaluation.pairwise import check_same_dimension, squared_distance_rows, validate_points
from diffjax.evaluation.point_pairs import Pairs, Rows, Square, block_function, pairs_of

FOLDS = 3


def two_sample_accuracy(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], gamma: float, C: float, draws: int, seed: int
) -> float:
    """Held-out accuracy in [0, 1] of an RBF support vector machine that separates a from b: 0.5 if it cannot.

    Lopez-Paz & Oquab 2017, section 3, with three shuffled stratified folds, averaged over `draws`. Each draw takes as
    many rows of the larger set, without replacement, as the smaller has. `gamma` multiplies squared distances, and C is
    the penalty. Needs three rows each.
    """
    if not (gamma > 0 and C > 0):
        raise UserError(f"gamma is {gamma} and C is {C}: both must be positive")
    if draws < 1:
        raise UserError(f"draws is {draws}: give at least one")
    pairs = pairs_of(a, b, min_rows=FOLDS)
    return two_sample_of_pairs(pairs, *pairs.everything, gamma, C, draws, seed)


def two_sample_of_pairs(pairs: Pairs, i: Rows, j: Rows, gamma: float, C: float, draws: int, seed: int) -> float:
    """`two_sample_accuracy` of these rows of a and of b."""
    accuracies = [_draw_accuracy(pairs, i, j, gamma, C, draw) for draw in range(seed, seed + draws)]
    return float(np.mean(accuracies))


def _draw_accuracy(pairs: Pairs, i: Rows, j: Rows, gamma: float, C: float, seed: int) -> float:
    """The accuracy, averaged over the folds, on equally many random rows of i and of j."""
    rng = np.random.default_rng(seed)
    size = min(len(i), len(j))
    i, j = (rng.choice(rows, size, replace=False, shuffle=False) for rows in (i, j))
    side = np.repeat([0, 1], size)
    values = _rbf_kernel(pairs, i, j, gamma)
    machine = SVC(kernel="precomputed", C=C)  # pyright: ignore[reportArgumentType] (takes numbers too)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(values, side)
    scores = [
        machine.fit(values[np.ix_(train, train)], side[train]).score(values[np.ix_(test, train)], side[test])
        for train, test in folds
    ]
    return float(np.mean(scores))


def _rbf_kernel(pairs: Pairs, i: Rows, j: Rows, gamma: float) -> Square:
    """exp(−γ |x − y|²) of all pairs of these points, those of a before those of b."""
    sides = ((0, i), (1, j))
    squared = [np.concatenate([block_function(pairs, s, t)(u, v)[1] for t, v in sides], 1) for s, u in sides]
    return np.exp(-gamma * np.concatenate(squared))


def label_accuracy(
    train_x: Float[np.ndarray, "m d"],
    train_y: Integer[np.ndarray, " m"],
    x: Float[np.ndarray, "n d"],
    y: Integer[np.ndarray, " n"],
    gamma: float,
) -> float:
    """Share of x, in [0, 1], to which an RBF support vector machine trained on the real images gives the label y.

    The GAN-test of Shmelkov et al. 2018, section 3. `gamma` multiplies squared distances. Training needs two classes,
    and every image a label.
    """
    x = validate_points("x", x, 1)
    if len(y) != len(x):
        raise UserError(f"{len(x)} images have {len(y)} labels: give one each")
    classifier = label_classifier(train_x, train_y, gamma)
    check_same_dimension(train_x, x)
    return float((classifier.predict(x) == y).mean())


@dataclass(frozen=True)
class LabelClassifier:
    """A support vector machine with the kernel exp(−γ |x − y|²), computed for a block of rows at a time."""

    svc: SVC
    train: Float[np.ndarray, "m d"]
    gamma: float

    def predict(self, x: Float[np.ndarray, "n d"]) -> Integer[np.ndarray, " n"]:
        """The label of each row."""
        return np.concatenate([self.svc.predict(values) for values in self._kernel(x)])

    def decision_function(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n ..."]:
        """The decision values of each row, [n, classes], or [n] for two classes."""
        return np.concatenate([self.svc.decision_function(values) for values in self._kernel(x)])

    def _kernel(self, x: Float[np.ndarray, "n d"]) -> Iterator[Float64[np.ndarray, "_ m"]]:
        return (np.exp(-self.gamma * squared) for _, squared in squared_distance_rows(x, self.train))


def label_classifier(
    train_x: Float[np.ndarray, "m d"], train_y: Integer[np.ndarray, " m"], gamma: float
) -> LabelClassifier:
    """An RBF support vector machine (C = 1) trained on the labels of real images, of two classes or more."""
    train_x = validate_points("train_x", train_x, 2)
    if len(train_y) != len(train_x):
        raise UserError(f"{len(train_x)} training images have {len(train_y)} labels: give one each")
    if len(np.unique(train_y)) < 2:
        raise UserError("the training labels hold a single class: accuracy needs two, or pass no labels")
    if not gamma > 0:
        raise UserError(f"gamma is {gamma}: it must be positive")
    kernel = np.empty((len(train_x), len(train_x)))
    for rows, squared in squared_distance_rows(train_x, train_x):
        kernel[rows] = np.exp(-gamma * squared)
    svc = SVC(kernel="precomputed", C=1.0).fit(kernel, train_y)  # pyright: ignore[reportArgumentType]
    return LabelClassifier(svc, train_x, gamma)
