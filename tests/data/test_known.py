"""Pictures of a known law: drawn from their numbers alone, for any number of hosts, for ever; and what they refuse."""

import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from streams import stream

from diffjax.data import Dataset, augment, batch_ids, open_dataset, pixel_representation
from diffjax.data.synthetic_shapes import HELD_OUT_COUNT, TRAIN_COUNT
from diffjax.errors import UserError
from diffjax.evaluation import as_bytes
from diffjax.experiment import data_spec


@pytest.fixture(scope="module")
def known() -> Dataset:
    return open_dataset("known8")


def take(known: Dataset, count: int, **options: Any) -> list[Any]:
    """Batches of 16 of one host, or of several joined."""
    hosts = options.get("hosts", 1)
    parts = []
    for host in range(hosts):
        iterator = stream(known, "train", 16, 3, form=pixel_representation.real, host=host, **options)
        parts.append([jax.tree.map(np.asarray, batch) for batch in itertools.islice(iterator, count)])
        iterator.close()
    return [jax.tree.map(lambda *rows: np.concatenate(rows), *step) for step in zip(*parts, strict=True)]


def same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_batch_is_the_examples_of_its_ids(known) -> None:
    (batch,) = take(known, 1, start_step=5)
    examples = [known.split("train")[int(i)] for i in batch_ids(TRAIN_COUNT, 16, 3, 5)]
    np.testing.assert_array_equal(batch["x"], np.stack([example["image"] for example in examples]))
    np.testing.assert_array_equal(batch["cond"], [example["label"] for example in examples])
    assert (batch["x"].shape, batch["x"].dtype, batch["cond"].dtype) == ((16, 8, 8, 1), np.float32, np.int32)


@pytest.mark.parametrize("options", [{"hosts": 2}, {"hosts": 4}, {"hosts": 16}, {"resident": False}])
def test_neither_hosts_nor_the_way_of_reading_change_a_bit(known, options) -> None:
    same(take(known, 3, **options), take(known, 3))


def test_starting_late_is_running_there(known) -> None:
    same(take(known, 4)[2:], take(known, 2, start_step=2))
    late = take(known, 1, start_step=2**32 - 1)[0]["x"]
    assert np.isfinite(late).all()


def test_no_example_comes_twice(known) -> None:
    ids = np.concatenate([batch_ids(TRAIN_COUNT, 64, seed, step) for seed in (0, 1) for step in range(50)])
    assert len(np.unique(ids[:3200])) == 3200
    assert len(np.unique(ids)) > 6390  # of two seeds by chance: 6400² / 2³³, so 0.005 expected
    splits = [known.split(name)[0]["image"] for name in ("train", "validation", "test")]
    for a, b in itertools.combinations(splits, 2):
        assert not np.any(a == b)


def test_what_is_drawn_is_of_the_law(known) -> None:
    """Mean log densities of other keys, and the shares of the classes, within five standard errors."""
    images, labels = known.arrays("validation", np.arange(300))
    assert images.dtype == np.float32
    found = np.asarray(known.distribution.log_density(jnp.asarray(images), jnp.asarray(labels)), float)
    x, own = jax.jit(jax.vmap(known.distribution.draw))(jax.random.split(jax.random.key(9), 300))
    expected = np.asarray(known.distribution.log_density(x, own), float)
    error = (found.var() / len(found) + expected.var() / len(expected)) ** 0.5
    assert abs(found.mean() - expected.mean()) < 5 * error
    shares = np.bincount(labels, minlength=10) / len(labels)
    np.testing.assert_allclose(shares, known.split("train").class_frequencies(10), atol=5 * (0.09 / 300) ** 0.5)


def test_the_classes_are_told_apart(known) -> None:
    images, labels = known.arrays("test", np.arange(100))
    given = known.distribution.log_components(jnp.asarray(images))
    assert (known.distribution.classes[jnp.argmax(given, axis=1)] == labels).mean() > 0.99


def test_a_batch_costs_little() -> None:
    """Under 2 ms for 64 pictures of 16x16 pixels where compiled in earnest; ten times that here, and on any machine."""
    iterator = stream(open_dataset("known16"), "train", 64, 0, form=pixel_representation.real)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        jax.block_until_ready(next(iterator)["x"])
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02


def test_pictures_show_the_nearest_levels(known) -> None:
    x = jnp.array([-2.0, -1.0, 0.004, 1.0, 3.0, 0.5]).reshape(1, 2, 3, 1)
    assert pixel_representation.real.encode(None, x, 256) is x
    levels = pixel_representation.real.decode(x, (2, 3, 1), 256)
    np.testing.assert_array_equal(levels.ravel(), [0, 0, 128, 255, 255, 191])
    np.testing.assert_array_equal(
        as_bytes(levels.astype(np.uint8), 256), pixel_representation.real.frame(x, (2, 3, 1), 256)
    )


def test_a_model_is_told_the_shares_of_the_law(known) -> None:
    facts = data_spec.build_data_spec(known, "real")
    assert facts.label_frequencies == pytest.approx((0.1,) * 10)
    assert len(known.split("train")) == TRAIN_COUNT
    assert len(known.split("test").labels()[:3]) == 3
    assert len(known.split("validation")) == HELD_OUT_COUNT


def test_mistakes_are_told(known, digits) -> None:
    with pytest.raises(UserError, match=r"data\.form: .*'known8'.*real.*'unit'"):
        data_spec.build_data_spec(known, "unit")
    with pytest.raises(UserError, match=r"data\.form: .*'digits'"):
        data_spec.build_data_spec(digits, "real")
    with pytest.raises(UserError, match=r"data\.balance: .*'known8'"):
        stream(known, "train", 16, 0, form=pixel_representation.real, balance=True)
    with pytest.raises(UserError, match=r"data\.augment: .*'known8'"):
        stream(known, "train", 16, 0, form=pixel_representation.real, augment=[augment.flip()])
    with pytest.raises(UserError, match="8 … 64"):
        open_dataset("known3")
    with pytest.raises(UserError, match="known32"):
        open_dataset("known16", image_size=32)
    assert open_dataset("known16", image_size=16).shape == (16, 16, 1)
    with pytest.raises(IndexError):
        known.split("test")[HELD_OUT_COUNT]
