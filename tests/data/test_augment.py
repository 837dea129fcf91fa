"""Augmentation: what each change may make of a picture, how often, and that it knows neither hosts nor devices."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from streams import stream

from diffjax.data import Dataset, pixel_representation
from diffjax.data.augment import Augment, flip, shift, turn
from diffjax.errors import UserError
from diffjax.experiment.data_spec import parse_augment
from diffjax.utils.prng import keys

MANY = 2000


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 17, (height, width, channels), np.uint8)


def made(change: Augment, image: np.ndarray, count: int = MANY) -> np.ndarray:
    return np.asarray(jax.jit(change)(keys(0, count), jnp.broadcast_to(image, (count, *image.shape))))


def which(images: np.ndarray, possible: list[np.ndarray]) -> np.ndarray:
    """The number of the possible picture that each image is."""
    equal = np.stack([(images == one).all((1, 2, 3)) for one in possible], axis=1)
    assert (equal.sum(1) == 1).all(), "some other picture, or two that are alike"
    return equal.argmax(1)


def evenly(numbers: np.ndarray, kinds: int) -> None:
    """Each kind within five standard deviations of its share: a false alarm in 1e6 for each; the key is fixed."""
    share, counts = len(numbers) / kinds, np.bincount(numbers, minlength=kinds)
    assert (np.abs(counts - share) < 5 * np.sqrt(share * (1 - 1 / kinds))).all()


def test_a_flip_mirrors_left_and_right_at_its_rate():
    image = picture(4, 6)
    possible = [image, image[:, ::-1]]
    evenly(which(made(flip(), image), possible), 2)
    assert (which(made(flip(rate=1.0), image, 20), possible) == 1).all()
    assert (which(made(flip(rate=0.0), image, 20), possible) == 0).all()


def test_a_shift_moves_every_way_equally_often_and_the_edge_fills_in():
    image = picture(5, 6)
    around = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    possible = [around[i : i + 5, j : j + 6] for i in range(5) for j in range(5)]
    evenly(which(made(shift(pixels=2), image), possible), 25)


def test_a_turn_is_by_right_angles():
    image = picture(5, 5)
    evenly(which(made(turn(), image), [np.rot90(image, k) for k in range(4)]), 4)


ALL = (flip(), shift(pixels=1), turn(), flip())
OPTIONS = {"augment": ALL, "form": pixel_representation.dequantised, "start_step": 7}


def take(digits: Dataset, seed: int = 0, count: int = 2, **options: Any) -> np.ndarray:
    iterator = stream(digits, "train", 64, seed, **options)
    taken = [np.asarray(batch["x"]) for batch in itertools.islice(iterator, count)]
    iterator.close()
    return np.stack(taken)


@pytest.mark.parametrize("hosts", [2, pytest.param(4, marks=pytest.mark.long)])
def test_neither_hosts_nor_the_way_of_reading_change_a_picture(digits: Dataset, hosts: int):
    whole = take(digits, **OPTIONS)
    for resident in (True, False):
        parts = [take(digits, host=i, hosts=hosts, resident=resident, **OPTIONS) for i in range(hosts)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_a_late_start_is_running_there(digits: Dataset):
    np.testing.assert_array_equal(take(digits, count=1, **{**OPTIONS, "start_step": 8})[0], take(digits, **OPTIONS)[1])


def test_the_noise_and_the_order_are_those_without_augmentation(digits: Dataset):
    """A change that does nothing leaves every bit; with flips, what differs is as far apart as levels are."""
    plain = take(digits, form=pixel_representation.dequantised)
    np.testing.assert_array_equal(take(digits, form=pixel_representation.dequantised, augment=(flip(rate=0.0),)), plain)
    moved = (take(digits, form=pixel_representation.dequantised, augment=(flip(),)) - plain) * 17 / 2
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-4)
    assert (moved != 0).any()


def test_changes_differ_with_row_step_seed_and_place_in_the_list(digits: Dataset):
    """Pairs of 64 fair choices agree in 32 ± 4: outside 12 … 52 with probability 1e-6 a pair."""

    def flipped(seed: int, step: int, twice: bool) -> np.ndarray:
        first = flip(rate=0.0) if twice else None
        chosen = (first, flip()) if first else (flip(),)
        options = {"form": pixel_representation.tokens, "start_step": step, "count": 1}
        return (take(digits, seed, **options) != take(digits, seed, augment=chosen, **options)).any(-1)[0]

    seen = [flipped(0, 0, False), flipped(0, 1, False), flipped(1, 0, False), flipped(0, 0, True)]
    assert all(12 < (a == b).sum() < 52 for a, b in itertools.combinations(seen, 2))
    assert all(12 < one.sum() < 52 for one in seen)


def test_slots_name_them():
    image = picture(6, 6)
    made_by_name = [made(change, image, 8) for change in parse_augment(("flip", "shift(pixels=2)", "turn()"))]
    expected = [made(change, image, 8) for change in (flip(), shift(2), turn())]
    np.testing.assert_array_equal(np.stack(made_by_name), np.stack(expected))
    assert parse_augment(()) == ()


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        ("flop", "'flop'.*flip, shift, turn"),
        ("flip(rate=2.0)", "flip.*rate"),
        ("shift(pixels=0)", "shift.*pixels"),
        ("shift(pixels=1.5)", "pixels"),
        ("turn(90)", ""),
    ],
)
def test_a_slot_that_cannot_be_is_refused(slot: str, message: str):
    with pytest.raises(UserError, match=rf"^data\.augment: .*{message}"):
        parse_augment((slot,))


def test_a_change_that_does_not_suit_the_images_is_refused_before_any_is_read(digits: Dataset):
    oblong = Dataset("oblong", (4, 6, 1), 0, (), 256, digits.splits)
    with pytest.raises(UserError, match=r"^data\.augment: turn\b.*6 wide and 4 high"):
        stream(oblong, "train", 4, 0, augment=(turn(),))
    with pytest.raises(UserError, match=r"^data\.augment: shift\b.*pixels.*6 wide and 4 high"):
        stream(oblong, "train", 4, 0, augment=(shift(pixels=4),))
    with pytest.raises(UserError, match=r"^data\.augment: .*float32"):
        stream(oblong, "train", 4, 0, augment=(lambda keys, images: images / 2,))
