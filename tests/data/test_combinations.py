"""Combinations left out: gone from training and validation, kept where they are measured, and nothing else moved."""

from pathlib import Path

import numpy as np
import pytest

from diffjax.data import Dataset, open_dataset
from diffjax.errors import UserError
from examples.digits_text import dataset
from examples.digits_text.captions import describe_traits, matches_caption, write_caption

OUT = ("bold three", "a zero leaning left")


@pytest.fixture(scope="module")
def fewer(digits: Dataset, data_dir: Path) -> Dataset:
    return dataset.digits(OUT, str(data_dir))


def matching(dataset: Dataset, split: str) -> np.ndarray:
    images, labels = dataset.arrays(split)
    return np.any([matches_caption(text, images, labels, 17) for text in OUT], axis=0)


def test_training_and_validation_have_none_and_test_has_all(fewer: Dataset, digits: Dataset):
    for name in ("train", "validation"):
        assert matching(digits, name).any()
        assert not matching(fewer, name).any()
    np.testing.assert_array_equal(fewer.split("test").ids, digits.split("test").ids)


def test_what_training_lost_is_a_split_and_the_rest_is_as_before(fewer: Dataset, digits: Dataset):
    out = matching(digits, "train")
    for name, rows in {"train": ~out, "left_out": out}.items():
        for ours, theirs in zip(fewer.arrays(name), digits.arrays("train", np.flatnonzero(rows)), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert matching(fewer, "left_out").all()


def test_each_of_their_words_is_still_seen(fewer: Dataset):
    images, labels = fewer.arrays("train")
    told = describe_traits(images, labels, 17)
    assert np.bincount(labels).min() > 80
    for name, trait in (("weight", "bold"), ("slant", "left")):
        assert sum(own.get(name) == trait for own in told) > 150


def test_nothing_left_out_is_the_set_itself(digits: Dataset, data_dir: Path):
    assert dataset.digits((), str(data_dir)).splits.keys() == digits.splits.keys()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("digits", "bold cat", "'bold cat'"),
        ("digits", "three", "leave_out: 'three'"),
        ("known8", "bold three", "digits"),
    ],
)
def test_what_cannot_be_left_out_is_refused(name: str, text: str, message: str, data_dir: Path):
    with pytest.raises(UserError, match=message):
        dataset.hold_out_combinations(open_dataset(name, data_dir), (text,))


def test_described_digits_are_the_digits_with_their_texts(digits: Dataset, data_dir: Path):
    told = dataset.described_digits(str(data_dir))
    assert told.features["text"].text
    for name in digits.splits:
        (images, labels), rows = digits.arrays(name), range(0, len(digits.split(name)), 7)
        for ours, theirs in zip(told.arrays(name), (images, labels), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        every = describe_traits(images, labels, 17)
        said = [told.splits[name].features(row)["text"].decode() for row in rows]
        assert said == [write_caption(int(labels[row]), every[row]) for row in rows]
