"""Features with their provenance: the same points however they are cut, stored and read; strangers' files."""

import json

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation.classifiers import label_accuracy
from diffjax.evaluation.features import (
    Features,
    classifier_features,
    describe_features,
    extract_features,
    pixel_features,
    precomputed_features,
    read_features,
    write_features,
)
from diffjax.evaluation.pixels import as_bytes


def images(seed, n=12):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 4, 1), dtype=np.uint8)


PIXELS = pixel_features((3, 4, 1))


def test_pixels_are_fractions_however_they_come_in_batches():
    x = images(0)
    rows = extract_features(PIXELS, [x[:5], x[5:]])
    np.testing.assert_allclose(rows, x.reshape(12, 12) / 255, rtol=1e-6)


def test_the_classifier_sees_its_classes(digits):
    """The largest decision value is the class that label accuracy gives."""
    (x, y), (test_x, test_y) = ((as_bytes(digits[name][0], 17), digits[name][1]) for name in ("train", "test"))
    features = classifier_features(x, y)
    assert (features.dim, features.name, features.resize) == (10, "classifier", "none")
    right = (extract_features(features, [test_x]).argmax(1) == test_y).mean()
    flat = [part.reshape(-1, 64) / np.float32(255) for part in (x, test_x)]
    assert right == pytest.approx(label_accuracy(flat[0], y, flat[1], test_y, 0.256), abs=0.005)


def test_the_hash_is_of_all_that_the_points_depend_on(digits):
    x, y = as_bytes(digits["test"][0], 17), digits["test"][1]
    two = y < 2
    first = classifier_features(x, y)
    assert first.hash == classifier_features(x, y).hash
    others = [classifier_features(x[::-1], y), classifier_features(x[two], y[two]), classifier_features(x, y, 0.1)]
    assert len({first.hash, PIXELS.hash, *(other.hash for other in others)}) == 5
    assert others[1].dim == 1  # of two classes
    assert first.hash in describe_features(first)


def test_stored_features_serve_the_images_they_are_of_in_any_order(tmp_path):
    ours, theirs = images(0), images(1, 9)
    write_features(tmp_path / "ours.npz", PIXELS, [ours[:4], ours[4:]])
    write_features(tmp_path / "theirs.npz", PIXELS, [theirs])
    back = precomputed_features(tmp_path / "ours.npz", tmp_path / "theirs.npz")
    assert back[:4] == PIXELS[:4]
    for x in (ours[::-1], ours[3:5], theirs, np.concatenate([theirs, ours])):
        np.testing.assert_array_equal(extract_features(back, [x]), extract_features(PIXELS, [x]))
    with pytest.raises(UserError, match=r"12 of 12 .*ours\.npz"):
        extract_features(back, [images(2)])


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_bare_table_serves_as_many_images(name, tmp_path):
    rows = np.random.default_rng(0).standard_normal((12, 5))
    (np.save if name.endswith("npy") else np.savez)(tmp_path / name, rows)
    back = precomputed_features(tmp_path / name)
    assert (back.name, back.hash, back.resize, back.dim) == ("precomputed", "unknown", "unknown", 5)
    np.testing.assert_array_equal(extract_features(back, [images(0)]), rows)
    with pytest.raises(UserError, match="11 of 11 "):
        extract_features(back, [images(0, 11)])


def test_features_of_different_extractors_are_not_compared(tmp_path):
    other = PIXELS._replace(hash="0" * 64)
    write_features(tmp_path / "a.npz", PIXELS, [images(0)])
    write_features(tmp_path / "b.npz", other, [images(1)])
    with pytest.raises(UserError, match=r"b\.npz: "):
        precomputed_features(tmp_path / "a.npz", tmp_path / "b.npz")


def test_an_extractor_that_gives_another_shape_or_nan_is_named():
    wrong = Features("mine", "", "none", 3, lambda x: np.zeros((len(x), 2)))
    with pytest.raises(UserError, match=r"^mine: .*\(12, 2\).*3"):
        extract_features(wrong, [images(0)])
    with pytest.raises(UserError, match=r"^mine .*NaN"):
        extract_features(wrong._replace(extract=lambda x: np.full((len(x), 3), np.nan)), [images(0)])
    with pytest.raises(UserError, match=r"^pixels: "):
        extract_features(PIXELS, [images(0).reshape(12, 4, 3, 1)])
    with pytest.raises(UserError, match="images"):
        extract_features(PIXELS, [])


ROWS = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": ROWS}, "features.*arr_0"),
        ({"features": ROWS[0]}, r"shape \(3,\)"),
        ({"features": ROWS.astype(int)}, "int64"),
        ({"features": ROWS + np.nan}, "NaN"),
        ({"features": ROWS.astype(object)}, "object|numbers"),
        ({"features": ROWS, "images": ROWS}, r"uint8 \[n, 32\]"),
        ({"features": ROWS, "about": np.array("{")}, "JSON"),
        ({"features": ROWS, "about": np.array(json.dumps({"name": 3}))}, "JSON"),
        ({"features": ROWS, "about": np.array("x" * 5_000)}, "megabytes"),
    ],
)
def test_strangers_files_are_refused_by_name(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message) as error:
        read_features(tmp_path / "x.npz")
    assert "x.npz" in str(error.value)
