"""Data sets: named splits with random access, and the properties of all examples."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer

from diffjax.data.decoded_pictures import DecodedPictures
from diffjax.data.examples import Example, Feature, Images
from diffjax.data.framing import IN_TRAINING, OUTSIDE_OF_TRAINING, Framing, View
from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.picture_index import Rows
from diffjax.data.pictures import Substitutes
from diffjax.errors import UserError
from diffjax.utils.image_fit import Place, Size
from diffjax.utils.image_io import place_pixels

Decode = Callable[..., np.ndarray]  # of pictures with the `Place` that brings them to a size; of others without
Fetch = Callable[[int], tuple[Decode, int]]
ReadFeatures = Callable[[int, Place | None], Mapping[str, object]]
StoredFeatures = Callable[[], Mapping[str, object]]


class Part(NamedTuple):
    """The ids that a rule assigns to one split, ascending, and a hash of their keys, empty for rules without keys."""

    ids: Int64[np.ndarray, " n"]
    fingerprint: str


class PictureFiles(NamedTuple):
    """The files of a set, by paths relative to `root`, and what is known of each; ids of splits are their numbers."""

    root: Path
    files: Sequence[Path]
    rows: Rows


@dataclass(frozen=True, eq=False)
class Split:
    """One split with random access: `fetch(id)` finds a record and returns (decode its image, its label).

    `framing` brings pictures to a size: then `decode` takes a `Place`, or None for the whole picture. `stored(id,
    place)` is the whole record, in sets with further features, its pictures brought to the size of the image.
    `fingerprint` is a hash of the keys by which images were assigned to this split; empty if the set itself has the
    split. `substitutes` name the example that is read in place of one that cannot be; without them that raises.
    `decoded` has pictures that need not be decoded.
    """

    ids: Int64[np.ndarray, " n"]
    fetch: Fetch
    stored: ReadFeatures | None = None
    fingerprint: str = ""
    substitutes: Substitutes | None = None
    framing: Framing | None = None
    decoded: DecodedPictures | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        return self.read(index)

    def read(self, index: int, view: View = OUTSIDE_OF_TRAINING) -> Example:
        """One example, its image as this view has it."""
        return self.read_whole(index, view)[0]

    def read_whole(self, index: int, view: View = OUTSIDE_OF_TRAINING) -> tuple[Example, StoredFeatures]:
        """One example, and what reads its stored features; both are of its substitute where it cannot be read."""
        while True:
            resolved = self._resolve(index)
            record = int(self.ids[resolved])
            try:
                label = np.int32(self.fetch(record)[1])
                return {"image": self.pixels(record, view), "label": label}, partial(self._features, record, view)
            except UserError as error:
                if self.substitutes is None:
                    raise
                self.substitutes.replace(resolved, error)

    def features(self, index: int, view: View = OUTSIDE_OF_TRAINING) -> Mapping[str, object]:
        """The stored features of an example beside image and class; none in most sets."""
        return self._features(int(self.ids[self._resolve(index)]), view)

    def _features(self, record: int, view: View) -> Mapping[str, object]:
        if self.stored is None:
            return {}
        return self.stored(record, None if self.framing is None else self.framing.part_place(record, view))

    def buckets(self) -> Int64[np.ndarray, " n"]:
        """The number of the size, in training, of each example."""
        numbers = None if self.framing is None else self.framing.numbers
        return np.zeros(len(self), np.int64) if numbers is None else numbers[self.ids]

    def _resolve(self, index: int) -> int:
        return index if self.substitutes is None else self.substitutes.resolve(range(len(self))[index])

    def pixels(self, record: int, view: View = OUTSIDE_OF_TRAINING) -> np.ndarray:
        """The image of a record, of its decoded picture if that is stored."""
        decode, _ = self.fetch(record)
        framing = self.framing
        if framing is None:
            return decode()
        place = framing.place(record, view)
        pixels = None if self.decoded is None else self.decoded.load(record)
        if pixels is None or self.decoded is None:
            return decode(place)
        if self.decoded.whole:
            return place_pixels(pixels, place, f"picture {record}")
        is_this = framing.number(record, view) == framing.number(record, IN_TRAINING)
        return pixels if is_this else decode(place)

    def labels(self) -> Int32[np.ndarray, " n"]:
        """The classes of all examples, in order, without decoding an image."""
        return np.array([self.fetch(int(i))[1] for i in self.ids], np.int32)

    def class_frequencies(self, classes: int) -> tuple[float, ...]:
        """The relative frequency of each class."""
        return tuple(float(share) for share in label_frequencies(self.labels(), classes))

    def sample_indices(self, max_count: int) -> Int64[np.ndarray, " _"]:
        """The indices of at most `max_count` random examples, by a fixed seed, ascending."""
        return np.sort(np.random.default_rng(0).permutation(len(self))[:max_count])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one shape (h, w, c) with pixels 0 … levels − 1; `classes` is 0 where there are no labels.

    Arrays may have any other shape. With buckets (`framing`) batches have further ones, and `shape` is that outside of
    training. `features` are stored beside image and class. If the numbers are `real`, or their `distribution`, a
    `distributions.Mixture`, is known, `levels` are for pictures only. `transparent` is the number of images, of all
    splits, that were composited on white; of a folder, `notes` say so. `notes` are lines for the user. `files`: of a
    folder of pictures. `encoded`: reading an example is work that processes may take over. `stamp(id)` identifies the
    file of a record's picture as it is now; empty where it may still change unnoticed.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...]
    levels: int
    splits: Mapping[str, Split | GeneratedSplit]
    distribution: object = None
    features: Mapping[str, Feature] = field(default_factory=dict)
    transparent: int = 0
    real: bool = False
    notes: tuple[str, ...] = ()
    files: PictureFiles | None = None
    framing: Framing | None = None
    encoded: bool = True
    stamp: Callable[[int], bytes] | None = None

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes of images in batches: one, or those of all buckets; none of examples that are no images."""
        if self.framing is not None:
            return self.framing.sizes
        return ((self.shape[0], self.shape[1]),) if len(self.shape) == 3 else ()

    @property
    def has_levels(self) -> bool:
        """Whether pixels are levels, not real numbers."""
        return self.distribution is None and not self.real

    def split(self, name: str) -> Split | GeneratedSplit:
        """The split of that name; raises `UserError` where it is missing or empty."""
        if name not in self.splits:
            raise UserError(f"data set {self.name!r}: no split {name!r}; it has {', '.join(sorted(self.splits))}")
        if not len(self.splits[name]):
            total = sum(map(len, self.splits.values()))
            problem = f"split {name!r} is empty, of {total:,} images in all; add images, or use another split"
            raise UserError(f"data set {self.name!r}: {problem}")
        return self.splits[name]

    def arrays(
        self, split: str, rows: Integer[np.ndarray, " n"] | None = None
    ) -> tuple[Images, Int32[np.ndarray, " n"] | None]:
        """The whole split in memory, or some of it: images [n, *shape], and labels [n], or None without labels."""
        source = self.split(split)
        rows = np.arange(len(source)) if rows is None else rows
        images = np.empty((len(rows), *self.shape), np.uint8 if self.has_levels else np.float32)
        labels = np.empty(len(rows), np.int32)
        for i, row in enumerate(rows):
            example = source[int(row)]
            images[i] = example["image"]
            labels[i] = example["label"]
        return images, labels if self.classes else None


