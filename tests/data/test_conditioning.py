"""Conditions of many parts: each row has those of its own picture, either way of reading, on any hosts, at any step."""

import itertools
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from streams import stream
from test_catalogue import picture, write

from diffjax.data import (
    Dataset,
    Part,
    batch_ids,
    build_parts,
    byte_tokenizer,
    condition_parts,
    open_dataset,
    pixel_representation,
    split_conditions,
)
from diffjax.data.augment import flip
from diffjax.data.condition_parts import Maker
from diffjax.errors import UserError
from diffjax.experiment import data_spec
from diffjax.protocols import ConditionPart
from examples.digits_text import parts as digits_parts

tfds = pytest.importorskip("tensorflow_datasets")

MAKERS = (
    condition_parts.sketch(),
    condition_parts.low_res(2),
    digits_parts.caption(choices=4),
    digits_parts.measured("slant"),
)
NAMES = {"label", "sketch", "low_res", "text", "slant"}
N, BATCH = 80, 32


@pytest.fixture(scope="module")
def small(digits: Dataset) -> Dataset:
    """Some digits of validation, to train on: few, so that their parts are soon made."""
    whole = digits.splits["validation"]
    return Dataset(**{**vars(digits), "splits": {"train": replace(whole, ids=whole.ids[:N])}})


def take(dataset: Dataset, count: int = 2, makers: Any = MAKERS, seed: int = 0, **options: Any) -> list[Any]:
    """Batches of one host, or of several joined."""
    steps = []
    for host in range(options.get("hosts", 1)):
        given = {"parts": build_parts(makers, dataset), "host": host, **options}
        iterator = stream(dataset, "train", BATCH, seed, **given)
        steps.append([jax.tree.map(np.asarray, batch) for batch in itertools.islice(iterator, count)])
        iterator.close()
    return [jax.tree.map(lambda *rows: np.concatenate(rows), *hosts) for hosts in zip(*steps, strict=True)]


def same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert jax.tree.structure(a) == jax.tree.structure(b)
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_each_row_has_the_parts_of_its_own_picture(small: Dataset):
    for batch, step in zip(take(small), range(2), strict=True):
        cond, rows = batch["cond"], batch_ids(N, BATCH, 0, step)
        assert cond.keys() == NAMES
        expected = split_conditions(small, "train", rows, build_parts(MAKERS, small))
        for name in NAMES - {"text"}:
            jax.tree.map(np.testing.assert_array_equal, cond[name], expected[name])
        assert all(cond[name].present.all() and cond[name].present.dtype == bool for name in NAMES - {"label"})


def test_of_choices_each_row_takes_one_of_its_own_and_all_come_up(small: Dataset):
    """Each of four in a quarter of 256 rows: outside 64 ± 35 with probability 1e-6; the seed is fixed."""
    (text,) = build_parts((digits_parts.caption(choices=4),), small)
    images, labels = small.arrays("train")
    every = np.stack([text.make(image, int(label)) for image, label in zip(images, labels, strict=True)])
    taken = []
    for step, batch in enumerate(take(small, 8, (digits_parts.caption(choices=4),))):
        own = every[batch_ids(N, BATCH, 0, step)]
        given = batch["cond"]["text"].value[:, None]
        assert (own == given).all(-1).any(1).all()
        alone = (own[:, :, None] == own[:, None]).all(-1).sum((1, 2)) == 4  # four texts, of which no two are alike
        taken.append((own == given).all(-1)[alone])
    counts = np.concatenate(taken).sum(0)
    assert (abs(counts - counts.sum() / 4) < 5 * (counts.sum() * 3 / 16) ** 0.5).all()
    np.testing.assert_array_equal(split_conditions(small, "train", None, (text,))["text"].value, every[:, 0])


def test_noise_of_a_small_picture_is_said_in_its_last_channel(small: Dataset):
    """Normal within 5 standard errors, of a level that is 0 for half of them and else even in [0, 0.5]; none outside of
    training; equal for hosts.

    256 rows of 16 numbers, and the seed is fixed.
    """
    makers = (condition_parts.low_res(2, noise=0.5),)
    batches = take(small, 8, makers)
    same(take(small, 8, makers, hosts=4, resident=False), batches)
    clean = split_conditions(small, "train", None, build_parts(makers, small))["low_res"].value
    assert (clean[..., 1] == 0).all()
    levels, scaled = [], []
    for step, batch in enumerate(batches):
        value = batch["cond"]["low_res"].value
        level = value[:, :1, :1, 1:]
        np.testing.assert_array_equal(value[..., 1:], np.broadcast_to(level, (*value.shape[:3], 1)))
        levels.append(level.ravel())
        noisy = level.ravel() > 0.05
        scaled.append((value - clean[batch_ids(N, BATCH, 0, step)])[noisy][..., :1] / level[noisy])
    level, normal = np.concatenate(levels), np.concatenate(scaled).ravel()
    assert abs((level == 0).mean() - 0.5) < 5 * 0.5 / len(level) ** 0.5
    assert abs(level[level > 0].mean() - 0.25) < 5 * 0.5 / 12**0.5 / (level > 0).sum() ** 0.5
    assert (level.min() >= 0, level.max() <= 0.5) == (True, True)
    assert abs(normal.mean()) < 5 / len(normal) ** 0.5
    assert abs(normal.var() - 1) < 5 * (2 / len(normal)) ** 0.5


