"""The colour photographs that come with scikit-image and scikit-learn, as a TFDS data set of whole photographs.

`open_dataset("photos", image_size=32)` cuts patches out of them (photo_patches.py). Nothing is downloaded.

| photograph | file | licence |
|---|---|---|
| astronaut | scikit-image | public domain (NASA) |
| cat | scikit-image, chelsea.png | CC0 (Stefan van der Walt) |
| coffee | scikit-image | CC0 (Rachel Michetti) |
| hubble | scikit-image, hubble_deep_field.jpg | public domain (NASA, ESA) |
| tissue | scikit-image, ihc.png | no known copyright restrictions |
| retina | scikit-image | CC0 (Häggström 2014, WikiJournal of Medicine) |
| rocket | scikit-image | public domain (SpaceX) |
| flower | scikit-learn | CC BY 2.0 (vultilion, flickr) |
| china | scikit-learn | CC BY 2.0 (danielbuechele, flickr) |
| motorcycle | scikit-image, two views | Middlebury stereo benchmark 2014 (Scharstein et al. 2014) |
"""

import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from diffjax.data.package_files import package_image
from diffjax.utils.png import encode_png

Examples = Iterable[tuple[int, dict[str, object]]]  # (number, features)


Photo = UInt8[np.ndarray, "_ _ 3"]


class PhotoFile(NamedTuple):
    """A photograph: its name, and the package and the file that it comes in."""

    name: str
    package: str
    path: str


DIVIDED = (
    PhotoFile("astronaut", "skimage", "data/astronaut.png"),
    PhotoFile("cat", "skimage", "data/chelsea.png"),
    PhotoFile("coffee", "skimage", "data/coffee.png"),
    PhotoFile("hubble", "skimage", "data/hubble_deep_field.jpg"),
    PhotoFile("tissue", "skimage", "data/ihc.png"),
    PhotoFile("retina", "skimage", "data/retina.jpg"),
    PhotoFile("rocket", "skimage", "data/rocket.jpg"),
    PhotoFile("flower", "sklearn", "datasets/images/flower.jpg"),
)
"""Photographs whose left two thirds are for training, and whose right third is for test."""

HELD_OUT = PhotoFile("china", "sklearn", "datasets/images/china.jpg")
"""The photograph of which training sees nothing, 427x640: roofs, foliage and sky."""

VIEWS = {
    "left_view": PhotoFile("motorcycle", "skimage", "data/motorcycle_left.png"),
    "right_view": PhotoFile("motorcycle", "skimage", "data/motorcycle_right.png"),
}
"""Two photographs of one scene, rectified: what is in column x of the left one is in column x - d of the right one."""

DISPARITY = ("skimage", "data/motorcycle_disp.npz")  # d of each pixel of the left view; not finite where unknown
NAMES = (*(photo.name for photo in DIVIDED), HELD_OUT.name, VIEWS["left_view"].name)


class Photos(tfds.core.GeneratorBasedBuilder):
    """Whole photographs: the left two thirds of eight for train, their right third for test, and three more.

    Split `held_out` is one photograph, and `left_view` and `right_view` are a stereo pair.
    """

    name = "photos"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Eight photographs in two parts, one held out, two views of one scene."}  # noqa: RUF012
    PREPARES_ITSELF = True

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "photograph": tfds.features.ClassLabel(names=list(NAMES)),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="The colour photographs that come with scikit-image and scikit-learn.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://scikit-image.org/docs/stable/api/skimage.data.html",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Examples]:
        photos = [package_image(photo.package, photo.path) for photo in DIVIDED]
        names = [photo.name for photo in DIVIDED]
        single = {"held_out": HELD_OUT, **VIEWS}
        return {
            "train": _examples(names, [photo[:, : border(photo)] for photo in photos]),
            "test": _examples(names, [photo[:, border(photo) :] for photo in photos]),
            **{
                split: _examples([photo.name], [package_image(photo.package, photo.path)])
                for split, photo in single.items()
            },
        }

    def _generate_examples(self) -> Examples:
        raise NotImplementedError("`_split_generators` makes the examples")


def border(photo: Photo) -> int:
    """The first column of a photograph that is for test: two thirds of its width."""
    return 2 * photo.shape[1] // 3


def _examples(names: list[str], photos: list[Photo]) -> Examples:
    rows = zip(names, photos, strict=True)
    return [
        (number, {"image": io.BytesIO(encode_png(photo)), "photograph": name})
        for number, (name, photo) in enumerate(rows)
    ]
