"""What a classifier can tell: samples from real images, and one class from another.

Every function raises `UserError` when an array is not a table, holds NaN or infinities, or has too few rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from diffjax.errors import UserError
from diffjax.evaluation.pairwise import check_same_dimension, squared_distance_rows, validate_pair, validate_points

Places = Integer[np.ndarray, " _"]
Classifier = Any  # scikit-learn's: fit(x, y), predict(x), score(x, y)


class TwoSampleTest(NamedTuple):
    """What came of telling two sets apart."""

    accuracy: float  # held out, in [0, 1]: 0.5 where they cannot be told apart
    z: float  # how far above chance, in standard deviations of chance
    p: float  # of at least so high an accuracy by chance


def rbf_svm(gamma: float, C: float) -> SVC:
    """A support vector machine with the kernel exp(−γ|x − y|²) and penalty C, both positive."""
    if not (gamma > 0 and C > 0):
        raise UserError(f"gamma is {gamma} and C is {C}: both must be positive")
    return SVC(kernel="rbf", gamma=gamma, C=C)  # pyright: ignore[reportArgumentType] (takes numbers too)


def logistic(C: float = 1.0) -> Classifier:
    """Logistic regression on standardised values, with penalty |w|²/2C: tells means apart."""
    from sklearn.linear_model import LogisticRegression  # half a second to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not C > 0:
        raise UserError(f"C is {C}: it must be positive")
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=10_000))


def knn_vote(k: int) -> Classifier:
    """The majority among the k nearest points: tells any difference, given enough points."""
    from sklearn.neighbors import KNeighborsClassifier

    if k < 1:
        raise UserError(f"k is {k}: give one neighbour at least")
    return KNeighborsClassifier(k)


def two_sample_test(
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "m d"],
    classifier: Classifier,
    folds: int = 5,
    permutations: int = 99,
    seed: int = 0,
) -> TwoSampleTest:
    """Whether a classifier can tell a from b: its cross-validated accuracy, and how likely that is by chance.

    Lopez-Paz & Oquab 2017, section 3; of the larger set as many rows are taken as the smaller has. Chance is what the
    same classifier gets after the rows have been dealt anew to the two sides, `permutations` times; p, at least
    1/(permutations + 1), is exact for equal distributions (Phipson & Smyth 2010, eq. 2). The paper's N(½, 1/4N) is for
    a single held-out set: over folds, which share rows to learn from, it would raise two alarms for one.
    """
    a, b = _validate_pair(a, b, folds)
    if permutations < 2:
        raise UserError(f"permutations is {permutations}: give two at least, and 99 or more for a p of 0.01")
    x, side = _balanced_sample(a, b, seed)
    rng, observed = np.random.default_rng((seed, 1)), _cross_validated_accuracy(x, side, classifier, folds, seed)
    chance = np.array(
        [_cross_validated_accuracy(x, rng.permutation(side), classifier, folds, seed) for _ in range(permutations)]
    )
    p = (1 + int((chance >= observed).sum())) / (1 + permutations)
    return TwoSampleTest(observed, float((observed - chance.mean()) / max(chance.std(ddof=1), 1 / len(x))), p)


def two_sample_accuracy(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], gamma: float, C: float, draws: int, seed: int
) -> float:
    """Held-out accuracy in [0, 1] of an RBF support vector machine that tells a from b: 0.5 where it cannot.

    Lopez-Paz & Oquab 2017, section 3, with three shuffled stratified folds. Each of the `draws` takes as many
    rows of the larger set, without replacement, as the smaller has; the result is their mean. `gamma` multiplies
    squared distances. Needs three rows each.
    """
    a, b = _validate_pair(a, b, 3)
    if draws < 1:
        raise UserError(f"draws is {draws}: give at least one")
    seeds = range(seed, seed + draws)
    return float(
        np.mean(
            [_cross_validated_accuracy(*_balanced_sample(a, b, draw), rbf_svm(gamma, C), 3, draw) for draw in seeds]
        )
    )


def two_sample_of_kernel(
    kernel: Callable[[Places, Places], Float64[np.ndarray, "_ _"]],
    i: Places,
    j: Places,
    C: float,
    draws: int,
    seed: int,
) -> float:
    """`two_sample_accuracy` of points that are known by their places in two tables.

    `kernel(i, j)` gives the kernel of all pairs of those points, the first table's before the second's.
    """
    return float(np.mean([_accuracy_of_kernel(kernel, i, j, C, draw) for draw in range(seed, seed + draws)]))


def _accuracy_of_kernel(kernel: Any, i: Places, j: Places, C: float, seed: int) -> float:
    drawn, side = _balanced_sample(i, j, seed)
    half = len(drawn) // 2
    values = kernel(drawn[:half], drawn[half:])
    split = StratifiedKFold(3, shuffle=True, random_state=seed).split(values, side)
    machine = SVC(kernel="precomputed", C=C)  # pyright: ignore[reportArgumentType] (takes numbers too)
    scores = [
        machine.fit(values[np.ix_(old, old)], side[old]).score(values[np.ix_(new, old)], side[new])
        for old, new in split
    ]
    return float(np.mean(scores))


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
    return float(correctly_labelled(train_x, train_y, x, y, gamma).mean())


def correctly_labelled(
    train_x: Float[np.ndarray, "m d"],
    train_y: Integer[np.ndarray, " m"],
    x: Float[np.ndarray, "n d"],
    y: Integer[np.ndarray, " n"],
    gamma: float,
) -> Bool[np.ndarray, " n"]:
    """Of which images `label_accuracy` is the share."""
    x = validate_points("x", x, 1)
    if len(y) != len(x):
        raise UserError(f"{len(x)} images have {len(y)} labels: give one each")
    classifier = label_classifier(train_x, train_y, gamma)
    check_same_dimension(train_x, x)
    return classifier.predict(x) == y


@dataclass(frozen=True)
class LabelMachine:
    """A support vector machine with the kernel exp(-gamma |x - y|²), of squared distances a block of rows at a time."""

    svc: SVC
    train: Float[np.ndarray, "m d"]
    gamma: float

    def predict(self, x: Float[np.ndarray, "n d"]) -> Integer[np.ndarray, " n"]:
        """The label of each row."""
        return np.concatenate([self.svc.predict(values) for values in self._kernel(x)])

    def decision_function(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n ..."]:
        """The decision values of each row."""
        return np.concatenate([self.svc.decision_function(values) for values in self._kernel(x)])

    def _kernel(self, x: Float[np.ndarray, "n d"]) -> Iterator[Float64[np.ndarray, "_ m"]]:
        return (np.exp(-self.gamma * squared) for _, squared in squared_distance_rows(x, self.train))


def label_classifier(
    train_x: Float[np.ndarray, "m d"], train_y: Integer[np.ndarray, " m"], gamma: float
) -> LabelMachine:
    """An RBF support vector machine (C = 1) that has learnt the labels of real images: two classes at least."""
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
    return LabelMachine(svc, train_x, gamma)


def _balanced_sample(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Equally many rows of each, without replacement, and which side each is of."""
    rng, size = np.random.default_rng(seed), min(len(a), len(b))
    x = np.concatenate([rng.choice(side, size, replace=False, shuffle=False) for side in (a, b)])
    return x, np.repeat([0, 1], size)


def _cross_validated_accuracy(x: np.ndarray, side: np.ndarray, classifier: Classifier, folds: int, seed: int) -> float:
    """The mean accuracy over held-out folds."""
    split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, side)
    return float(np.mean([classifier.fit(x[old], side[old]).score(x[new], side[new]) for old, new in split]))


def _validate_pair(a: np.ndarray, b: np.ndarray, folds: int) -> tuple[np.ndarray, np.ndarray]:
    if folds < 2:
        raise UserError(f"folds is {folds}: give two at least, one to learn from and one to judge by")
    a, b = validate_pair(a, b, folds)
    return a.astype(np.float64), b.astype(np.float64)
