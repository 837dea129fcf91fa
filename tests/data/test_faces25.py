"""Faces and background of 25 × 25 pixels: scikit-image's values, two classes in equal numbers, any size."""

from pathlib import Path

import numpy as np
from skimage.data import lfw_subset

from diffjax.data import open_dataset
from diffjax.data.faces25 import split_rows


def test_values_classes_and_splits(data_dir: Path) -> None:
    dataset = open_dataset("faces25", data_dir)
    assert dataset.shape == (25, 25, 1)
    assert dataset.class_names == ("face", "background")
    whole = lfw_subset()
    for name, rows in split_rows().items():
        images, labels = dataset.arrays(name)
        np.testing.assert_allclose(images[..., 0] / 255, whole[rows], atol=0.5 / 255)
        assert labels is not None
        np.testing.assert_array_equal(labels, rows // 100)
        np.testing.assert_array_equal(np.bincount(labels), len(rows) // 2)


def test_every_image_is_in_one_split() -> None:
    parts = split_rows()
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 140, "validation": 20, "test": 40}
    np.testing.assert_array_equal(np.sort(np.concatenate([*parts.values()])), np.arange(200))


def test_a_size_scales_them(data_dir: Path) -> None:
    assert open_dataset("faces25", data_dir, image_size=32).arrays("test")[0].shape == (40, 32, 32, 1)
