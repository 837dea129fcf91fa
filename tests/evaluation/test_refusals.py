"""What cannot be measured is refused in one line that names the argument."""

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation.classifiers import label_accuracy, two_sample_accuracy
from diffjax.evaluation.frechet_distance import frechet, frechet_from_moments, gather_moments, merge_moments
from diffjax.evaluation.jackknife import difference, interval_from_replicates, replicates, replicates_of_moments
from diffjax.evaluation.mmd import kid, mmd2
from diffjax.evaluation.precision_recall import coverage_scores, memorization, nearest, nearest_neighbours

MANY = np.random.default_rng(0).standard_normal((60, 3))
X = MANY[:9]
ZEROS = np.zeros(9, int)
MOMENTS = gather_moments([X])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: frechet(X[:1], X), "^a .*1 rows"),
        (lambda: frechet(X, np.full_like(X, np.nan)), "^b .*NaN"),
        (lambda: gather_moments([]), "moments"),
        (lambda: gather_moments([X, X[:, :2]]), "3.*2"),
        (lambda: merge_moments(MOMENTS, MOMENTS._replace(rows=0)), "moments"),
        (lambda: frechet_from_moments(gather_moments([X[:1]]), MOMENTS), "moments"),
        (lambda: nearest(X, X[:0]), "^train .*0 rows"),
        (lambda: nearest_neighbours(X, X, 10), "^train .*9 rows.*10"),
        (lambda: coverage_scores(X, X, 9), "^a .*9 rows"),
        (lambda: coverage_scores(X, X, 0), "^k "),
        (lambda: memorization(X, X, X, quantile=0.0), "^quantile "),
        (lambda: replicates(frechet, MANY[:15], MANY), "^samples .*15 rows.*20"),
        (lambda: replicates(frechet, MANY, MANY[:15]), "^reference .*15 rows"),
        (lambda: replicates(frechet, MANY, MANY, groups=1), "groups"),
        (lambda: interval_from_replicates(replicates(frechet, MANY, MANY), 95.0), "^level "),
        (lambda: replicates_of_moments(frechet_from_moments, [MOMENTS], [MOMENTS]), "group"),
        (lambda: difference(*(replicates(frechet, MANY, MANY, groups=n) for n in (5, 10))), "reference"),
        (lambda: mmd2(X, X, 0.0), "^sigma "),
        (lambda: kid(X[:1], X), "^a .*1 rows"),
        (lambda: two_sample_accuracy(X[:2], X, 1.0, 1.0, 1, 0), "^a .*2 rows"),
        (lambda: two_sample_accuracy(X, X, 1.0, 1.0, 0, 0), "^draws "),
        (lambda: two_sample_accuracy(X, X, -1.0, 1.0, 1, 0), "^gamma "),
        (lambda: label_accuracy(X, ZEROS, X, ZEROS, 1.0), "labels"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(call, named):
    with pytest.raises(UserError, match=named) as error:
        call()
    assert "\n" not in str(error.value)
