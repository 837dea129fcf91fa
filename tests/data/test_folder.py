"""Folders of images: classes from subfolders, splits that do not depend on the disk, mistakes named by file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streams import stream

from diffjax.data import open_dataset
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Part
from diffjax.errors import UserError

# All pictures are for training, where a test is about how they are read.
WHOLE = SplitRule(
    folder=lambda keys, labels: {"train": Part(np.arange(len(keys)), "")},
    partition_train=lambda count, key, missing: {"train": Part(np.arange(count), "")},
)


def picture(i: int, channels: int = 3, size: tuple[int, int] = (4, 6)) -> np.ndarray:
    shape = size if channels == 1 else (*size, channels)
    return np.random.default_rng(i).integers(0, 256, shape, np.uint8)


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def test_subfolders_are_classes_and_every_picture_is_in_one_split(tmp_path: Path):
    for i in range(60):
        save(tmp_path / ("cat" if i < 20 else "dog") / f"{i:02}.png", picture(i))
    pets = open_dataset(f"folder:{tmp_path}")
    assert (pets.shape, pets.levels, pets.classes, pets.class_names) == ((4, 6, 3), 256, 2, ("cat", "dog"))
    seen = []
    for split in ("train", "validation", "test"):
        images, labels = pets.arrays(split)[0], pets.split(split).labels()
        numbers = [next(i for i in range(60) if (picture(i) == image).all()) for image in images]
        assert [int(i >= 20) for i in numbers] == labels.tolist()
        assert numbers == sorted(numbers)
        seen += numbers
    assert sorted(seen) == list(range(60))
    again = open_dataset(f"folder:{tmp_path}")
    assert all((again.splits[name].ids == split.ids).all() for name, split in pets.splits.items())


def test_images_directly_in_the_folder_have_no_labels(tmp_path: Path):
    for i in range(12):
        save(tmp_path / f"{i:02}.png", picture(i, 1))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image")
    plain = open_dataset(f"folder:{tmp_path}", rule=WHOLE)
    assert (plain.shape, plain.classes, plain.class_names) == ((4, 6, 1), 0, ())
    images, labels = plain.arrays("train")
    assert (len(images), labels) == (12, None)
    for resident in (True, False):
        batch = next(stream(plain, "train", 4, 0, resident=resident))
        assert (batch["x"].shape, batch["cond"]) == ((4, 4, 6, 1), None)


def test_one_colour_image_makes_the_set_rgb_and_formats_may_mix(tmp_path: Path):
    save(tmp_path / "a.png", picture(0, 1))
    save(tmp_path / "b.bmp", picture(1))
    save(tmp_path / "c.JPG", picture(2, 1), format="jpeg")
    save(tmp_path / "d.gif", picture(3, 1))
    images, _ = open_dataset(f"folder:{tmp_path}", rule=WHOLE).arrays("train")
    assert images.shape == (4, 4, 6, 3)
    np.testing.assert_array_equal(images[0], np.repeat(picture(0, 1)[..., None], 3, axis=-1))
    np.testing.assert_array_equal(images[1], picture(1))


def test_images_are_seen_as_a_viewer_shows_them(tmp_path: Path):
    clear = np.dstack([picture(0), np.zeros((4, 6), np.uint8)])
    save(tmp_path / "a" / "clear.png", clear)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    save(tmp_path / "b" / "turned.png", picture(1, size=(6, 4)), exif=exif)
    both = open_dataset(f"folder:{tmp_path}")
    images, _ = both.arrays("train")
    assert (images[0] == 255).all()
    np.testing.assert_array_equal(images[1], np.rot90(picture(1, size=(6, 4)), -1))


def test_sizes_that_differ_are_refused_or_fitted(tmp_path: Path):
    for i, size in enumerate([(4, 6), (4, 6), (8, 8), (2, 2)]):
        save(tmp_path / f"{i}.png", picture(i, size=size))
    with pytest.raises(UserError, match=r"2\.png .*8 wide and 8 high.*0\.png .*6 wide and 4 high.*image_size"):
        open_dataset(f"folder:{tmp_path}")
    images, _ = open_dataset(f"folder:{tmp_path}", image_size=4, rule=WHOLE).arrays("train")
    np.testing.assert_array_equal(images[0], picture(0)[:, 1:5])
    averaged = picture(2, size=(8, 8)).reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(images[2], averaged, atol=1)  # Pillow rounds after each of two passes


def test_unreadable_files_are_named(tmp_path: Path):
    save(tmp_path / "good.png", picture(0))
    (tmp_path / "no.png").write_text("this is no image")
    with pytest.raises(UserError, match=r"no\.png: ") as caught:
        open_dataset(f"folder:{tmp_path}")
    assert "\n" not in str(caught.value)
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "no.png").write_bytes(whole[: len(whole) - 30])
    cut = open_dataset(f"folder:{tmp_path}")
    for resident in (True, False):
        with pytest.raises(UserError, match=r"no\.png: "):
            next(stream(cut, "train", 2, 0, resident=resident))


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="missing: "):
        open_dataset(f"folder:{tmp_path / 'missing'}")
    with pytest.raises(UserError, match=str(tmp_path)):
        open_dataset(f"folder:{tmp_path}")
    for split in ("train", "test"):
        save(tmp_path / split / "cat" / "0.png", picture(0))
    save(tmp_path / "1.png", picture(1))
    with pytest.raises(UserError, match=r"1\.png"):
        open_dataset(f"folder:{tmp_path}")
    with pytest.raises(UserError, match=r"^image_size: "):
        open_dataset(f"folder:{tmp_path}", image_size=0)
    few = open_dataset(f"folder:{tmp_path / 'train'}")
    with pytest.raises(UserError, match=r"'test'.* 1 images"):
        few.arrays("test")
