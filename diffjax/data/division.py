"""Examples of a source in rows, and their division into splits: by the source's own names, or by a rule."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from diffjax.data.columns import Classes, Column, column_classes
from diffjax.data.framing import Framing
from diffjax.data.pictures import Substitutes
from diffjax.data.split_rules import SPLIT_SHARES, SplitRule
from diffjax.data.splits import Fetch, ReadFeatures, Split, complete_splits
from diffjax.errors import UserError

SPLIT_WORDS = {name: name for name in ("train", "validation", "test")} | {"val": "validation", "valid": "validation"}
SPLIT = "split"  # the column that names the split of each example
LABEL = "label"  # the column of classes where no other is named


class Rows(NamedTuple):
    """Examples in order: a key of each that moves with it, its class, and its split where the source has splits.

    `framing` brings pictures to their sizes. Of those that cannot be read, up to `max_unreadable` of a split, as a
    share, have `Substitutes`; None: none have.
    """

    keys: Sequence[bytes]
    labels: Sequence[int] | Integer[np.ndarray, " n"]
    splits: Sequence[str] | None
    fetch: Fetch
    stored: ReadFeatures | None
    framing: Framing | None = None
    max_unreadable: float | None = None


def divide(rows: Rows, rule: SplitRule, location: str) -> dict[str, Split]:
    """The splits of a source: its own, else those of the rule.

    Where it has its own, a missing validation or test split is a tenth of train by the rule. Raises `UserError` where
    nothing is for training.
    """
    splits = _divide(rows, rule, location)
    share = rows.max_unreadable
    if share is None:
        return splits
    labels = np.asarray(rows.labels)
    groups = {name: _exchangeable(labels[split.ids], split.buckets()) for name, split in splits.items()}
    return {name: replace(split, substitutes=Substitutes(groups[name], share)) for name, split in splits.items()}


def _exchangeable(labels: Integer[np.ndarray, " n"], buckets: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
    """The group of each example, of which one may be read in place of another: of a class, or of a bucket."""
    return buckets if buckets.any() else labels


def _divide(rows: Rows, rule: SplitRule, location: str) -> dict[str, Split]:
    framing = None if rows.framing is None else rows.framing.with_keys(rows.keys)
    every = Split(np.arange(len(rows.keys)), rows.fetch, rows.stored, framing=framing)
    if rows.splits is None:
        parts = rule.folder(rows.keys, [int(label) for label in rows.labels])
        return {name: replace(every, ids=part.ids, fingerprint=part.fingerprint) for name, part in parts.items()}
    members = np.asarray(rows.splits)
    splits = {str(name): replace(every, ids=np.flatnonzero(members == name)) for name in np.unique(members)}
    if "train" not in splits:
        raise UserError(f"{location}: all examples are for {', '.join(splits)}, and none for training; add train")
    missing = [name for name in SPLIT_SHARES if name not in splits]
    if not missing:
        return splits
    ids = splits["train"].ids
    return complete_splits(splits, rule.partition_train(len(ids), lambda row: rows.keys[int(ids[row])], missing))


def take_splits(columns: dict[str, Column], location: str) -> list[str] | None:
    """The split of each example, by the column `split` where there is one, which is taken out.

    Raises `UserError` for any other word than those of `SPLIT_WORDS`.
    """
    column = columns.pop(SPLIT, None)
    if column is None:
        return None
    words = [str(word) for word in column.tolist()]
    other = next((row for row, word in enumerate(words) if word not in SPLIT_WORDS), None)
    if other is not None:
        problem = f"expected train, validation or test, got {words[other]!r:.40} in row {other + 1}"
        raise UserError(f"{location}: column {SPLIT!r}: {problem}; write one of them, or give it another name")
    return [SPLIT_WORDS[word] for word in words]


def take_classes(columns: dict[str, Column], label: str, location: str, names: Sequence[str] = ()) -> Classes | None:
    """The classes by the column of that name, by default `label`, which is taken out; None where there is none.

    Raises `UserError` for a name that the source does not have.
    """
    if label and label not in columns:
        have = ", ".join(sorted(columns)) or "none"
        raise UserError(f"data.label: {location} has no column {label!r}; it has: {have}")
    column = columns.pop(label or LABEL, None)
    return None if column is None else column_classes(column, f"{location}: column {label or LABEL!r}", names)


def own_splits(words: Iterable[str]) -> list[str] | None:
    """The splits of files whose names begin with these words; None unless each of them is a split's."""
    words = list(words)
    return [SPLIT_WORDS[word] for word in words] if words and all(word in SPLIT_WORDS for word in words) else None
