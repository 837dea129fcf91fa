"""What a data set is: named splits that are read example by example, and what all examples share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from diffjax.errors import UserError

Image = UInt8[np.ndarray, "h w c"]
Fetch = Callable[[int], tuple[Callable[[], np.ndarray], int]]


class Example(TypedDict):
    """One example: the image as levels, and its class (0 in sets without labels)."""

    image: Image
    label: np.int32


@dataclass(frozen=True, eq=False)
class Split:
    """One split with random access: `fetch(id)` finds a record and returns (decode its image, its label)."""

    ids: Int64[np.ndarray, " n"]
    fetch: Fetch

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        decode, label = self.fetch(int(self.ids[index]))
        return {"image": decode(), "label": np.int32(label)}

    def labels(self) -> Int32[np.ndarray, " n"]:
        """The classes of all examples, in order, without decoding an image."""
        return np.array([self.fetch(int(i))[1] for i in self.ids], np.int32)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one shape (h, w, c) with pixels 0 … levels − 1; `classes` is 0 where there are no labels."""

    name: str
    shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...]
    levels: int
    splits: Mapping[str, Split]

    def split(self, name: str) -> Split:
        """The split of that name; raises `UserError` where it is missing or empty."""
        if name not in self.splits:
            raise UserError(f"data set {self.name!r}: no split {name!r}; it has {', '.join(sorted(self.splits))}")
        if not len(self.splits[name]):
            raise UserError(f"data set {self.name!r}: split {name!r} is empty; add images or use another split")
        return self.splits[name]

    def arrays(self, split: str) -> tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"] | None]:
        """The whole split in memory: images [n, h, w, c], and labels [n], or None in sets without labels."""
        source = self.split(split)
        images, labels = np.empty((len(source), *self.shape), np.uint8), np.empty(len(source), np.int32)
        for i in range(len(source)):
            example = source[i]
            images[i], labels[i] = example["image"], example["label"]
        return images, labels if self.classes else None


def carve(splits: Mapping[str, Split]) -> dict[str, Split]:
    """All splits, and a missing `test`, then a missing `validation`, cut off the end of `train`: a tenth of it each."""
    result = dict(splits)
    tenth = len(result["train"]) // 10
    for missing in [name for name in ("test", "validation") if name not in result]:
        train = result["train"]
        kept = len(train) - tenth
        result["train"] = replace(train, ids=train.ids[:kept])
        result[missing] = replace(train, ids=train.ids[kept:])
    return result
