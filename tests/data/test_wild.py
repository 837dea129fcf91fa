"""Folders of pictures as users have them: fifteen kinds, each read rightly or refused in one line.

Captions and split folders are in the tests of their sources; here it is how files are found, read, checked and skipped.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streams import stream

from diffjax.data import Dataset, open_dataset, picture_index
from diffjax.data.duplicates import find_duplicates, keep, kept_once, once
from diffjax.data.pictures import PictureRules
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Part
from diffjax.data.unreadable import skip
from diffjax.errors import UserError

# All pictures are for training, where a test is about how they are read.
WHOLE = SplitRule(
    folder=lambda keys, labels: {"train": Part(np.arange(len(keys)), "")},
    partition_train=lambda count, key, missing: {"train": Part(np.arange(count), "")},
)
SKIP = PictureRules(unreadable=skip())


def picture(seed: int, height: int = 24, width: int = 24, channels: int = 3) -> np.ndarray:
    """A smooth picture, as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), np.uint8)
    image = Image.fromarray(coarse if channels > 1 else coarse[..., 0])
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, channels)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(path, **options)  # pyright: ignore
    return path


def plain(root: Path, count: int = 3) -> None:
    for i in range(count):
        save(root / "a" / f"{i:02}.png", picture(i))


def opened(root: Path, image_size: int | None = 16, rules: PictureRules | None = None) -> Dataset:
    return open_dataset(f"folder:{root}", image_size=image_size, rule=WHOLE, pictures=rules or PictureRules())


def last(dataset: Dataset) -> np.ndarray:
    """The picture that comes last by its name."""
    return dataset.arrays("train")[0][-1].astype(int)


def near(image: np.ndarray, file: np.ndarray) -> bool:
    small = np.asarray(Image.fromarray(file).resize((16, 16), Image.Resampling.BOX)).astype(int)
    return bool(np.abs(image - small).mean() < 8)


@pytest.mark.parametrize("name", ["z.tiff", "z.tif", "z.avif", "z.jp2", "z.mpo", "z.webp"])
def test_kinds_beside_png_and_jpeg_are_read(tmp_path: Path, name: str):
    plain(tmp_path)
    options = {"compression": "tiff_lzw"} if name == "z.tif" else {}
    save(tmp_path / "a" / name, picture(9), **options)
    found = opened(tmp_path)
    assert len(found.splits["train"]) == 4
    assert near(last(found), picture(9))


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_are_scaled_and_said(tmp_path: Path, kind: str):
    plain(tmp_path)
    ramp = np.repeat(np.linspace(0, 65535, 16).astype(np.uint16)[None], 16, axis=0)
    Image.fromarray(ramp).save(tmp_path / "a" / f"z.{kind}")
    found = opened(tmp_path)
    np.testing.assert_array_equal(last(found)[0, :, 1], np.rint(ramp[0] / 257))
    assert sum("1 of 4 images has 16 bits a channel, scaled to 8" in note for note in found.notes) == 1


