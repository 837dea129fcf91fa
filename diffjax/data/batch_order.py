"""The examples of a batch: a pure function of seed and step, equal for any number of hosts."""

from collections.abc import Sequence
from functools import lru_cache, partial

import grain
import numpy as np
from jaxtyping import Int64

from diffjax.data.batch_plan import BatchPlan, random_permutation
from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.splits import Dataset, label_frequencies
from diffjax.errors import UserError
from diffjax.utils.image_fit import Size

STREAM_LENGTH = 2**62  # rows


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
    epochs = STREAM_LENGTH // n  # without a number Grain overflows at one row per host
    return grain.MapDataset.range(n).shuffle(seed).repeat(epochs, reseed_each_epoch=True)


def balanced_ids(classes: Sequence[Int64[np.ndarray, " _"]], seed: int) -> grain.MapDataset:
    """Row r is of class r mod `len(classes)`: that many consecutive rows hold each class once."""
    count = len(classes)
    orders = [shuffled_ids(len(ids), word) for ids, word in zip(classes, seed_words(seed, count)[-count:], strict=True)]
    return grain.MapDataset.range(STREAM_LENGTH).map(
        lambda row: classes[row % count][orders[row % count][row // count]]
    )


def bucketed_ids(buckets: Int64[np.ndarray, " n"], plan: BatchPlan) -> grain.MapDataset:
    """The ids of the batches of a plan, one after the other; `buckets` is the bucket of each example."""
    members = [np.flatnonzero(buckets == number) for number in range(len(plan.counts))]
    words = seed_words(plan.seed, len(members))[-len(members) :]
    orders = [  # of each bucket, by epoch: readers that are ahead are in one or two, and each takes 8 bytes an example
        lru_cache(2)(partial(random_permutation, len(ids), word)) for ids, word in zip(members, words, strict=True)
    ]

    def planned_id(row: int) -> int:
        step, place = divmod(int(row), plan.batch_size)
        bucket, number = plan.batch(step)
        epoch, rank = divmod(number * plan.batch_size + place, len(members[bucket]))
        return int(members[bucket][orders[bucket](epoch)[rank]])

    return grain.MapDataset.range(STREAM_LENGTH).map(planned_id)


def plan_batches(buckets: Int64[np.ndarray, " n"], batch_size: int, seed: int) -> BatchPlan:
    """The plan of batches of examples in these buckets."""
    return BatchPlan(tuple(np.bincount(buckets).tolist()), batch_size, seed)


def bucket_counts(dataset: Dataset, split: str) -> dict[Size, int]:
    """The sizes of the batches of a split, and how many of its examples have each; empty of examples without sizes."""
    source = dataset.split(split)
    if isinstance(source, GeneratedSplit) or len(dataset.sizes) <= 1:
        return dict.fromkeys(dataset.sizes, len(source))
    counts = np.bincount(source.buckets(), minlength=len(dataset.sizes)).tolist()
    return {size: count for size, count in zip(dataset.sizes, counts, strict=True) if count}


def further_words(seed: int) -> list[int]:
    """Independent 32-bit seeds beside those of `seed_words`: of choices, and of random parts of pictures."""
    return [int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0]) for number in (1, 3)]


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
