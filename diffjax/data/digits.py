"""The handwritten digits of scikit-learn as a TFDS data set: the default, prepared in a second without a download."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

Examples = Iterator[tuple[int, dict[str, object]]]  # (row number, features)

LEVELS = 17  # values of a pixel
_SEED = 0  # of the splits; a part of the data set, like its version
_TEST = 360  # images
_VALIDATION = 180  # images


class Digits(tfds.core.GeneratorBasedBuilder):
    """1797 images, uint8 [8, 8, 1] with levels 0 … 16, of classes 0 … 9.

    The splits are stratified by class: 1257 images for train, 180 for validation, 360 for test.
    """

    name = "digits"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Stratified splits of sklearn.datasets.load_digits, in its order."}  # noqa: RUF012
    PREPARES_ITSELF = True  # needs neither the network nor TensorFlow: `open_dataset` prepares it on first use

    def _info(self) -> tfds.core.DatasetInfo:
        return dataset_info(self, {})

    def _split_generators(self, dl_manager: object) -> dict[str, Examples]:
        images, labels = _load_images()
        return {name: _examples(images, labels, ids) for name, ids in split_ids(labels).items()}

    def _generate_examples(self) -> Examples:
        raise NotImplementedError("`_split_generators` makes the examples")


def split_ids(labels: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """The rows of each split, ascending, for labels [n]: 360 rows are for test, 180 of the rest for validation.

    Both are stratified by class, by a fixed seed. Raises ValueError for fewer rows than that.
    """
    from sklearn.model_selection import train_test_split

    labels, rows = np.asarray(labels), np.arange(len(labels))
    rest, test = train_test_split(rows, test_size=_TEST, stratify=labels, random_state=_SEED)
    train, validation = train_test_split(rest, test_size=_VALIDATION, stratify=labels[rest], random_state=_SEED)
    return {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}


def _examples(images: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> Examples:
    for i in ids:
        yield int(i), {"image": images[i], "label": int(labels[i])}


def _load_images() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # a second to import, needed once

    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 8, 8, 1).astype(np.uint8), labels


def dataset_info(
    builder: tfds.core.DatasetBuilder, further: Mapping[str, tfds.features.FeatureConnector]
) -> tfds.core.DatasetInfo:
    """The description that TFDS stores of the digits: image, label and `further` features, by their names."""
    features = {
        "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
        "label": tfds.features.ClassLabel(num_classes=10),
        **further,
    }
    return tfds.core.DatasetInfo(
        builder=builder,
        description="Handwritten digits, 8x8 pixels with levels 0 to 16, from sklearn.datasets.load_digits.",
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
        homepage="https://archive.ics.uci.edu/dataset/80",
        metadata=tfds.core.MetadataDict(levels=LEVELS),
        disable_shuffling=True,
    )