def test_what_systems_leave_in_folders_is_passed_over_and_said(tmp_path: Path):
    plain(tmp_path)
    for name in (".DS_Store", "__MACOSX/a/00.png", "__MACOSX/a/._00.png", "a/._00.png", "a/Thumbs.db", "desktop.ini"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    save(tmp_path / "a" / ".ipynb_checkpoints" / "00-checkpoint.png", picture(0))
    (tmp_path / "a" / "phone.heic").write_bytes(b"ftypheic")
    found = opened(tmp_path)
    assert (len(found.splits["train"]), found.class_names) == (3, ("a",))
    (note,) = [note for note in found.notes if "passed over" in note]
    for part in ("1 __MACOSX", "1 Thumbs.db", "1 desktop.ini", "3 hidden", "1 *.heic"):
        assert part in note


def test_any_size_is_read_and_what_is_scaled_is_said(tmp_path: Path):
    for height, width in [(24, 24), (17, 40), (40, 17), (1, 1), (8, 90), (33, 31)]:
        save(tmp_path / "a" / f"{height}x{width}.png", picture(1, height, width))
    found = opened(tmp_path)
    assert found.arrays("train")[0].shape == (6, 16, 16, 3)
    notes = " ".join(found.notes)
    assert "2 of 6 images are smaller than 16x16 and scaled up" in notes
    assert "4 of 6 images are larger than 16x16 and scaled down" in notes
    assert "larger" not in " ".join(opened(tmp_path, image_size=32).notes)


def test_the_picture_beside_the_classes_is_named(tmp_path: Path):
    plain(tmp_path)
    save(tmp_path / "preview.png", picture(0))
    with pytest.raises(UserError, match=r"preview\.png"):
        opened(tmp_path)


def test_of_an_animation_the_first_frame_is_read_and_said(tmp_path: Path):
    plain(tmp_path)
    frames = [Image.fromarray(picture(i)) for i in (7, 8)]
    frames[0].save(tmp_path / "a" / "z.webp", save_all=True, append_images=frames[1:], lossless=True)
    found = opened(tmp_path)
    assert near(last(found), picture(7))
    assert any("several frames, of which the first is used" in note for note in found.notes)


def test_a_photograph_taken_sideways_is_turned(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a" / "z.jpg", picture(5, 16, 32), exif=exif, quality=95)
    found = opened(tmp_path, image_size=None)
    assert found.shape == (32, 16, 3)
    assert np.abs(last(found) - np.rot90(picture(5, 16, 32), -1)).mean() < 8


def test_what_shines_through_is_the_background(tmp_path: Path):
    plain(tmp_path)
    hidden = np.zeros((16, 16, 4), np.uint8)
    hidden[...] = (255, 0, 255, 0)
    hidden[4:8, 4:8] = (0, 255, 0, 255)
    save(tmp_path / "a" / "z.png", hidden)
    for colour, word in (((255, 255, 255), "white"), ((0, 0, 128), "#000080")):
        found = opened(tmp_path, rules=PictureRules(background=colour))
        shown = last(found)
        assert (shown[4:8, 4:8] == (0, 255, 0)).all()
        shown[4:8, 4:8] = colour
        assert (shown == colour).all()
        assert any(f"laid on {word}" in note for note in found.notes)


def test_grey_pictures_on_a_colour_are_a_colour_set(tmp_path: Path):
    save(tmp_path / "a.png", np.array([[[9, 255], [9, 0]]], np.uint8))
    assert opened(tmp_path, image_size=None).shape == (1, 2, 1)
    found = opened(tmp_path, image_size=None, rules=PictureRules(background=(255, 0, 0)))
    np.testing.assert_array_equal(last(found)[0], [(9, 9, 9), (255, 0, 0)])


def test_names_of_any_script_are_read_and_links_are_followed(tmp_path: Path):
    root = tmp_path / "root"
    for i, name in enumerate(["é", "日本語", "עברית", "name with spaces", "😀", "ไทย"]):
        save(root / name / f"{name}.png", picture(i))
    save(tmp_path / "elsewhere" / "x.png", picture(8))
    (root / "é" / "inside.png").symlink_to(root / "😀" / "😀.png")
    assert len(opened(root).splits["train"]) == 7
    (root / "é" / "outside.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    with pytest.raises(UserError, match=r"outside\.png .*data\.follow_links"):
        opened(root)
    found = opened(root, rules=PictureRules(follow_links=True))
    assert len(found.splits["train"]) == 8
    assert any("1 files are links out of the folder" in note for note in found.notes)
    (root / "circle").symlink_to(root, target_is_directory=True)
    with pytest.raises(UserError, match="circle is a link to a folder"):
        opened(root, rules=PictureRules(follow_links=True))


def damaged(root: Path, count: int = 3) -> None:
    plain(root, count)
    (root / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (root / "a" / "empty.png").write_bytes(b"")


def test_unreadable_files_are_all_named_or_skipped_and_counted(tmp_path: Path):
    damaged(tmp_path)
    with pytest.raises(UserError, match=r"2 of 5 .*data\.unreadable=skip.*broken\.jpg: .*empty\.png: ") as refused:
        opened(tmp_path)
    assert "\n" not in str(refused.value)
    found = opened(tmp_path, rules=SKIP)
    assert len(found.splits["train"]) == 3
    assert any(
        "2 of 5 files cannot be read, and are skipped: a/broken.jpg, a/empty.png" in each for each in found.notes
    )
    with pytest.raises(UserError, match=r"2 of 5 .*more than data\.unreadable=0\.1.*broken\.jpg"):
        opened(tmp_path, rules=PictureRules(unreadable=skip(share=0.1)))
    with pytest.raises(UserError, match="share"):
        skip(share=1.0)


def test_a_file_that_only_its_pixels_give_away_is_skipped_before_the_first_batch(tmp_path: Path):
    plain(tmp_path, 8)
    whole = (tmp_path / "a" / "03.png").read_bytes()
    (tmp_path / "a" / "03.png").write_bytes(whole[: len(whole) // 2])
    assert len(opened(tmp_path).splits["train"]) == 8  # by their headers all are pictures
    found = opened(tmp_path, rules=SKIP)
    assert len(found.splits["train"]) == 7
    taken_away = opened(tmp_path, rules=SKIP)
    (tmp_path / "a" / "03.png").unlink()
    without = opened(tmp_path)
    for resident in (True, False):
        batches = [stream(each, "train", 4, 5, resident=resident) for each in (found, taken_away, without)]
        for _ in range(6):
            first, *others = [np.asarray(next(each)["x"]) for each in batches]
            assert all((first == other).all() for other in others)


@pytest.mark.parametrize("change", ["deleted", "changed"])
def test_a_file_that_changes_after_the_start_is_named_or_the_next_of_its_class_is_read(tmp_path: Path, change: str):
    for i in range(12):
        save(tmp_path / ("a" if i < 6 else "b") / f"{i:02}.png", picture(i))

    def spoil() -> None:
        path = tmp_path / "a" / "02.png"
        if change == "deleted":
            path.unlink()
        else:
            save(path, picture(99, 30, 30))

    refusing, skipping, again = opened(tmp_path), opened(tmp_path, rules=SKIP), opened(tmp_path, rules=SKIP)
    before = skipping.arrays("train")[0]
    spoil()
    with pytest.raises(UserError, match=rf"02\.png: was {change}"):
        refusing.arrays("train")
    images, labels = skipping.arrays("train")
    np.testing.assert_array_equal(images[2], before[3])
    others = np.arange(12) != 2
    np.testing.assert_array_equal(images[others], before[others])
    assert labels is not None
    assert labels.tolist() == [0] * 6 + [1] * 6
    for resident in (True, False):
        ones, twos = (stream(each, "train", 4, 3, resident=resident) for each in (skipping, again))
        assert all((np.asarray(next(ones)["x"]) == np.asarray(next(twos)["x"])).all() for _ in range(6))


def test_no_more_files_than_the_share_are_replaced_while_training(tmp_path: Path):
    plain(tmp_path, 8)
    found = opened(tmp_path, rules=PictureRules(unreadable=skip(share=0.2)))
    for name in ("00", "05"):
        (tmp_path / "a" / f"{name}.png").unlink()
    with pytest.raises(UserError, match=r"05\.png: was deleted"):
        found.arrays("train")


def copies(root: Path) -> None:
    """Six pictures, of which 1 is a copy of 0, and 3 … 5 are 2 in another format, quality or size."""
    save(root / "0.png", picture(0, 96, 96))
    (root / "1.png").write_bytes((root / "0.png").read_bytes())
    save(root / "2.png", picture(2, 96, 96))
    save(root / "3.bmp", picture(2, 96, 96))
    save(root / "4.jpg", picture(2, 96, 96), quality=60)
    small = Image.fromarray(picture(2, 96, 96)).resize((48, 48), Image.Resampling.LANCZOS)
    save(root / "5.png", np.asarray(small))
    for i in range(6, 40):
        save(root / f"{i}.png", picture(i, 96, 96))


def test_exact_and_near_duplicates_are_found_and_kept_once(tmp_path: Path):
    copies(tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.iterdir())
    rows = picture_index.decode_all(picture_index.open_index(tmp_path, files)).rows
    pairs = find_duplicates(rows)
    named = {
        (files[first].name, files[second].name): exact
        for first, second, exact in zip(pairs.first, pairs.second, pairs.exact, strict=True)
    }
    alike = ["2.png", "3.bmp", "4.jpg", "5.png"]
    expected = {(one, other) for one in alike for other in alike if files.index(Path(one)) < files.index(Path(other))}
    assert {pair for pair, exact in named.items() if exact} == {("0.png", "1.png")}
    assert {pair for pair, exact in named.items() if not exact} == expected
    assert kept_once(len(files), pairs, near=True).sum() == len(files) - 4
    assert kept_once(len(files), pairs, near=False).sum() == len(files) - 1
    for rule, count in ((keep, 40), (once(near=False), 39), (once(), 36)):
        found = opened(tmp_path, rules=PictureRules(duplicates=rule))
        assert len(found.splits["train"]) == count
        assert any("are duplicates of others" in note for note in found.notes) == (count < 40)


@pytest.mark.parametrize("value", [0, 200])
def test_pictures_of_one_colour_are_duplicates_of_their_own_colour_alone(tmp_path: Path, value: int):
    for i in range(4):
        save(tmp_path / f"{i}.png", np.full((8, 8 + i, 3), (value + 14 * i) % 256, np.uint8))
    files = [Path(f"{i}.png") for i in range(4)]
    pairs = find_duplicates(picture_index.decode_all(picture_index.open_index(tmp_path, files)).rows)
    assert len(pairs.first) == 0


def test_what_a_check_finds_is_remembered_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain(tmp_path, 5)
    cut = tmp_path / "a" / "03.png"
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    for path in (tmp_path / "a").iterdir():
        os.utime(path, ns=(0, time.time_ns() - 10 * 10**9))  # settled
    files = sorted(path.relative_to(tmp_path) for path in (tmp_path / "a").iterdir())
    picture_index.decode_all(picture_index.open_index(tmp_path, files))
    refuse_to_read(monkeypatch)
    index = picture_index.open_index(tmp_path, files)
    assert index.bad.tolist() == [3]
    assert (index.rows["state"][[0, 1, 2, 4]] == picture_index.DECODED).all()
    assert picture_index.decode_all(index) is index
    with pytest.raises(UserError, match=r"03\.png"):
        opened(tmp_path)
    os.utime(cut, ns=(0, 0))
    with pytest.raises(AssertionError):
        picture_index.open_index(tmp_path, files)


def refuse_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a file was read")

    for name in ("read_header", "decode_file"):
        monkeypatch.setattr(picture_index, name, refuse)


def cut_index(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [cut_index, lambda path: path.write_bytes(b""), Path.unlink])
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: Callable[[Path], object], monkeypatch) -> None:
    monkeypatch.setenv("DIFFJAX_CACHE", str(tmp_path / "cache"))
    plain(tmp_path / "set", 3)
    files = [Path("a") / f"{i:02}.png" for i in range(3)]
    first = picture_index.decode_all(picture_index.open_index(tmp_path / "set", files))
    (stored,) = (tmp_path / "cache" / "pictures").iterdir()
    damage(stored)
    again = picture_index.decode_all(picture_index.open_index(tmp_path / "set", files))
    assert (again.rows == first.rows).all()


def test_a_file_that_was_changed_just_now_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Within a tick of the clock it may change once more, and keep its size and time."""
    plain(tmp_path, 2)
    files = [Path("a") / f"{i:02}.png" for i in range(2)]
    picture_index.decode_all(picture_index.open_index(tmp_path, files))
    refuse_to_read(monkeypatch)
    with pytest.raises(AssertionError):
        picture_index.open_index(tmp_path, files)


def test_a_cache_that_cannot_be_written_is_said_and_does_no_harm(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("DIFFJAX_CACHE", str(tmp_path / "cache"))
    plain(tmp_path / "set")
    assert len(opened(tmp_path / "set", rules=SKIP).splits["train"]) == 3
    assert "is not remembered" in capsys.readouterr().err


def test_classes_of_one_picture_are_named(tmp_path: Path):
    plain(tmp_path)
    save(tmp_path / "alone" / "0.png", picture(7))
    assert any("one picture of class 'alone'" in note for note in opened(tmp_path).notes)
