"""Patches of photographs: what a split may see of them, and that nothing of it is in another."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from diffjax.commands import photographs
from diffjax.data import Dataset, open_dataset, package_files, photos
from diffjax.data.package_files import package_image
from diffjax.data.photo_patches import COUNTS, FACTORS, Area, Photograph, positions, reduce_photo
from diffjax.errors import UserError
from diffjax.utils.image_io import read_image

SIZES = (32, 64)


@pytest.fixture(scope="module", params=SIZES)
def patches(request: pytest.FixtureRequest, data_dir: Path) -> Dataset:
    return open_dataset("photos", data_dir, image_size=request.param)


@cache
def rectangles(dataset: Dataset, split: str) -> np.ndarray:
    """The photograph, first and last row, and first and last column of each patch, in pixels of the whole."""
    source = dataset.split(split)
    stored = [source.features(row) for row in range(len(source))]
    columns = {name: np.array([int(row[name]) for row in stored]) for name in dataset.features}
    side = dataset.shape[0] * columns["factor"]
    top, left = columns["top"], columns["left"]
    return np.stack([columns["photograph"], top, top + side, left, left + side], axis=1)


@pytest.mark.parametrize("pair", [("train", "test"), ("train", "validation"), ("validation", "test")])
def test_patches_of_two_splits_are_a_patch_apart(patches: Dataset, pair: tuple[str, str]) -> None:
    first, second = (np.unique(rectangles(patches, name), axis=0) for name in pair)
    for number in np.unique(first[:, 0]):
        one, other = (rows[rows[:, 0] == number, None, 1:] for rows in (first, second))
        other = other[:, 0][None]
        down = np.maximum(one[..., 0] - other[..., 1], other[..., 0] - one[..., 1])
        across = np.maximum(one[..., 2] - other[..., 3], other[..., 2] - one[..., 3])
        assert np.maximum(down, across).min(initial=10**6) >= patches.shape[0]


def test_train_is_of_the_left_two_thirds_and_test_of_the_right_third(patches: Dataset) -> None:
    widths = [package_image(photo.package, photo.path).shape[1] for photo in photos.DIVIDED]
    for split, within in (("train", lambda rows, border: rows[:, 4] <= border), ("test", lambda r, b: r[:, 3] >= b)):
        rows = rectangles(patches, split)
        assert within(rows, 2 * np.array(widths)[rows[:, 0]] // 3).all()


def test_every_photograph_is_in_training_and_test_and_the_held_out_one_in_neither(patches: Dataset) -> None:
    for split in ("train", "test"):
        assert {*rectangles(patches, split)[:, 0]} == {*range(len(photos.DIVIDED))}
    assert {*rectangles(patches, "held_out")[:, 0]} == {photos.NAMES.index(photos.HELD_OUT.name)}


def test_pixels_are_those_of_the_files(patches: Dataset) -> None:
    size = patches.shape[0]
    for split in ("train", "test", "validation"):
        rows = rectangles(patches, split)
        for index in np.linspace(0, len(rows) - 1, 9).astype(int).tolist():
            number, top, bottom, left, right = rows[index].tolist()
            whole = package_image(photos.DIVIDED[number].package, photos.DIVIDED[number].path)
            expected = reduce_photo(whole[top:bottom, left:right], (bottom - top) // size)
            np.testing.assert_array_equal(patches.split(split)[index]["image"], expected)


def test_a_second_view_shows_what_the_first_does(patches: Dataset) -> None:
    left, right = (patches.arrays(name)[0].astype(float) for name in ("left_view", "right_view"))
    other = np.roll(right, len(right) // 2, axis=0)
    assert np.abs(left - right).mean() < 0.6 * np.abs(left - other).mean()


def test_patches_are_many_and_no_photograph_has_most_of_them(patches: Dataset) -> None:
    counts = np.bincount(rectangles(patches, "train")[:, 0])
    assert counts.sum() > 5_000
    assert counts.max() < 0.3 * counts.sum()
    assert all(len(patches.split(name)) for name in COUNTS)


@pytest.mark.parametrize(("rows", "columns", "count"), [(40, 90, 100), (33, 32, 5), (32, 32, 7), (100, 33, 1000)])
def test_positions_cover_an_area_evenly(rows: int, columns: int, count: int) -> None:
    area = Area(3, 3 + rows, 5, 5 + columns)
    found = np.array([*positions(area, (32, 32, 3), count)])
    assert 1 <= len(found) <= count
    assert len(np.unique(found, axis=0)) == len(found)
    assert (found >= [3, 5]).all()
    assert (found + 32 <= [3 + rows, 5 + columns]).all()


def test_no_patch_fits_into_less_than_its_size() -> None:
    assert not [*positions(Area(0, 31, 0, 90), (32, 32, 3), 10)]


def test_reduction_is_the_mean_of_blocks() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (17, 24, 3), np.uint8)
    assert (reduce_photo(photo, 1) == photo).all()
    for factor in FACTORS[1:]:
        small = reduce_photo(photo, factor)
        assert small.shape == (17 // factor, 24 // factor, 3)
        block = photo[:factor, factor : 2 * factor].astype(float)
        np.testing.assert_allclose(small[0, 1], block.mean((0, 1)), atol=0.5)


@pytest.mark.parametrize(
    ("size", "field"), [(None, "data.image_size"), (1_000, "data.image_size")], ids=["none", "larger"]
)
def test_a_size_is_needed_that_fits(data_dir: Path, size: int | None, field: str) -> None:
    with pytest.raises(UserError, match=field):
        open_dataset("photos", data_dir, image_size=size)


def test_a_package_that_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_files, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-image"):
        package_image("skimage", "data/coffee.png")


def test_a_file_that_a_version_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match=r"no_such\.png.*scikit-image"):
        package_image("skimage", "data/no_such.png")


def test_whole_photographs_are_written_by_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    stored = {
        "train": [Photograph(pixels, 0), Photograph(pixels[:, ::-1].copy(), 1)],
        "held_out": [Photograph(pixels, 8)],
    }
    monkeypatch.setattr(photographs, "read_photographs", lambda data_dir: stored)
    paths = photographs.write_photographs(tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == [
        "train/astronaut.png",
        "train/cat.png",
        "held_out/china.png",
    ]
    np.testing.assert_array_equal(read_image(paths[-1]), pixels)
