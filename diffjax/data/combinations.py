"""Combinations that training never sees: their words do occur apart, so that a model may put them together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from diffjax.data.captions import matches_caption, parse_caption
from diffjax.data.condition_parts import check_described, part_context
from diffjax.data.splits import Dataset, Split
from diffjax.errors import UserError

LEFT_OUT = "left_out"  # the split of what training would have seen


def hold_out_combinations(dataset: Dataset, texts: Sequence[str]) -> Dataset:
    """The set without the combinations of these texts, as "bold three", in training and validation.

    Test keeps them, and what training lost is the split `left_out`. Raises `UserError` for a text of no trait, and for
    a set whose pictures are not described in such words.
    """
    if not texts:
        return dataset
    try:
        check_described(part_context(dataset))
        traitless = next((text for text in texts if not parse_caption(text).traits), None)
    except UserError as mistake:
        raise UserError(f"data.leave_out: data set {dataset.name!r}: {mistake}") from None
    if traitless is not None:
        raise UserError(f"data.leave_out: {traitless!r} names a whole class; name a trait too, as 'bold three'")
    splits = dict(dataset.splits)
    for name in ("train", "validation"):
        split, out = splits[name], _matching_examples(dataset, name, texts)
        if isinstance(split, Split):
            splits[name] = replace(split, ids=split.ids[~out])
            splits.setdefault(LEFT_OUT, replace(split, ids=split.ids[out]))
    return replace(dataset, splits=splits)


def _matching_examples(dataset: Dataset, split: str, texts: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Which examples of a split are of one of the texts."""
    images, _ = dataset.arrays(split)
    labels = dataset.split(split).labels()
    return np.any([matches_caption(text, images, labels, dataset.levels) for text in texts], axis=0)
