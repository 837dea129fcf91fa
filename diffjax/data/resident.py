"""Splits that are kept on the device, decoded, so that a batch is gathered there by its ids."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Bool, Float32, Int32, Int64, Integer, PyTree, UInt8, UInt32

from diffjax.data.condition_parts import Part
from diffjax.data.examples import Images
from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.part_values import gather_parts
from diffjax.data.reading import Reader
from diffjax.data.splits import Dataset, Split

DeviceImages = UInt8[jax.Array, "n ..."] | Float32[jax.Array, "n ..."]
Selected = tuple[UInt8[jax.Array, "b ..."] | Float32[jax.Array, "b ..."], Int32[jax.Array, " b"] | None, PyTree]


class ResidentSplit(NamedTuple):
    """What selects rows among the images of each bucket; the bucket of each example, and its place in it.

    Where all images have one size, there is one bucket, and `buckets` is None.
    """

    select: Sequence[Partial | None]
    buckets: Int64[np.ndarray, " n"] | None = None
    places: Int64[np.ndarray, " n"] | None = None

    def rows(self, ids: Integer[np.ndarray, " b"]) -> tuple[Partial, UInt32[np.ndarray, " b"]]:
        """What selects the rows of a batch of one bucket, and their numbers there."""
        if self.buckets is None or self.places is None:
            bucket, places = 0, ids
        else:
            bucket, places = int(self.buckets[ids[0]]), self.places[ids]
        select = self.select[bucket]
        assert select is not None, "no example is in an empty bucket"
        return select, places.astype(np.uint32)


def keep_resident(dataset: Dataset, split: str, parts: Sequence[Part]) -> ResidentSplit:
    """The split on the device, as bytes, or what generates it there."""
    source = dataset.split(split)
    if isinstance(source, GeneratedSplit):
        assert isinstance(source.draw, Partial)
        return ResidentSplit((source.draw,))
    if len(dataset.sizes) <= 1:
        images, labels = dataset.arrays(split)
        values = gather_parts(source, np.arange(len(source)), images, labels, parts)
        return ResidentSplit((_on_device(images, labels, values),))
    buckets = source.buckets()
    places = np.zeros(len(buckets), np.int64)
    select = [_bucket(dataset, source, parts, buckets == number, places) for number in range(len(dataset.sizes))]
    return ResidentSplit(select, buckets, places)


def _bucket(
    dataset: Dataset,
    source: Split,
    parts: Sequence[Part],
    inside: Bool[np.ndarray, " n"],
    places: Int64[np.ndarray, " n"],
) -> Partial | None:
    """What selects rows of one bucket, whose `places` are filled in; None of an empty one."""
    members = np.flatnonzero(inside)
    if not len(members):
        return None
    places[members] = np.arange(len(members))
    raw = Reader(source, parts, draw_word=0).read_batch(0, members)
    return _on_device(raw["image"], raw["label"] if dataset.classes else None, raw["parts"])


def _on_device(images: Images, labels: Int32[np.ndarray, " n"] | None, parts: dict[str, np.ndarray]) -> Partial:
    return Partial(_select_rows, *jax.device_put((images, labels, parts)))


def _select_rows(
    images: DeviceImages,
    labels: Int32[jax.Array, " n"] | None,
    parts: dict[str, jax.Array],
    ids: UInt32[jax.Array, " b"],
) -> Selected:
    return images[ids], None if labels is None else labels[ids], {name: value[ids] for name, value in parts.items()}
