"""Crops of 25 × 25 pixels, 100 of faces and 100 of what lies around them: `skimage.data.lfw_subset` for TFDS.

The crops are of Labeled Faces in the Wild (Huang et al. 2012), and come inside scikit-image; nothing is downloaded.
"""

import io
from collections.abc import Iterable

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int64, UInt8

from diffjax.data.package_files import package_file
from diffjax.utils.png import encode_png

Examples = Iterable[tuple[int, dict[str, object]]]  # (row number, features)

CLASSES = ("face", "background")
_OF_CLASS = 100  # images, in this order
_EVERY = 10  # of so many images of a class, one is for validation and two are for test
_SEED = 0  # of the splits; a part of the data set, like its version


class Faces25(tfds.core.GeneratorBasedBuilder):
    """200 grey images, uint8 [25, 25, 1], of two classes: 70 of each for train, 10 for validation, 20 for test."""

    name = "faces25"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Stratified splits of skimage.data.lfw_subset, in its order."}  # noqa: RUF012
    PREPARES_ITSELF = True

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(25, 25, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(CLASSES)),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Faces and background, 25x25 pixels, from skimage.data.lfw_subset.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="http://vis-www.cs.umass.edu/lfw/",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Examples]:
        images = load_images()
        return {name: _examples(images, rows) for name, rows in split_rows().items()}

    def _generate_examples(self) -> Examples:
        raise NotImplementedError("`_split_generators` makes the examples")


def load_images() -> UInt8[np.ndarray, "200 25 25"]:
    """All images, faces first; the stored numbers in [0, 1] are rounded to 256 levels."""
    stored = np.load(package_file("skimage", "data/lfw_subset.npy"), allow_pickle=False)
    return stored if stored.dtype == np.uint8 else np.round(255 * stored).astype(np.uint8)


def split_rows() -> dict[str, Int64[np.ndarray, " n"]]:
    """The rows of each split, ascending; of each class equally many, by a fixed seed."""
    orders = [np.random.default_rng((_SEED, label)).permutation(_OF_CLASS) for label in range(len(CLASSES))]
    rows = np.concatenate([label * _OF_CLASS + order for label, order in enumerate(orders)])
    place = np.arange(len(rows)) % _EVERY
    inside = {"train": place > 2, "validation": place == 0, "test": (place == 1) | (place == 2)}
    return {name: np.sort(rows[members]).astype(np.int64) for name, members in inside.items()}


def _examples(images: UInt8[np.ndarray, "n 25 25"], rows: Int64[np.ndarray, " _"]) -> Examples:
    encoded = {row: io.BytesIO(encode_png(images[row, ..., None])) for row in rows.tolist()}
    return [(row, {"image": image, "label": CLASSES[row // _OF_CLASS]}) for row, image in encoded.items()]
