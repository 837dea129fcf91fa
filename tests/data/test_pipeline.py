"""The order of the data: epochs that are permutations, equal for any number of hosts, from any step, either way."""

import itertools
import time
from typing import Any

import jax
import numpy as np
import pytest
from streams import stream

from diffjax.data import Dataset, batch_ids, label_frequencies, pixel_representation, to_unit
from diffjax.errors import UserError

N, BATCH = 1257, 64


def take(count: int, *arguments: Any, **options: Any) -> list[dict[str, np.ndarray]]:
    iterator = stream(*arguments, **options)
    taken = [jax.tree.map(np.asarray, batch) for batch in itertools.islice(iterator, count)]
    iterator.close()
    return taken


def same(ours: list[dict[str, np.ndarray]], theirs: list[dict[str, np.ndarray]]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


def epochs(n: int, seed: int, count: int) -> np.ndarray:
    """The ids of whole epochs, [count, n]."""
    return np.concatenate([batch_ids(n, n, seed, step) for step in range(count)]).reshape(count, n)


@pytest.mark.parametrize("n", [1, 10, 1257])
def test_every_epoch_visits_every_example_once(n: int):
    assert (np.sort(epochs(n, 0, 3), axis=1) == np.arange(n)).all()


def test_epochs_cross_batches_without_a_gap():
    """23 examples in batches of 7: the stream is cut into epochs nowhere but every 23 ids."""
    stream = np.concatenate([batch_ids(23, 7, 5, step) for step in range(23)])
    np.testing.assert_array_equal(stream.reshape(7, 23), epochs(23, 5, 7))


def test_epochs_and_seeds_differ_even_in_their_neighbours():
    """Two random permutations agree in one place on average; more than 10 has probability 1e-8."""
    orders = np.concatenate([epochs(N, seed, 2) for seed in range(3)])
    for a, b in itertools.combinations(orders, 2):
        assert (a == b).sum() <= 10


def test_positions_are_uniform():
    """Chi-squared of (eighth of the epoch, eighth of the set): 49 degrees of freedom, below 99 but for 3e-5."""
    counts = np.zeros((8, 8))
    np.add.at(counts, (np.tile(np.arange(64) // 8, (40, 1)), epochs(64, 0, 40) // 8), 1)
    assert ((counts - 40) ** 2 / 40).sum() < 99


@pytest.mark.parametrize("hosts", [2, 4, BATCH])
@pytest.mark.parametrize("step", [0, 19, 10**9])
def test_hosts_share_the_batch_of_one_host_in_its_order(hosts: int, step: int):
    parts = [batch_ids(N, BATCH, 3, step, host, hosts) for host in range(hosts)]
    np.testing.assert_array_equal(np.concatenate(parts), batch_ids(N, BATCH, 3, step))


def test_a_late_step_costs_no_more_than_the_first():
    def fastest(step: int) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            batch_ids(N, 1, 0, step)
            times.append(time.perf_counter() - start)
        return min(times)

    assert fastest(10**9) < max(1e-3, 3 * fastest(0))


def test_batches_are_the_examples_of_their_ids(digits: Dataset):
    images, labels = digits.arrays("train")[0], digits.split("train").labels()
    for step, batch in enumerate(take(3, digits, "train", BATCH, 0)):
        ids = batch_ids(N, BATCH, 0, step)
        np.testing.assert_array_equal(batch["x"], to_unit(images[ids], 17))
        np.testing.assert_array_equal(batch["cond"], labels[ids])
        assert (batch["x"].dtype, batch["cond"].dtype) == (np.float32, np.int32)


@pytest.mark.parametrize(
    "form",
    [pixel_representation.unit, pixel_representation.dequantised, pixel_representation.tokens],
    ids=("unit", "dequantised", "tokens"),
)
def test_resident_and_streamed_batches_are_equal_to_the_bit(digits: Dataset, form: pixel_representation.Form):
    options = {"form": form, "start_step": 18}
    same(
        take(3, digits, "train", BATCH, 1, resident=True, **options),
        take(3, digits, "train", BATCH, 1, resident=False, **options),
    )


@pytest.mark.parametrize("resident", [False, True])
def test_starting_late_is_running_there(digits: Dataset, resident: bool):
    options = {"form": pixel_representation.dequantised, "resident": resident}
    whole = take(5, digits, "train", BATCH, 2, **options)
    same(whole[3:], take(2, digits, "train", BATCH, 2, start_step=3, **options))
    late = take(1, digits, "train", BATCH, 2, start_step=10**9, **options)
    np.testing.assert_array_equal(late[0]["cond"], digits.split("train").labels()[batch_ids(N, BATCH, 2, 10**9)])


@pytest.mark.parametrize(("hosts", "resident"), [(2, True), (4, False)])
def test_hosts_together_make_the_batch_of_one_noise_included(digits: Dataset, hosts: int, resident: bool):
    options = {"form": pixel_representation.dequantised, "resident": resident}
    parts = [take(2, digits, "train", BATCH, 0, host=host, hosts=hosts, **options) for host in range(hosts)]
    joined = [jax.tree.map(lambda *rows: np.concatenate(rows), *step) for step in zip(*parts, strict=True)]
    same(joined, take(2, digits, "train", BATCH, 0, **options))


def test_noise_stays_in_its_bin_and_changes_with_step_and_seed(digits: Dataset):
    images, _ = digits.arrays("train")
    noise = []
    for seed, step in [(0, 0), (0, 1), (1, 0)]:
        (batch,) = take(1, digits, "train", BATCH, seed, start_step=step, form=pixel_representation.dequantised)
        ids = batch_ids(N, BATCH, seed, step)
        noise.append((batch["x"].astype(np.float64) + 1) / 2 * 17 - images[ids])
        assert 0 < noise[-1].min() < noise[-1].max() < 1
    for a, b in itertools.combinations(noise, 2):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_a_batch_may_be_larger_than_the_set(digits: Dataset):
    (batch,) = take(1, digits, "validation", 400, 0, resident=False)
    images, _ = digits.arrays("validation")
    np.testing.assert_array_equal(
        np.sort(batch["x"][:360], axis=0), np.sort(to_unit(np.tile(images, (2, 1, 1, 1)), 17), axis=0)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hosts": 3}, "^batch_size: .*hosts.*64"),
        ({"batch_size": 0}, "^batch_size: "),
        ({"host": 2, "hosts": 2}, "^host: "),
        ({"seed": -1}, "^seed: "),
        ({"start_step": -1}, "step: "),
        ({"split": "dev"}, "'dev'"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_at_once(digits: Dataset, options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        stream(digits, **{"split": "train", "batch_size": 64, "seed": 0, **options})


def test_label_frequencies_are_the_shares_of_the_classes(digits: Dataset):
    labels = digits.split("train").labels()
    shares = label_frequencies(labels, 10)
    np.testing.assert_allclose(shares.sum(), 1, rtol=1e-6)
    np.testing.assert_array_equal(np.round(shares * N), np.bincount(labels))
    assert label_frequencies(np.array([0, 2, 2, 0]), 4).tolist() == [0.5, 0, 0.5, 0]
    with pytest.raises(UserError, match=r"^labels: .*0 … 2.*0 … 9"):
        label_frequencies(labels, 3)
