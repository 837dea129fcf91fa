"""Neighbours against tree searches, definitions, and copies that are planted."""

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from diffjax.evaluation import pairwise
from diffjax.evaluation.precision_recall import (
    coverage_scores,
    memorization,
    nearest,
    nearest_neighbours,
)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def test_nearest_agrees_with_a_tree_search(monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", 16)
    rng = np.random.default_rng(0)
    x, train = rng.standard_normal((50, 6)), rng.standard_normal((70, 6))
    far, index = KDTree(train).query(x)
    found, where = nearest(x, train)
    np.testing.assert_allclose(found, far, rtol=1e-12)
    np.testing.assert_array_equal(where, index)
    assert (nearest(train, train)[0] == 0).all()


def test_copies_finds_every_training_image_and_one_percent_of_the_reference():
    rng = np.random.default_rng(0)
    train, reference = rng.standard_normal((300, 8)), rng.standard_normal((500, 8))
    assert memorization(train, train, reference).share == 1.0
    assert memorization(reference, train, reference).share == pytest.approx(0.01, abs=1 / 500)
    assert memorization(reference + 50, train, reference).share == 0.0


def test_copies_are_found_where_real_images_repeat_the_training_set():
    rng = np.random.default_rng(0)
    train = rng.standard_normal((100, 4))
    reference = np.concatenate([train[:5], rng.standard_normal((95, 4))])
    assert memorization(train, train, reference).share == 1.0
    assert memorization(reference[5:], train, reference).share == 0.0


def test_the_nearest_few_agree_with_a_tree_search_wherever_the_cloud_lies(monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", 16)
    x, train = normal(0, 40, 5) + 1e3, normal(1, 60, 5) + 1e3
    far, index = KDTree(train).query(x, 7)
    found, where = nearest_neighbours(x, train, 7)
    np.testing.assert_allclose(found, far, rtol=1e-12)
    np.testing.assert_array_equal(where, index)


def test_planted_copies_come_first_and_are_counted():
    """A tenth are copies of training images with a little noise."""
    train, held_out, x = normal(0, 400, 10), normal(1, 300, 10), normal(2, 200, 10)
    x[::10] = train[:20] + 1e-3 * normal(3, 20, 10)
    found = memorization(x, train, held_out, 3)
    assert set(found.closest[:20]) == set(range(0, 200, 10))
    np.testing.assert_array_equal(found.neighbours[::10, 0], np.arange(20))
    assert 0.1 <= found.share < 0.14
    assert found.isolated_share == pytest.approx(0.1)
    assert found.held_out_isolated_share == 0
    assert memorization(train[:50], train, held_out).probability_nearer == 1
    assert memorization(train[:50], train, held_out).p < 1e-20
    assert (np.diff(found.distances) >= 0).all()


def test_samples_like_held_out_images_are_no_copies():
    """Half lie nearer than held-out images do, and the share is the quantile, with the same training images throughout.

    The rank test's p is uniform: of 100, five lie below 0.05 (more than 14: once in 7,000 seeds).
    """
    train, false, nearer, share = normal(0, 300, 6), 0, [], []
    for seed in range(100):
        found = memorization(normal(2 * seed + 1, 60, 6), train, normal(2 * seed + 2, 80, 6), 2, quantile=0.25)
        false += found.p < 0.05
        nearer.append(found.probability_nearer)
        share.append(found.share)
    assert false < 15
    assert np.mean(nearer) == pytest.approx(0.5, abs=0.02)
    assert np.mean(share) == pytest.approx(0.25, abs=0.03)


def test_coverage_is_its_definition():
    """All four from the whole array of distances, each written as its paper's equation has it."""
    x, real, k = normal(0, 30, 4), normal(1, 40, 4) * 1.2, 3
    across, reach = cdist(real, x), [np.sort(cdist(part, part), 1)[:, k] for part in (real, x)]
    found = coverage_scores(x, real, k)
    assert found.precision == np.mean([any(across[j, i] < reach[0][j] for j in range(40)) for i in range(30)])
    assert found.recall == np.mean([any(across[j, i] < reach[1][i] for i in range(30)) for j in range(40)])
    assert found.density == pytest.approx((across < reach[0][:, None]).sum() / (k * 30))
    assert found.coverage == np.mean([across[j].min() < reach[0][j] for j in range(40)])


def test_coverage_does_not_depend_on_blocks_or_place(monkeypatch):
    x, real = normal(0, 50, 4), normal(1, 60, 4)
    whole = coverage_scores(x, real)
    monkeypatch.setattr(pairwise, "BLOCK", 16)
    assert coverage_scores(x, real) == whole
    assert coverage_scores(3 * x + 5, 3 * real + 5) == whole


def test_coverage_of_like_samples_is_known():
    """E coverage = 1 − C(2m−k−1, m)/C(2m−1, m), about 1 − 2⁻ᵏ, and E density = 1, for equal sets of one law.

    Naeem et al. 2020, Lemmas 1 and 2; twenty draws of 200.
    """
    found = np.array([coverage_scores(normal(s, 200, 3), normal(s + 100, 200, 3), 4) for s in range(20)])
    assert found[:, 2].mean() == pytest.approx(1, abs=0.03)
    assert found[:, 3].mean() == pytest.approx(1 - 2.0**-4, abs=0.01)


def test_far_samples_cover_nothing_and_one_mode_covers_its_part():
    real = normal(0, 200, 3)
    assert coverage_scores(real + 50, real) == (0, 0, 0, 0)
    one = coverage_scores(normal(1, 200, 3), np.concatenate([real[:100], real[100:] + 50]))
    assert one.precision > 0.85
    assert one.recall < 0.55
    assert one.coverage < 0.55