def label_frequencies(labels: Integer[np.ndarray, " n"], classes: int) -> Float32[np.ndarray, " classes"]:
    """The share of each class among the labels, summing to 1; raises `UserError` for a label not in 0 … classes − 1."""
    if not len(labels):
        raise UserError("labels: none given, so there are no frequencies; use a split that is not empty")
    if labels.min() < 0 or labels.max() >= classes:
        label_range = f"{labels.min()} … {labels.max()}"
        raise UserError(f"labels: expected 0 … {classes - 1}, got {label_range}; use a labelled split, or more classes")
    return (np.bincount(labels, minlength=classes) / len(labels)).astype(np.float32)


def complete_splits(splits: Mapping[str, Split], parts: Mapping[str, Part]) -> dict[str, Split]:
    """All splits, with `train` and the missing ones replaced by these parts of `train`."""
    train = splits["train"]
    cut = {name: replace(train, ids=train.ids[part.ids], fingerprint=part.fingerprint) for name, part in parts.items()}
    return {**splits, **cut}


def picture_dataset(
    location: str,
    framing: Framing,
    channels: int,
    class_names: tuple[str, ...],
    splits: Mapping[str, Split],
    features: Mapping[str, Feature],
    notes: Iterable[str],
) -> Dataset:
    """A set of pictures of 256 levels that are brought to their sizes."""
    shape = (*framing.size, channels)
    count = len(class_names)
    return Dataset(
        location, shape, count, class_names, 256, splits, features=features, notes=tuple(notes), framing=framing
    )
