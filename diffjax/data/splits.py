"""Data sets: named splits with random access, and the properties of all examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypedDict

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float32, Int32, Int64, Integer, UInt8

from diffjax.data.picture_index import Rows
from diffjax.data.pictures import Substitutes
from diffjax.distributions import Mixture
from diffjax.errors import UserError

Image = UInt8[np.ndarray, "..."] | Float32[np.ndarray, "..."]  # levels [h, w, c]; real numbers of any shape
Images = UInt8[np.ndarray, "n ..."] | Float32[np.ndarray, "n ..."]
Fetch = Callable[[int], tuple[Callable[[], np.ndarray], int]]
ReadFeatures = Callable[[int], Mapping[str, object]]


class Example(TypedDict):
    """One example: the image, and its class (0 in sets without labels)."""

    image: Image
    label: np.int32


@dataclass(frozen=True)
class Feature:
    """A stored feature beside image and class: an array, a text, a class of `classes`, or a picture of that shape.

    `names` are those of the categories that its values may be taken as. `optional`: an empty text stands for none.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype
    text: bool = False
    classes: int = 0
    names: tuple[str, ...] = ()
    optional: bool = False
    picture: bool = False


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

    `stored(id)` is the whole record, in sets with further features. `fingerprint` is a hash of the keys by which images
    were assigned to this split; empty if the set itself has the split. `substitutes` name the example that is read in
    place of one that cannot be; without them that raises.
    """

    ids: Int64[np.ndarray, " n"]
    fetch: Fetch
    stored: ReadFeatures | None = None
    fingerprint: str = ""
    substitutes: Substitutes | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        while True:
            resolved = self._resolve(index)
            decode, label = self.fetch(int(self.ids[resolved]))
            try:
                return {"image": decode(), "label": np.int32(label)}
            except UserError as error:
                if self.substitutes is None:
                    raise
                self.substitutes.replace(resolved, error)

    def features(self, index: int) -> Mapping[str, object]:
        """The stored features of an example beside image and class; none in most sets."""
        return self.stored(int(self.ids[self._resolve(index)])) if self.stored else {}

    def _resolve(self, index: int) -> int:
        return index if self.substitutes is None else self.substitutes.resolve(range(len(self))[index])

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
class GeneratedSplit:
    """A split whose example i is generated from i: `draw(ids) -> (images, labels)`, on the device.

    `class_probabilities` sum to 1.
    """

    count: int
    draw: Partial
    class_probabilities: tuple[float, ...]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        images, labels = _generate(self.draw, np.array([range(self.count)[index]], np.uint32))
        return {"image": np.asarray(images)[0], "label": np.int32(np.asarray(labels)[0])}

    def features(self, index: int) -> Mapping[str, object]:
        """Nothing is stored."""
        return {}

    def labels(self) -> Int32[np.ndarray, " n"]:
        """The classes of all examples, in order."""
        return np.array([self[i]["label"] for i in range(self.count)], np.int32)

    def class_frequencies(self, classes: int) -> tuple[float, ...]:
        """The probability of each class."""
        return self.class_probabilities

    def sample_indices(self, max_count: int) -> Int64[np.ndarray, " _"]:
        """The indices of at most `max_count` examples: the first, since examples are independent."""
        return np.arange(min(self.count, max_count))


_generate = jax.jit(lambda draw, ids: draw(ids))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one shape (h, w, c) with pixels 0 … levels − 1; `classes` is 0 where there are no labels.

    Arrays may have any other shape. `features` are stored beside image and class. If the numbers are `real`, or their
    `distribution` is known, `levels` are for pictures only. `transparent` is the number of images, of all splits, that
    were composited on white; of a folder, `notes` say so. `notes` are lines for the user. `files`: of a folder of
    pictures.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...]
    levels: int
    splits: Mapping[str, Split | GeneratedSplit]
    distribution: Mixture | None = None
    features: Mapping[str, Feature] = field(default_factory=dict)
    transparent: int = 0
    real: bool = False
    notes: tuple[str, ...] = ()
    files: PictureFiles | None = None

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
