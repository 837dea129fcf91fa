"""Which bucket each batch holds: a plan of batches that is a pure function of seed and step.

Each bucket has an infinite order of its examples, in which every epoch is another permutation, and its batches are
consecutive parts of that order. A last batch that the rest of a bucket does not fill takes its other examples from the
next epoch, which then shows them no second time: after e epochs, ⌈e n / B⌉ batches of B of a bucket of n examples have
been taken, so that each example has been seen at least e times, and where n ≥ B at most once more. Within an epoch, the
batches of all buckets come in a random order.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64


class PlannedBatch(NamedTuple):
    """The bucket of a batch, and the number of the batch among those of its bucket, from 0 on."""

    bucket: int
    number: int


@dataclass(frozen=True)
class BatchPlan:
    """Batches of `batch_size` examples of one bucket each; `counts` are the examples of the buckets, not all 0."""

    counts: tuple[int, ...]
    batch_size: int
    seed: int

    def batch(self, step: int) -> PlannedBatch:
        """What the batch of a step holds; in time that grows with the number of batches in an epoch alone."""
        epoch = self._epoch(step)
        buckets, numbers = _epoch_batches(self, epoch)
        place = step - self.first_step(epoch)
        return PlannedBatch(int(buckets[place]), int(numbers[place]))

    def first_step(self, epoch: int) -> int:
        """The step at which an epoch begins."""
        return sum(self.taken(epoch))

    def taken(self, epoch: int) -> list[int]:
        """The batches of each bucket before an epoch."""
        return [-(-epoch * count // self.batch_size) for count in self.counts]

    def _epoch(self, step: int) -> int:
        """The epoch of a step: it begins at that step, or is the last one that begins before it."""
        low = 0  # an epoch takes at least N / B steps on average, and at most as many and one for each bucket
        high = step * self.batch_size // sum(self.counts) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.first_step(middle) <= step else (low, middle)
        return low


@lru_cache(8)  # epochs: those that readers at work are in
def _epoch_batches(plan: BatchPlan, epoch: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The bucket of each batch of an epoch, and its number in that bucket, in their order."""
    before = plan.taken(epoch)
    counts = [after - taken for after, taken in zip(plan.taken(epoch + 1), before, strict=True)]
    buckets = np.repeat(np.arange(len(counts)), counts)
    numbers = np.concatenate([_consecutive(first, count) for first, count in zip(before, counts, strict=True)])
    order = random_permutation(len(buckets), _order_word(plan.seed), epoch)
    buckets = buckets[order]
    ranks = np.argsort(buckets, kind="stable")  # in their order, the batches of a bucket are numbered in turn
    in_turn = np.empty_like(numbers)
    in_turn[ranks] = numbers
    return buckets, in_turn


def _consecutive(first: int, count: int) -> Int64[np.ndarray, " n"]:
    return np.arange(first, first + count)


def _order_word(seed: int) -> int:
    """The seed of the order of batches."""
    return int(np.random.SeedSequence(seed, spawn_key=(2,)).generate_state(1)[0])


def random_permutation(count: int, word: int, epoch: int) -> Int64[np.ndarray, " n"]:
    """A random permutation, by the order of raw numbers of Philox4x64, which no version of NumPy changes."""
    return np.argsort(np.random.Philox(key=word, counter=[0, 0, epoch, 0]).random_raw(count), kind="stable")