@pytest.mark.parametrize(
    "form", [pixel_representation.unit, pixel_representation.dequantised], ids=["unit", "dequantised"]
)
def test_both_ways_of_reading_give_equal_bits(small: Dataset, form: pixel_representation.Form):
    options = {"form": form, "start_step": 1}  # and an epoch ends within
    same(take(small, 3, resident=True, **options), take(small, 3, resident=False, **options))


@pytest.mark.parametrize(("hosts", "resident"), [(2, True), (4, False)])
def test_hosts_together_make_the_conditions_of_one(small: Dataset, hosts: int, resident: bool):
    same(take(small, hosts=hosts, resident=resident), take(small))


def test_a_late_start_is_running_there_and_seeds_choose_otherwise(small: Dataset):
    same(take(small, 1, start_step=2), take(small, 3)[2:])
    again = [take(small, 1, seed=seed)[0]["cond"]["text"].value for seed in (0, 1)]
    assert (again[0] != again[1]).any()


def test_parts_change_neither_pictures_nor_labels(small: Dataset):
    for form, balance in itertools.product(
        (pixel_representation.unit, pixel_representation.dequantised), (False, True)
    ):
        plain, more = (take(small, 1, makers, form=form, balance=balance)[0] for makers in ((), MAKERS))
        np.testing.assert_array_equal(plain["x"], more["x"])
        np.testing.assert_array_equal(plain["cond"], more["cond"]["label"])


ROWS = [
    {"image": picture(i, 1), "vector": np.full((2, 3), i, np.float32), "note": f"number {i}", "kind": i % 3}
    for i in range(20)
]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A set without classes that stores three features more."""
    features = {
        "image": tfds.features.Tensor(shape=(6, 9, 1), dtype=np.uint8),
        "vector": tfds.features.Tensor(shape=(2, 3), dtype=np.float32),
        "note": tfds.features.Text(),
        "kind": tfds.features.ClassLabel(num_classes=3),
        "many": tfds.features.Sequence(tfds.features.Text()),
    }
    root = tmp_path_factory.mktemp("stored")
    write(root, "little_stored", features, [{**row, "many": ["a"]} for row in ROWS], {"train": slice(20)})
    return open_dataset("little_stored", root)


FEATURES = tuple(condition_parts.feature(name) for name in ("vector", "note", "kind"))


@pytest.mark.parametrize("resident", [True, False])
def test_stored_features_belong_to_their_pictures(stored: Dataset, resident: bool):
    assert stored.features.keys() == {"vector", "note", "kind"}
    (batch,) = take(stored, 1, FEATURES, resident=resident, form=pixel_representation.tokens, augment=(flip(rate=0.0),))
    assert batch["cond"].keys() == {"vector", "note", "kind"}
    numbers = batch["cond"]["vector"].value[:, 0, 0].astype(int)
    np.testing.assert_array_equal(batch["x"], np.stack([ROWS[i]["image"].ravel() for i in numbers]))
    np.testing.assert_array_equal(batch["cond"]["kind"].value, numbers % 3)
    assert byte_tokenizer.decode(batch["cond"]["note"].value) == [f"number {i}" for i in numbers]


def test_slots_name_them(small: Dataset):
    named = data_spec.parse_parts(
        (
            "sketch",
            "low_res(factor=4)",
            "examples.digits_text.parts:caption(choices=2)",
            "examples.digits_text.parts:measured('width')",
        ),
        small,
    )
    assert [part.name for part in named] == ["sketch", "low_res", "text", "width"]
    assert [part.shape for part in named] == [(8, 8, 1), (2, 2, 1), (64,), ()]


def test_conditions_without_parts_are_labels_or_none(small: Dataset, stored: Dataset):
    np.testing.assert_array_equal(split_conditions(small, "train"), small.split("train").labels())
    assert split_conditions(stored, "train") is None
    given = split_conditions(stored, "train", np.array([3]), build_parts(FEATURES, stored))
    assert isinstance(given["kind"], ConditionPart)
    assert given["kind"].value.shape == (1,)


def own(name: str, value: Any, **more: Any) -> Maker:
    return lambda about: Part(name, (), np.float32, lambda image, label: value, **more)


def test_what_augmentation_would_belie_is_refused(small: Dataset, stored: Dataset):
    with pytest.raises(UserError, match=r"^data\.augment: 'sketch' of data\.parts"):
        take(small, 1, augment=(flip(),))


@pytest.mark.parametrize(
    ("makers", "message"),
    [
        ((condition_parts.sketch(), condition_parts.sketch(sigma=1.0)), ".*'sketch'"),
        ((own("label", np.float32(0)),), ".*'label'"),
        ((own("odd", 1.5),), r"'odd' .*float32 \(\).*float64 \(\)"),
        ((own("odd", np.float32(1), choices=2),), r"'odd' .*float32 \(2,\)"),
        ((own("odd", np.float32(1), reads="more"),), "'odd' .*'more'"),
    ],
)
def test_parts_that_cannot_be_are_refused(small: Dataset, makers: Any, message: str):
    with pytest.raises(UserError, match=rf"^data\.parts: {message}"):
        take(small, 1, makers)


def test_a_known_law_has_no_parts():
    with pytest.raises(UserError, match=r"^data\.parts: .*'known8'"):
        build_parts((condition_parts.sketch(),), open_dataset("known8"))
