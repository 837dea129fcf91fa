"""The digits without some combinations of class and trait, or with their captions stored: data sets by import path."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool

from diffjax.data import Dataset, Split, open_dataset
from diffjax.data.condition_parts import part_context
from diffjax.data.digits import LEVELS, Digits, dataset_info
from diffjax.data.tfds_source import open_prepared
from diffjax.errors import UserError
from examples.digits_text.captions import matches_caption, parse_caption, write_captions
from examples.digits_text.parts import check_described

LEFT_OUT = "left_out"  # the split of what training would have seen


def digits(leave_out: tuple[str, ...] = (), data_dir: str | None = None) -> Dataset:
    """The digits, without some combinations, such as "bold three", in training and validation.

    Test keeps them, and what training lost is the split `left_out`. Raises UserError for a text of no trait.
    """
    return hold_out_combinations(open_dataset("digits", data_dir), leave_out)


def described_digits(data_dir: str | None = None) -> Dataset:
    """The digits, each with the caption that says all of it, stored as the feature `text`."""
    return open_prepared(DescribedDigits.name, data_dir)


class DescribedDigits(Digits):
    """The digits, each with the caption that says all of it, as `text`: for encoders that read stored texts."""

    name = "described_digits"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "digits 1.0.0, with the first caption of each."}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        return dataset_info(self, {"text": tfds.features.Text()})

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {name: _with_captions(rows) for name, rows in super()._split_generators(dl_manager).items()}


def hold_out_combinations(dataset: Dataset, texts: Sequence[str]) -> Dataset:
    """The set without the combinations of these texts in training and validation; see `digits`."""
    if not texts:
        return dataset
    check_described(part_context(dataset))
    traitless = next((text for text in texts if not parse_caption(text).traits), None)
    if traitless is not None:
        raise UserError(f"leave_out: {traitless!r} names a whole class; name a trait too, as 'bold three'")
    splits = dict(dataset.splits)
    for name in ("train", "validation"):
        split = splits[name]
        out = _matching_examples(dataset, name, texts)
        if isinstance(split, Split):
            splits[name] = replace(split, ids=split.ids[~out])
            splits.setdefault(LEFT_OUT, replace(split, ids=split.ids[out]))
    return replace(dataset, splits=splits)


def _matching_examples(dataset: Dataset, split: str, texts: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Which examples of a split are of one of the texts."""
    images, _ = dataset.arrays(split)
    labels = dataset.split(split).labels()
    return np.any([matches_caption(text, images, labels, dataset.levels) for text in texts], axis=0)


def _with_captions(rows: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, row in rows:
        yield i, {**row, "text": write_captions(row["image"], row["label"], LEVELS, 1)[0]}
