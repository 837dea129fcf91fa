"""Balanced batches: every class equally often, every example once an epoch of its class, whoever asks and wherever."""

import itertools
import time
from typing import Any

import numpy as np
import pytest
from streams import stream

from diffjax.data import Dataset, Split, pixel_representation
from diffjax.errors import UserError

SIZES = (2, 7, 31)
LABELS = np.repeat(np.arange(len(SIZES)), SIZES)


def dataset(labels: np.ndarray = LABELS, classes: int = len(SIZES)) -> Dataset:
    """One pixel that is the example's own number."""

    def fetch(i: int) -> tuple[Any, int]:
        return lambda: np.full((1, 1, 1), i, np.uint8), int(labels[i])

    names = tuple("abcdefgh"[:classes])
    return Dataset("little", (1, 1, 1), classes, names, 256, {"train": Split(np.arange(len(labels)), fetch)})


def rows(count: int, batch_size: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """The ids and classes of so many batches, end to end."""
    iterator = stream(
        dataset(), "train", batch_size, **{"seed": 0, "form": pixel_representation.tokens, "balance": True, **options}
    )
    taken = [(np.asarray(batch["x"])[:, 0], np.asarray(batch["cond"])) for batch in itertools.islice(iterator, count)]
    iterator.close()
    ids, labels = zip(*taken, strict=True)
    return np.concatenate(ids), np.concatenate(labels)


@pytest.mark.parametrize("resident", [False, True])
def test_any_window_of_whole_rounds_holds_each_class_equally_often(resident: bool):
    ids, labels = rows(30, 8, resident=resident)
    np.testing.assert_array_equal(LABELS[ids], labels)
    for start, rounds in itertools.product(range(0, 100, 7), (1, 4)):
        counts = np.bincount(labels[start : start + rounds * len(SIZES)], minlength=len(SIZES))
        assert (counts == rounds).all()


def test_within_a_class_every_example_comes_once_an_epoch_and_epochs_differ():
    ids, labels = rows(62, 6)
    for number, size in enumerate(SIZES):
        epochs = ids[labels == number][: 124 // size * size].reshape(-1, size)
        assert (np.sort(epochs, axis=1) == np.flatnonzero(number == LABELS)).all()
    own = ids[labels == 2].reshape(4, 31)  # two random permutations agree in more than 8 of 31 places once in 1e6
    assert all((a == b).sum() <= 8 for a, b in itertools.combinations(own, 2))


@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("step", [0, 10**9])
def test_hosts_share_the_batches_of_one(hosts: int, step: int):
    parts = [rows(2, 8, host=host, hosts=hosts, start_step=step)[0].reshape(2, -1) for host in range(hosts)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1).ravel(), rows(2, 8, start_step=step)[0])


def test_both_ways_of_reading_and_a_late_start_give_the_same_rows():
    whole, _ = rows(6, 8, seed=3)
    np.testing.assert_array_equal(rows(6, 8, seed=3, resident=False)[0], whole)
    np.testing.assert_array_equal(rows(2, 8, seed=3, start_step=4)[0], whole[32:])
    assert (rows(6, 8, seed=4)[0] != whole).any()


def test_a_late_step_costs_no_more_than_the_first():
    rows(1, 8)

    def seconds(step: int) -> float:
        start = time.perf_counter()
        rows(1, 8, start_step=step)
        return time.perf_counter() - start

    assert min(seconds(10**9) for _ in range(5)) < 2 * min(seconds(0) for _ in range(5)) + 0.01


def test_nothing_to_balance_is_refused_at_once():
    with pytest.raises(UserError, match=r"data\.balance: .*'little'"):
        stream(dataset(np.zeros(4, int), 0), "train", 4, 0, balance=True)
    with pytest.raises(UserError, match=r"data\.balance: .*'d'.*'train'"):
        stream(dataset(LABELS, 4), "train", 4, 0, balance=True)
