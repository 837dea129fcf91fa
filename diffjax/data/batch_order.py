"""The examples of a batch: a pure function of seed and step, equal for any number of hosts."""

from collections.abc import Sequence

import grain
import numpy as np
from jaxtyping import Int64

from diffjax.data.splits import Dataset, GeneratedSplit, label_frequencies
from diffjax.errors import UserError

_STREAM_LENGTH = 2**62  # rows


def batch_ids(n: int, batch_size: int, seed: int, step: int, host: int = 0, hosts: int = 1) -> Int64[np.ndarray, " b"]:
    """Ids in 0 … n - 1 of this host's rows of the batch at `step`, in time independent of the step."""
    if n < 1:
        raise UserError(f"n: expected at least one example, got {n}; use a split that is not empty")
    check_numbers(batch_size, seed, step, host, hosts)
    return np.asarray(host_part(shuffled_ids(n, seed_words(seed)[0]), batch_size, host, hosts)[step])


def shuffled_ids(n: int, seed: int) -> grain.MapDataset:
    """The ids 0 … n - 1 without end, reshuffled for each epoch.

    Grain shuffles in at least 16 bits and skips ids out of range: an id costs 20 µs in a set of 1257, 2 ms in one of 8.
    """
    epochs = _STREAM_LENGTH // n  # without a number Grain overflows at one row per host
    return grain.MapDataset.range(n).shuffle(seed).repeat(epochs, reseed_each_epoch=True)


def balanced_ids(classes: Sequence[Int64[np.ndarray, " _"]], seed: int) -> grain.MapDataset:
    """Row r is of class r mod `len(classes)`: that many consecutive rows hold each class once."""
    count = len(classes)
    orders = [shuffled_ids(len(ids), word) for ids, word in zip(classes, seed_words(seed, count)[-count:], strict=True)]
    return grain.MapDataset.range(_STREAM_LENGTH).map(
        lambda row: classes[row % count][orders[row % count][row // count]]
    )


def ids_by_class(dataset: Dataset, split: str) -> list[Int64[np.ndarray, " _"]]:
    """The ids of each class; raises `UserError` for sets without classes, empty classes and generated splits."""
    if isinstance(dataset.split(split), GeneratedSplit):
        raise UserError(f"data.balance: data set {dataset.name!r} draws each class by its own share; leave it off")
    if not dataset.classes:
        raise UserError(f"data.balance: data set {dataset.name!r} has no classes to balance; leave it off")
    labels = dataset.split(split).labels()
    absent = np.flatnonzero(label_frequencies(labels, dataset.classes) == 0)
    if len(absent):
        name = dataset.class_names[absent[0]]
        raise UserError(f"data.balance: no example of class {name!r} in split {split!r}; leave it off, or add some")
    return [np.flatnonzero(labels == number) for number in range(dataset.classes)]


def host_part(examples: grain.MapDataset, batch_size: int, host: int, hosts: int) -> grain.MapDataset:
    """Element k is this host's part of batch k; slicing follows the shuffle, so that hosts share one order."""
    return examples.batch(batch_size // hosts)[host::hosts]


def seed_words(seed: int, classes: int = 0) -> list[int]:
    """Independent 32-bit seeds: of the order, the noise, the augmentation, and the order within each class.

    Epoch e of Grain's seed s is epoch 0 of seed s + e, so consecutive seeds would share epochs.
    """
    return np.random.SeedSequence(seed).generate_state(3 + classes).tolist()


def check_numbers(batch_size: int, seed: int, step: int, host: int, hosts: int) -> None:
    """Raises `UserError`, naming the field, for a number out of range."""
    if hosts < 1 or not 0 <= host < hosts:
        raise UserError(f"host: expected 0 … hosts - 1, got host {host} of {hosts}; pass jax.process_index()")
    if batch_size < 1 or batch_size % hosts:
        raise UserError(f"batch_size: expected a positive multiple of hosts ({hosts}), got {batch_size}; change it")
    if seed < 0:
        raise UserError(f"seed: expected 0 or more, got {seed}; choose another")
    if not 0 <= step < 2**32:
        raise UserError(f"step: expected 0 … 2**32 - 1, got {step}; start at 0 or at a saved step")
