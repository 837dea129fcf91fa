"""Rules that assign images to the splits that a set does not define. A run records the rule by its name."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from jaxtyping import Bool, Float64

from diffjax.data.splits import Dataset, Part, Split

__all__ = ["by_key", "by_rank"]

SPLIT_SHARES = {"test": 0.1, "validation": 0.1}  # of all images; the rest is for training
Key = Callable[[int], bytes]  # record number -> key that identifies it independently of its position


@dataclass(frozen=True)
class SplitRule:
    """`folder(keys, labels)` splits all images of a set, `partition_train(count, key, missing)` its train split.

    Both return the ids of each split; `partition_train` those of `train` and of missing splits. `text` describes it.
    """

    folder: Callable[[Sequence[bytes], Sequence[int]], dict[str, Part]]
    partition_train: Callable[[int, Key, Collection[str]], dict[str, Part]]
    text: str = "a rule of its own"


def hash_positions(keys: Iterable[bytes]) -> Float64[np.ndarray, " n"]:
    """A uniform number in [0, 1) for each key, from its SHA-256."""
    return np.array([int.from_bytes(sha256(key).digest()[:6], "big") for key in keys], np.float64) / 2.0**48


def _split_by_position(keys: Sequence[bytes], missing: Collection[str]) -> dict[str, Part]:
    """Test is [0, 0.1), validation [0.1, 0.2), whether or not the set has the other; training is the rest.

    If that leaves none for training, all are for training.
    """
    place = hash_positions(keys)
    rest = np.ones(len(keys), bool)
    parts = {}
    start = 0.0
    for name, share in SPLIT_SHARES.items():
        if name in missing:
            inside = (start <= place) & (place < start + share)
            parts[name] = _part(inside, keys)
            rest &= ~inside
        start += share
    if not rest.any():  # of a few images
        parts = {name: _part(rest, keys) for name in parts}
        rest = ~rest
    return {**parts, "train": _part(rest, keys)}


def _split_every_tenth(keys: Sequence[bytes], labels: Sequence[int]) -> dict[str, Part]:
    """In the order of (class, SHA-256 of the key) the fifth of every ten is validation, the tenth test."""
    rank = sorted(range(len(keys)), key=lambda i: (labels[i], sha256(keys[i]).digest()))
    place = np.empty(len(keys), np.int64)
    place[rank] = np.arange(len(keys)) % 10
    members = {"train": (place != 4) & (place != 9), "validation": place == 4, "test": place == 9}
    return {name: _part(inside, keys) for name, inside in members.items()}


def _split_from_the_end(count: int, key: Key, missing: Collection[str]) -> dict[str, Part]:
    """A tenth of `train` for each missing split, from its end."""
    tenth = count // 10
    ids = np.arange(count)
    parts = {}
    for name in missing:
        parts[name] = Part(ids[len(ids) - tenth :], "")
        ids = ids[: len(ids) - tenth]
    return {**parts, "train": Part(ids, "")}


def _part(inside: Bool[np.ndarray, " n"], keys: Sequence[bytes]) -> Part:
    ids = np.flatnonzero(inside).astype(np.int64)
    return Part(ids, fingerprint([keys[int(i)] for i in ids]))


def fingerprint(keys: Iterable[bytes]) -> str:
    """SHA-256 of a set of keys, whatever their order."""
    return sha256(b"".join(sorted(sha256(key).digest() for key in keys))).hexdigest()


# An image's split depends on its key alone, so that adding or removing others moves none.
by_key = SplitRule(
    folder=lambda keys, labels: _split_by_position(keys, SPLIT_SHARES),
    partition_train=lambda count, key, missing: _split_by_position([key(i) for i in range(count)], missing),
    text="a hash of each image's path or key, by which a tenth each is for test and validation",
)

# The rule of runs without a recorded rule; it moves images between splits when a set grows.
by_rank = SplitRule(
    folder=_split_every_tenth,
    partition_train=_split_from_the_end,
    text="rank, by which every tenth image each is for test and validation",
)

CURRENT_RULE = "by_key"
LEGACY_RULE = "by_rank"


@dataclass(frozen=True)
class SplitRecord:
    """The rule of a run's splits, the number of images of each, and a hash of their keys if known."""

    rule: str
    counts: Mapping[str, int] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)


def describe_splits(dataset: Dataset, rule: SplitRule) -> str:
    """The number of images of each split, and the rule, or the set itself, that assigned them."""
    names = sorted(dataset.splits, key=lambda name: name != "train")
    counts = ", ".join(f"{len(dataset.splits[name]):,} for {name}" for name in names)
    divided = any(isinstance(split, Split) and split.fingerprint for split in dataset.splits.values())
    return f"{counts} (split by {rule.text if divided else 'the data set itself'})"


def recorded_rule(recorded: SplitRecord | None) -> str:
    """The name of the rule of a run's splits."""
    return recorded.rule if recorded else LEGACY_RULE


def split_record(dataset: Dataset, rule: str) -> SplitRecord:
    """The record of the splits of a data set."""
    splits = dataset.splits
    fingerprints = {name: split.fingerprint for name, split in splits.items() if isinstance(split, Split)}
    counts = {name: len(split) for name, split in splits.items()}
    return SplitRecord(rule, counts, {name: text for name, text in fingerprints.items() if text})


def describe_changes(recorded: SplitRecord, dataset: Dataset) -> str:
    """What has changed in a set since a run recorded its splits, in one line, or an empty text."""
    current = split_record(dataset, recorded.rule)
    changed = [change for name in recorded.counts if (change := _describe_change(name, recorded, current))]
    if not changed:
        return ""
    explanation = "; this run's rule by_rank moves pictures between splits when a set changes" * (
        recorded.rule == LEGACY_RULE
    )
    return f"{dataset.name} has changed since the run recorded its splits: {', '.join(changed)}{explanation}"


def _describe_change(name: str, recorded: SplitRecord, current: SplitRecord) -> str:
    before = recorded.counts[name]
    after = current.counts.get(name, 0)
    if before != after:
        return f"{name} had {before:,} pictures and has {after:,}"
    if recorded.fingerprints.get(name) != current.fingerprints.get(name):
        return f"{name} has as many, {after:,}, and not the same"
    return ""
