"""Classifiers on equal and on distinct distributions, and against known accuracies."""

import numpy as np
import pytest

from diffjax.evaluation.classifiers import label_accuracy, two_sample_accuracy


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
