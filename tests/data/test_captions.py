"""Captions: true of their pictures by constants of the training pictures, and understood whatever way they are put."""

import itertools

import numpy as np
import pytest

from diffjax.data import Dataset
from diffjax.errors import UserError
from examples.digits_text.attributes import measure
from examples.digits_text.captions import (
    DIGITS,
    LIMITS,
    MAX_LENGTH,
    TAIL_SHARE,
    WORDS,
    attribute_quantiles,
    describe_traits,
    distinct_prompts,
    matches_caption,
    parse_caption,
    write_caption,
    write_captions,
)

ENDS = [[None, *ends] for ends in WORDS.values()]
EVERY = [
    (digit, {name: trait for name, trait in zip(WORDS, chosen, strict=True) if trait})
    for digit in range(10)
    for chosen in itertools.product(*ENDS)
]


def test_the_limits_are_those_of_the_training_pictures(digits: Dataset):
    images, labels = digits.arrays("train")
    found = attribute_quantiles(images, labels, digits.levels)
    assert found.keys() == LIMITS.keys() == WORDS.keys()
    for name, pairs in LIMITS.items():
        np.testing.assert_allclose(found[name], pairs, atol=1e-4)


def test_each_end_is_named_in_a_fifth_of_a_class(digits: Dataset):
    images, labels = digits.arrays("train")
    told = describe_traits(images, labels, digits.levels)
    for digit, (name, ends) in itertools.product(range(10), WORDS.items()):
        own = np.flatnonzero(labels == digit)
        for trait in ends:
            assert (
                abs(sum(told[row].get(name) == trait for row in own) - TAIL_SHARE * len(own)) <= 4
            )  # ties, and rounded limits


def test_a_trait_is_the_end_of_its_attribute(digits: Dataset):
    """Bold has more ink than thin, and leaning left less slant than leaning right, in every class."""
    images, labels = digits.arrays("test")
    told, found = describe_traits(images, labels, digits.levels), measure(images, digits.levels)
    for digit, (name, (low, high)) in itertools.product(range(10), WORDS.items()):
        of = {
            t: [found[name][i] for i in np.flatnonzero(labels == digit) if told[i].get(name) == t] for t in (low, high)
        }
        assert max(of[low]) < min(of[high])


def test_mirrored_pictures_of_a_symmetric_digit_lean_the_other_way(digits: Dataset):
    """A 0 or an 8 that leans clearly leans the other way in the mirror, since their limits lie around upright."""
    images, labels = digits.arrays("train")
    round_ones = images[np.isin(labels, (0, 8)) & (np.abs(measure(images, 17)["slant"]) > 0.12)]
    kind = np.zeros(len(round_ones), int)
    assert len(round_ones) > 10
    for one, mirrored in zip(
        describe_traits(round_ones, kind, 17), describe_traits(round_ones[:, :, ::-1], kind, 17), strict=True
    ):
        assert {one["slant"], mirrored["slant"]} == {"left", "right"}


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_what_is_written_is_understood(seed: int | None):
    for number, (digit, given) in enumerate(EVERY):
        text = write_caption(digit, given, None if seed is None else 1000 * seed + number)
        assert parse_caption(text) == (digit, given), text


def test_no_sentence_is_longer_than_the_longest():
    lengths = [len(write_caption(digit, given, seed)) for digit, given in EVERY for seed in range(15)]
    assert max(lengths) <= MAX_LENGTH


def test_sentences_differ_in_form_words_and_order():
    full = {"weight": "bold", "width": "wide", "slant": "left", "position": "right"}
    assert len({write_caption(3, full, seed) for seed in range(100)}) > 60
    assert write_caption(3, full) == "a bold wide handwritten three, leaning left, on the right"
    assert write_caption(8, {}) == "a handwritten eight"
    assert write_caption(8, full, 5) == write_caption(8, full, 5)


def test_captions_are_true_the_first_says_all_and_no_other_more(digits: Dataset):
    images, labels = digits.arrays("validation", np.arange(60))
    left_out = 0
    for image, label, own in zip(images, labels, describe_traits(images, labels, 17), strict=True):
        texts = write_captions(image, int(label), 17, 6)
        assert texts == write_captions(image, int(label), 17, 6)
        assert texts[0] == write_captions(image, int(label), 17, 1)[0] == write_caption(int(label), own)
        for text in texts:
            digit, said = parse_caption(text)
            assert digit == label
            assert said.items() <= own.items()
            left_out += len(own) - len(said)
    assert left_out > 50


def test_a_person_may_put_it_in_other_words():
    assert parse_caption("A BOLD handwritten three, leaning to the left; on the right side.") == (
        3,
        {"weight": "bold", "slant": "left", "position": "right"},
    )
    assert parse_caption("please draw a 7 tilted over to the right") == (7, {"slant": "right"})
    assert parse_caption("a slim one that stands left") == (1, {"width": "narrow", "position": "left"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a bold cat", "a bold cat"),
        ("a two or a 3", "two, three"),
        ("a bold thin four", "bold.*thin"),
        ("a four leaning left and tilted right", "left.*right"),
    ],
)
def test_a_text_that_cannot_be_is_refused(text: str, message: str):
    with pytest.raises(UserError, match=message):
        parse_caption(text)


def test_what_fits_a_text_has_all_that_it_names(digits: Dataset):
    images, labels = digits.arrays("train")
    bold, both = (matches_caption(text, images, labels, 17) for text in ("bold three", "a bold three leaning left"))
    assert both.sum() > 0
    assert (both <= bold).all()
    assert (labels[bold] == 3).all()
    assert abs(bold.sum() - TAIL_SHARE * (labels == 3).sum()) <= 4
    np.testing.assert_array_equal(matches_caption("a three", images, labels, 17), labels == 3)


def test_prompts_differ_in_meaning_and_take_the_digits_in_turn():
    asked = distinct_prompts(200)
    meant = [parse_caption(text) for text in asked]
    assert len({(digit, *sorted(said.items())) for digit, said in meant}) == 200
    assert [digit for digit, _ in meant] == [i % 10 for i in range(200)]
    assert all(1 <= len(said) <= 2 for _, said in meant)
    assert asked == distinct_prompts(200)
    assert asked != distinct_prompts(200, seed=1)


def test_prompts_of_a_combination_keep_to_it():
    meant = [parse_caption(text) for text in distinct_prompts(20, about=("bold three", "a zero leaning left"))]
    for digit, said in meant:
        assert (digit, said.get("weight")) == (3, "bold") or (digit, said.get("slant")) == (0, "left")
    assert {digit for digit, _ in meant} == {0, 3}
    with pytest.raises(UserError, match=r"^prompts: .*2,000.*19"):
        distinct_prompts(2000, about=("bold three",))
    assert len(DIGITS) == 10
