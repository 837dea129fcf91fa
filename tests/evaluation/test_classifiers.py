"""Classifiers against coins, known accuracies, and the rate of false alarms."""

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation.classifiers import (
    knn_vote,
    label_accuracy,
    logistic,
    rbf_svm,
    two_sample_accuracy,
    two_sample_test,
)


def test_two_sample_test_is_a_coin_on_one_distribution_and_sure_on_two():
    """400 held-out guesses have standard error 0.025: beyond 0.08 once in 700 seeds."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((200, 3)), rng.standard_normal((200, 3))
    assert two_sample_accuracy(a, b, 0.3, 1.0, draws=2, seed=0) == pytest.approx(0.5, abs=0.08)
    assert two_sample_accuracy(a, b + 20, 0.3, 1.0, draws=1, seed=0) == 1.0


def test_two_sample_test_of_unequal_sets_gains_nothing_from_the_majority():
    """40 against 600: always naming the larger set would score 0.94."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((40, 3)), rng.standard_normal((600, 3))
    assert two_sample_accuracy(a, b, 0.3, 1.0, draws=8, seed=0) == pytest.approx(0.5, abs=0.12)


def test_two_sample_test_is_a_function_of_its_seed():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((40, 3)), rng.standard_normal((90, 3)) + 0.5
    first, again, other = (two_sample_accuracy(a, b, 0.3, 1.0, draws=2, seed=seed) for seed in (0, 0, 7))
    assert first == again != other


def test_more_draws_make_the_two_sample_test_steadier():
    """Means of eight draws scatter less over seeds than single draws do, by √8 were the draws independent."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((30, 3)), rng.standard_normal((300, 3))
    spread = {
        draws: np.std([two_sample_accuracy(a, b, 0.3, 1.0, draws, seed) for seed in range(0, 600, 100)])
        for draws in (1, 8)
    }
    assert spread[8] < 0.7 * spread[1]


def test_label_accuracy_of_real_digits_is_what_is_known(digits):
    """0.981 with gamma 0.001 on pixels 0 … 16, which is 0.256 on fractions: known from outside this package."""
    (x, y), (test_x, test_y) = digits["train"], digits["test"]
    accuracy = label_accuracy(x.reshape(-1, 64) / 16, y, test_x.reshape(-1, 64) / 16, test_y, 0.256)
    assert accuracy == pytest.approx(0.981, abs=0.5 / 360)


@pytest.mark.parametrize("classifier", [logistic(), knn_vote(5), rbf_svm(0.3, 1.0)])
def test_each_classifier_is_a_coin_on_one_distribution_and_sure_on_two(classifier):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((60, 3)), rng.standard_normal((60, 3))
    same, other = (two_sample_test(a, x, classifier, folds=2, permutations=19) for x in (b, b + 20))
    assert abs(same.z) < 3
    assert other.accuracy == 1.0
    assert other.p == 1 / 20
    assert other.z > 6


def test_what_means_do_not_tell_neighbours_do():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((150, 2)), 4 * rng.standard_normal((150, 2))
    assert two_sample_test(a, b, knn_vote(11), 3, 19).z > 5
    assert two_sample_test(a, b, logistic(), 3, 19).z < 3


def test_equal_distributions_raise_as_many_alarms_as_p_says():
    """p ≤ 0.1 in a tenth of the cases: 6 ± 2.3 of 60, and beyond 16 once in 10,000 seeds."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal((25, 2)), rng.standard_normal((25, 2))
        found.append(two_sample_test(a, b, rbf_svm(0.5, 1.0), folds=2, permutations=9, seed=seed).p)
    assert (np.array(found) <= 0.1).sum() <= 16
    assert 0.45 < np.mean(found) < 0.7  # 0.55, the mean of 0.1 … 1.0, ± 2.7 errors; ties of accuracies raise it


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: two_sample_accuracy(x[:2], x, 1.0, 1.0, 1, 0), "a has 2 rows"),
        (lambda x: two_sample_accuracy(x, x, 1.0, 1.0, 0, 0), "draws is 0"),
        (lambda x: two_sample_accuracy(x, x, -1.0, 1.0, 1, 0), "gamma is -1"),
        (lambda x: two_sample_test(x, x, logistic(), folds=1), "folds is 1"),
        (lambda x: two_sample_test(x, x, logistic(), permutations=1), "permutations is 1"),
        (lambda x: logistic(0.0), "C is 0"),
        (lambda x: knn_vote(0), "k is 0"),
        (lambda x: label_accuracy(x, np.zeros(9, int), x, np.zeros(9, int), 1.0), "single class"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call(np.random.default_rng(0).standard_normal((9, 3)))
    assert "\n" not in str(error.value)
