"""Baselines against laws that they are able to learn exactly."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.covariance import LedoitWolf

from diffjax.evaluation.baselines import gaussian_per_class, independent_pixels

BOTH = (independent_pixels, gaussian_per_class)


def images(p: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n images of 2 × 2 independent pixels whose levels have probabilities p."""
    return np.random.default_rng(seed).choice(len(p), (n, 2, 2, 1), p=p).astype(np.uint8)


def test_of_independent_pixels_the_bits_are_their_entropy() -> None:
    p = np.array([0.5, 0.25, 0.125, 0.125])
    bits = independent_pixels((images(p, 20_000, 0), None), [(images(p, 20_000, 1), None)], 4)[0]
    assert abs(bits.mean() - 1.75) < 4.5 * bits.std() / len(bits) ** 0.5 + 1e-3


def test_of_normal_levels_the_bits_are_the_normal_entropy() -> None:
    """Levels a standard deviation of 8 wide: a discretised normal has the entropy log2(8 √(2πe)) of the density."""
    rng = np.random.default_rng(0)
    train, test = (np.clip(rng.normal(128, 8, (5_000, 2, 2, 1)), 0, 255.99).astype(np.uint8) for _ in range(2))
    bits = gaussian_per_class((train, None), [(test, None)], 256)[0]
    assert abs(bits.mean() - norm(scale=8).entropy() / np.log(2)) < 4.5 * bits.std() / len(bits) ** 0.5 + 5e-3


@pytest.mark.parametrize("baseline", BOTH)
def test_each_class_has_its_own_law(baseline) -> None:
    dark, light = (images(np.roll([0.7, 0.3, 0, 0, 0, 0, 0, 0], k), 300, k) for k in (0, 6))
    both, labels = np.concatenate([dark, light]), np.repeat([0, 1], 300)
    told, untold = (baseline((both, which), [(both, which)], 8)[0].mean() for which in (labels, None))
    assert told < untold - 0.5
    np.testing.assert_allclose(
        *(baseline(law, [(dark[:1], own)], 8)[0] for law, own in (((both, labels), labels[:1]), ((dark, None), None)))
    )


@pytest.mark.parametrize("baseline", BOTH)
def test_a_class_without_training_images_is_read_as_any(baseline) -> None:
    some = images(np.full(4, 0.25), 50, 0)
    (known,) = baseline((some, np.zeros(50, int)), [(some[:2], np.array([3, 3]))], 4)
    np.testing.assert_allclose(known, baseline((some, None), [(some[:2], None)], 4)[0])


@pytest.mark.parametrize("baseline", BOTH)
def test_two_images_are_enough_for_a_law(baseline) -> None:
    some = images(np.full(4, 0.25), 2, 0)
    assert np.isfinite(baseline((some, None), [(images(np.full(4, 0.25), 9, 1), None)], 4)[0]).all()


@pytest.mark.parametrize("count", [3, 12, 13, 60])
def test_a_normal_law_of_few_or_of_many_images_is_that_of_the_whole_matrix(count) -> None:
    """Fewer images than the 12 values, as many, and more: all equal to the density with the d × d covariance."""
    some, others = (
        np.random.default_rng(seed).integers(0, 17, (n, 2, 2, 3), np.uint8) for seed, n in ((0, count), (1, 9))
    )
    (found,) = gaussian_per_class((some, None), [(others, None)], 17)
    law = LedoitWolf().fit(some.reshape(count, 12))
    x = others.reshape(9, 12) + np.random.default_rng(0).random((9, 12))
    density = multivariate_normal(law.location_ + 0.5, law.covariance_ + np.eye(12) / 12)
    np.testing.assert_allclose(found, -density.logpdf(x) / (12 * np.log(2)), rtol=1e-10)


@pytest.mark.parametrize("baseline", BOTH)
def test_a_set_is_read_alike_beside_others(baseline) -> None:
    some, labels = images(np.full(4, 0.25), 40, 0), np.arange(40) % 2
    both = baseline((some, labels), [(some, labels), (some[:9], labels[:9])], 4)
    np.testing.assert_array_equal(both[0], baseline((some, labels), [(some, labels)], 4)[0])
    np.testing.assert_array_equal(both[1], baseline((some, labels), [(some[:9], labels[:9])], 4)[0])
