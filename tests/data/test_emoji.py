"""Emoji with captions: every modifier and person is in training, combinations of test are not; drawn by a font."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffjax.data import open_dataset
from diffjax.errors import UserError
from examples.emoji_text import font as emoji_font
from examples.emoji_text import make_pictures
from examples.emoji_text.modifier_classifier import MODIFIERS, train_classifier
from examples.emoji_text.sequences import TONES, Emoji, all_emoji

EMOJI = [*all_emoji()]


def of_split(split: str) -> list[Emoji]:
    return [one for one in EMOJI if one.split == split]


def test_a_caption_and_a_file_name_are_of_one_emoji() -> None:
    assert len({one.caption for one in EMOJI}) == len(EMOJI)
    assert len({one.file_name for one in EMOJI}) == len(EMOJI)


def test_captions_are_read_as_64_bytes() -> None:
    assert max(len(one.caption.encode()) for one in EMOJI) <= 64


@pytest.mark.parametrize("split", ["test", "validation"])
def test_training_sees_every_part_of_a_combination_and_not_the_combination(split: str) -> None:
    train = of_split("train")
    parts = {(name, getattr(one, name)) for one in train for name in ("person", *MODIFIERS)}
    captions = {one.caption for one in train}
    for one in of_split(split):
        assert one.caption not in captions
        assert {(name, getattr(one, name)) for name in ("person", *MODIFIERS)} <= parts


def test_a_tenth_of_the_combinations_is_for_test() -> None:
    combinations = [one for one in EMOJI if one.tone and (one.gender or one.hair)]
    assert 0.07 < len(of_split("test")) / len(combinations) < 0.13
    assert {one.tone for one in of_split("test")} == {*TONES}


@pytest.mark.parametrize(
    ("emoji", "caption"),
    [
        (Emoji("", "people", "firefighter", "woman", "dark"), "woman firefighter, dark skin tone"),
        (Emoji("", "people", "woman", "woman", "light", "red hair"), "woman, red hair, light skin tone"),
        (Emoji("", "people", "student"), "student"),
        (Emoji("", "faces", "grinning face"), "grinning face"),
    ],
)
def test_a_caption_names_the_modifiers(emoji: Emoji, caption: str) -> None:
    assert emoji.caption == caption


def test_without_a_font_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(emoji_font, "FOLDERS", (str(tmp_path),))
    with pytest.raises(UserError, match=r"apt install fonts-noto-color-emoji.*--font"):
        emoji_font.find_font()
    with pytest.raises(UserError, match="--font"):
        emoji_font.find_font(str(tmp_path / "no.ttf"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred emoji, on a machine that has a font."""
    try:
        font = emoji_font.find_font()
    except UserError as missing:
        pytest.skip(str(missing))
    out = tmp_path_factory.mktemp("emoji") / "emoji"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_pictures, "all_emoji", lambda: EMOJI[::14])
        make_pictures.write_pictures(out, font)
    return out


def test_the_folder_opens_with_captions_modifiers_and_splits(drawn: Path) -> None:
    dataset = open_dataset(f"folder:{drawn}")
    rows = [json.loads(line) for line in (drawn / "metadata.jsonl").read_text().splitlines()]
    assert dataset.shape == (32, 32, 3)
    assert {*MODIFIERS, "person", "group", "text"} <= dataset.features.keys()
    for split in ("train", "validation", "test"):
        assert len(dataset.splits[split]) == sum(row["split"] == split for row in rows)
    assert len(rows) > 80, "the font draws most of them"


def test_pictures_are_of_different_emoji_on_white(drawn: Path) -> None:
    images, _ = open_dataset(f"folder:{drawn}").arrays("train")
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) > 0.95 * len(images)
    assert (images[:, 0, 0] > 250).mean() > 0.9


def test_a_folder_that_is_not_empty_is_refused(drawn: Path) -> None:
    with pytest.raises(UserError, match="--out"):
        make_pictures.write_pictures(drawn, emoji_font.find_font())


def test_a_classifier_reads_what_it_can_see() -> None:
    """Squares of two colours in two heights, and a modifier that is always the same."""
    rng = np.random.default_rng(0)
    tone = rng.integers(0, 2, 64)
    gender = rng.integers(0, 2, 64)
    images = np.full((64, 16, 16, 3), 255, np.uint8)
    for image, colour, place in zip(images, tone, gender, strict=True):
        image[4 : 8 + 4 * place, 4:12] = (40, 40, 200 * colour)
    modifiers = {"gender": ["ab"[n] for n in gender], "tone": ["cd"[n] for n in tone], "hair": ["none"] * 64}
    read = train_classifier(images, modifiers, steps=60).predict(images)
    for name, values in modifiers.items():
        assert np.mean([one == other for one, other in zip(read[name], values, strict=True)]) > 0.95
