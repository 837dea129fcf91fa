"""The real images that a model is compared with, also where a split is small or empty."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from diffjax.data import Dataset

MIN_IMAGES = 3  # images of a side, below which nothing is compared

Rows = tuple[str, Integer[np.ndarray, " _"]]  # the name of a split, and which of its images


class RealImages(NamedTuple):
    """The images that evaluation calls train, validation and test; `comparable` where they suffice for scores.

    `note` says in one line which images stand for test, where they are not of the split test.
    """

    rows: Mapping[str, Rows]
    comparable: bool
    note: str


def choose_real_images(dataset: Dataset, split: str, max_images: int) -> RealImages:
    """At most `max_images` of each: for comparison those of `split`, or of the best split that there is.

    That is the larger of validation and test, then train, one half of which is compared with the other. Fewer than
    twice `MIN_IMAGES` training images stand for every split, without scores. Raises UserError for an unknown split, and
    for a data set without training images.
    """
    sizes = {name: len(images) for name, images in dataset.splits.items()}
    if split not in sizes:
        dataset.split(split)  # raises
    train = dataset.split("train").sample_indices(max_images)
    held_out = [name for name in ("test", "validation") if sizes.get(name, 0) >= MIN_IMAGES]
    too_few = sizes[split] < MIN_IMAGES
    reference = max(held_out, key=lambda name: sizes[name], default="train") if too_few else split
    why = f"split {split} has {_images(sizes[split])}, too few to compare with; " if too_few else ""
    if reference == "train":
        return _of_train(dataset.name, train, why)
    other = next((name for name in held_out if name != reference), reference)
    rows = {
        "train": ("train", train),
        "validation": (other, dataset.split(other).sample_indices(max_images)),
        "test": (reference, dataset.split(reference).sample_indices(max_images)),
    }
    comparable = len(train) >= MIN_IMAGES
    note = "" if reference == "test" else f"{why}what is called test is split {reference}, {_images(sizes[reference])}"
    alone = "" if comparable else f"split train has {_images(len(train))}, too few for scores"
    notes = "; ".join(part for part in (note, alone) if part)
    return RealImages(rows, comparable, f"{dataset.name}: {notes}" if notes else "")


def _of_train(name: str, train: Integer[np.ndarray, " _"], why: str) -> RealImages:
    """One half of the training images for comparison with the other; very few stand for every split."""
    if len(train) < 2 * MIN_IMAGES:
        note = f"{why}what is called test is split train, {_images(len(train))}, too few for scores"
        return RealImages(dict.fromkeys(("train", "validation", "test"), ("train", train)), False, f"{name}: {note}")
    halves = train[::2], train[1::2]
    rows = {"train": ("train", halves[0]), "validation": ("train", halves[1]), "test": ("train", halves[1])}
    note = f"{why}what is called test is every second image of split train, and train the others"
    return RealImages(rows, True, f"{name}: {note}")


def _images(count: int) -> str:
    return f"{count:,} image" + "s" * (count != 1)
