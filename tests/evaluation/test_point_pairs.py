"""Scores by inner products are those of the points, of all of them and of any part."""

import numpy as np
import pytest

from diffjax.evaluation.classifiers import two_sample_accuracy, two_sample_of_pairs
from diffjax.evaluation.frechet_distance import frechet, frechet_of_pairs
from diffjax.evaluation.mmd import kid, kid_of_pairs, mmd2, mmd2_of_pairs
from diffjax.evaluation.point_pairs import pairs_of
from diffjax.evaluation.precision_recall import coverage_of_pairs, coverage_scores


@pytest.fixture(params=[(30, 40, 3), (30, 40, 35), (40, 30, 2_100)], ids="{0[0]}x{0[2]}".format)
def pairs(request):
    """Two sets in few dimensions, in as many as they have points, and in many; away from 0, some values constant."""
    n, m, d = request.param
    rng = np.random.default_rng(d)
    a, b = rng.standard_normal((n, d)) + 3, 1.3 * rng.standard_normal((m, d)) + 2.7
    a[:, -1] = b[:, -1] = 0.5
    return pairs_of(a, b)


SCORES = {
    "frechet": (frechet_of_pairs, frechet),
    "mmd2": (lambda *each: mmd2_of_pairs(*each, sigma=4.0), lambda a, b: mmd2(a, b, 4.0)),
    "kid": (kid_of_pairs, kid),
    "coverage": (lambda *each: coverage_of_pairs(*each, k=3), lambda a, b: coverage_scores(a, b, 3)),
    "two_sample": (
        lambda *each: two_sample_of_pairs(*each, gamma=0.05, C=3.0, draws=2, seed=1),
        lambda a, b: two_sample_accuracy(a, b, 0.05, 3.0, 2, 1),
    ),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_of_rows_is_that_of_their_points(pairs, name) -> None:
    ours, theirs = SCORES[name]
    whole = pairs.everything
    some = np.sort(np.random.default_rng(1).permutation(len(pairs.a))[:21])
    for i, j in (whole, (some, whole[1]), (whole[0], whole[1][::2])):
        np.testing.assert_allclose(ours(pairs, i, j), theirs(pairs.a[i], pairs.b[j]), rtol=1e-10, atol=1e-12)


def test_inner_products_of_the_reference_are_shared(pairs) -> None:
    other = pairs_of(pairs.a[:12], pairs.b, pairs)
    assert other.within_b is pairs.within_b
    assert frechet_of_pairs(other, *other.everything) == pytest.approx(frechet(pairs.a[:12], pairs.b), rel=1e-10)


def test_a_set_is_at_no_distance_of_itself() -> None:
    x = np.random.default_rng(0).standard_normal((20, 50))
    same = pairs_of(x, x.copy())
    assert frechet_of_pairs(same, *same.everything) == pytest.approx(0, abs=1e-11)
