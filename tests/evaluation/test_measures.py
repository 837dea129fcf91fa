"""The five measures on real digits: what real images, copies, noise and enlarged images must get."""

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation.feature_measures import feature_scores
from diffjax.evaluation.frechet_distance import frechet
from diffjax.evaluation.jackknife import difference
from diffjax.evaluation.paired import PIXELS
from diffjax.evaluation.pixels import as_bytes, fractions
from diffjax.evaluation.suite import DIGIT_KERNELS, all_scores, kernels_for, nearest_images

LEVELS = 17


def scores(*args, **more):
    """The values of samples, and those of real images, by key."""
    told = all_scores(*args, **more)
    return tuple({each.key: getattr(each, side).value for each in told} for side in ("samples", "real"))


@pytest.mark.long
def test_the_training_set_given_as_samples_scores_as_real_but_for_copies(digits):
    images, labels = digits["train"]
    ours, real = scores(as_bytes(images, LEVELS), labels, digits, LEVELS)
    assert ours["copies"] == 1.0
    assert ours["frechet_ratio"] == pytest.approx(1.0, abs=0.005)  # bytes round 16 levels: 1/510 a pixel at most
    assert ours["mmd2"] == pytest.approx(real["mmd2"], abs=1e-5)
    assert ours["two_sample"] == pytest.approx(real["two_sample"], abs=0.01)
    assert ours["accuracy"] > 0.99


def test_real_images_get_what_is_known(digits):
    """176 of 180 validation digits right, the coin's 0.5 on 720 guesses (standard error 0.019), few near copies."""
    _, real = scores(as_bytes(digits["test"][0], LEVELS), digits["test"][1], digits, LEVELS, draws=1)
    assert real["frechet_ratio"] == 1.0
    assert abs(real["mmd2"]) < 2e-3
    assert real["two_sample"] == pytest.approx(0.5, abs=0.05)
    assert real["accuracy"] == pytest.approx(0.978, abs=0.5 / 180)
    assert real["copies"] <= 0.03


def test_noise_is_told_from_digits_by_every_distance(digits):
    noise = np.random.default_rng(0).integers(0, 256, (360, 8, 8, 1), dtype=np.uint8)
    bad, _ = scores(noise, np.arange(360) % 10, digits, LEVELS, draws=1)
    assert bad["frechet_ratio"] > 30
    assert bad["mmd2"] > 0.1
    assert bad["two_sample"] > 0.99
    assert bad["accuracy"] < 0.2
    assert bad["copies"] == 0.0


@pytest.mark.long
def test_the_order_of_samples_does_not_matter(digits):
    images, labels = digits["validation"]
    x, turn = as_bytes(images, LEVELS), np.random.default_rng(0).permutation(len(images))
    one, two = (scores(x[rows], labels[rows], digits, LEVELS, draws=1)[0] for rows in (slice(None), turn))
    assert one["frechet_ratio"] == pytest.approx(two["frechet_ratio"], rel=0.1)  # of other 180 training images
    assert one["mmd2"] == pytest.approx(two["mmd2"], rel=1e-9)
    assert (one["accuracy"], one["copies"]) == (two["accuracy"], two["copies"])


@pytest.mark.long
def test_kernels_for_more_pixels_keep_the_scores_of_enlarged_images(digits):
    """Every pixel drawn as a square of 2 × 2 multiplies all squared distances by 4, and nothing else."""

    def large(images):
        return images.repeat(2, 1).repeat(2, 2)

    part = {name: (images[:120], labels[:120]) for name, (images, labels) in digits.items()}
    twice = {name: (large(images), labels) for name, (images, labels) in part.items()}
    x, labels = as_bytes(digits["test"][0][120:240], LEVELS), digits["test"][1][120:240]
    small, _ = scores(x, labels, part, LEVELS)
    assert scores(large(x), labels, twice, LEVELS, kernels=kernels_for(256))[0] == pytest.approx(small)
    assert kernels_for(64) == DIGIT_KERNELS


@pytest.mark.long
def test_without_labels_there_is_no_accuracy(digits):
    x, labels = as_bytes(digits["test"][0], LEVELS), digits["test"][1]
    bare = {name: (images, None) for name, (images, _) in digits.items()}
    for given, data in ((None, digits), (labels, bare)):
        assert set(scores(x, given, data, LEVELS, draws=1)[0]) == {"frechet_ratio", "mmd2", "two_sample", "copies"}


def test_features_are_compared_at_equal_numbers(digits):
    """Real images are as good as real: half of the training images beside the other half, in six measures."""
    (train, _), (test, _) = digits["train"], digits["test"]
    rows = [fractions("x", part, LEVELS) for part in (train[::2], train[1::2], test)]
    for each in feature_scores(PIXELS, *rows):
        apart = difference(each.samples, each.real)
        assert apart.low <= 0 <= apart.high
        assert each.samples.value != each.real.value
        assert len(each.samples.samples) == len(each.samples.reference) == 10
    (few,) = (each for each in feature_scores(PIXELS, rows[0][:40], *rows[1:]) if each.key == "frechet")
    assert few.real.value > 3 * frechet(*rows[1:])  # of 40 training images: what 40 images get
    with pytest.raises(UserError, match="20 images"):
        feature_scores(PIXELS, rows[0][:19], *rows[1:])


def test_the_nearest_image_of_a_training_image_is_itself(digits):
    images = as_bytes(digits["train"][0], LEVELS)[:20]
    found, far = nearest_images(images, digits, LEVELS)
    np.testing.assert_array_equal(found, images)
    assert far.max() <= 8 * 0.5 / 255  # √64 pixels, each rounded by half a step at most


def test_bytes_run_from_black_to_white():
    np.testing.assert_array_equal(as_bytes(np.array([0, 8, 16], np.uint8), 17), [0, 128, 255])
    np.testing.assert_array_equal(as_bytes(np.array([0, 1], np.uint8), 2), [0, 255])
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(as_bytes(every, 256), every)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_set_without_a_split_is_refused_by_name(digits, name):
    part = {key: value for key, value in digits.items() if key != name}
    with pytest.raises(UserError, match=name):
        scores(as_bytes(digits["train"][0], LEVELS), None, part, LEVELS)


def test_what_does_not_fit_the_data_set_is_refused(digits):
    x = as_bytes(digits["test"][0], LEVELS)
    with pytest.raises(UserError, match=r"^samples .*\(16, 16, 1\)"):
        scores(x.repeat(2, 1).repeat(2, 2), None, digits, LEVELS)
    with pytest.raises(UserError, match="16 levels"):
        scores(x, None, digits, 16)
    with pytest.raises(UserError, match=r"^levels "):
        scores(x, None, digits, 1)
    with pytest.raises(UserError, match="train and test"):
        scores(x, None, dict.fromkeys(digits, digits["test"]), LEVELS)
    with pytest.raises(UserError, match=r"^pixels "):
        kernels_for(0)
