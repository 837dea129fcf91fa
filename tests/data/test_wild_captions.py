"""Captions, classes and further pictures of a folder some of whose files are left out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_wild import opened, picture, save

from diffjax.data import Dataset
from diffjax.data.duplicates import once
from diffjax.data.pictures import PictureRules
from diffjax.data.splits import Split
from diffjax.data.unreadable import skip
from diffjax.errors import UserError

SKIP = PictureRules(unreadable=skip(), duplicates=once())


def write(root: Path, folders: tuple[str, ...] = ("",)) -> None:
    """Six pictures in each folder, with captions and sketches; 2 cannot be read, and 4 equals 3."""
    rows = []
    for number, folder in enumerate(folders):
        for i in range(6):
            file, sketch = Path(folder, f"{i}.png"), Path("sketches", f"{number}{i}.png")
            save(root / file, picture(10 * number + (3 if i == 4 else i)))
            save(root / sketch, np.full((24, 24, 1), 10 * number + i, np.uint8))  # nearly equal to one another
            row = {"file_name": file.as_posix(), "text": f"{folder}{i}", "sketch_file_name": sketch.as_posix()}
            rows.append(row)
        (root / folder / "2.png").write_bytes(b"broken")
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def texts(dataset: Dataset, split: str) -> list[object]:
    source = dataset.splits[split]
    return [source.features(row)["text"] for row in range(len(source))]


def test_rows_of_pictures_that_are_left_out_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = opened(tmp_path, 24, SKIP)
    assert texts(dataset, "train") == ["0", "1", "3", "5"]
    assert [np.asarray(dataset.splits["train"].features(row)["sketch"]).max() for row in range(4)] == [0, 1, 3, 5]
    for row, seed in enumerate((0, 1, 3, 5)):
        np.testing.assert_array_equal(dataset.splits["train"][row]["image"], picture(seed))
    assert any("1 of 6 files cannot be read" in note for note in dataset.notes)
    assert any("1 of 6 files are duplicates" in note for note in dataset.notes)


def test_rows_of_missing_pictures_are_refused_beside_those_that_are_left_out(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "5.png").unlink()
    with pytest.raises(UserError, match=r"names 1 missing picture\(s\): 5\.png"):
        opened(tmp_path, 24, SKIP)


def test_split_folders_have_substitutes_with_their_own_captions(tmp_path: Path) -> None:
    write(tmp_path, ("train", "val", "test"))
    dataset = opened(tmp_path, 24, SKIP)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 4, "validation": 4, "test": 4}
    (tmp_path / "val" / "1.png").unlink()
    source = dataset.splits["validation"]
    assert isinstance(source, Split)
    np.testing.assert_array_equal(source[1]["image"], picture(13))
    assert source.features(1)["text"] == "val3"
    assert texts(dataset, "train") == ["train0", "train1", "train3", "train5"]


def test_the_background_is_that_of_pictures_with_captions_too(tmp_path: Path) -> None:
    write(tmp_path)
    Image.new("RGBA", (24, 24)).save(tmp_path / "0.png")
    dataset = opened(tmp_path, 24, PictureRules((1, 2, 3), skip()))
    np.testing.assert_array_equal(dataset.splits["train"][0]["image"][0, 0], (1, 2, 3))
