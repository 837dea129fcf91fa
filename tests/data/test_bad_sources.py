"""Mistakes in sources: each is one line that names the file and the field."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures_in_every_source import items, sample_files, write_array, write_folder, write_shards, write_tar

from diffjax.data import open_dataset
from diffjax.data.condition_batches import build_parts
from diffjax.data.condition_parts import category, feature
from diffjax.data.datasets import Columns
from diffjax.errors import UserError
from diffjax.utils.files import is_single_line


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def refused(name: str, *words: str, **columns: str) -> None:
    """One line with all these words."""
    with pytest.raises(UserError) as caught:
        open_dataset(name, columns=Columns(**columns)).arrays("train")
    assert is_single_line(str(caught.value))
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def rewritten(change: Callable[[list[dict[str, object]]], object]) -> Callable[[Path], object]:
    """A change of the rows of metadata.jsonl."""

    def write(root: Path) -> None:
        path = root / "metadata.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        change(rows)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return write


def text(name: str, content: str) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)

    return write


def copied(name: str) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((root / "cat" / "00.png").read_bytes())

    return write


CSV = "file_name,text\ncat/00.png,one\n"
FOLDERS = {
    "pictures beside classes": (copied("a.png"), ("a.png", "beside the class folders")),
    "missing pictures": (
        rewritten(lambda rows: [row.update(file_name=f"cat/x{i}.png") for i, row in enumerate(rows[:4])]),
        ("metadata.jsonl", "file_name", "4 missing", "cat/x0.png, cat/x1.png, cat/x2.png, …"),
    ),
    "two rows": (
        lambda root: rewritten(lambda rows: rows.append(rows[0]))(root),
        ("dog/11.png", "two rows", "line 13"),
    ),
    "a row and a txt": (text("cat/01.txt", "a cat"), (".txt", "two captions", "'text'")),
    "mixed types": (
        rewritten(lambda rows: rows[3].update(stars="three")),
        ("line 4", "'stars' is a text ('three'), and a number", "line 1"),
    ),
    "a number as text": (rewritten(lambda rows: rows[2].update(text=3)), ("line 3", "'text'", "a number (3)")),
    "a number is missing": (rewritten(lambda rows: rows[2].pop("stars")), ("line 3", "'stars' is nothing")),
    "lists of other lengths": (
        rewritten(lambda rows: [row.update(v=[1] * (1 + i // 9)) for i, row in enumerate(rows)]),
        ("'v'", "lists of one length"),
    ),
    "no file_name": (rewritten(lambda rows: rows[1].pop("file_name")), ("line 2", "no file_name", "text, stars")),
    "no row": (rewritten(lambda rows: rows.pop()), ("no row for 1", "cat/00.png", "'stars'")),
    "outside": (rewritten(lambda rows: rows[0].update(file_name="../a.png")), ("line 1", "file_name", "'../a.png'")),
    "not json": (text("metadata.jsonl", "{\n"), ("metadata.jsonl", "line 1", "JSON")),
    "both files": (text("metadata.csv", CSV), ("metadata.jsonl and metadata.csv",)),
    "csv cells": (
        lambda root: [(root / "metadata.jsonl").unlink(), text("metadata.csv", "file_name,text\na,b,c\n")(root)],
        ("metadata.csv", "line 2", "2 columns"),
    ),
    "csv without file_name": (
        lambda root: [(root / "metadata.jsonl").unlink(), text("metadata.csv", "file,text\na,b\n")(root)],
        ("metadata.csv", "line 2", "no file_name", "file, text"),
    ),
    "csv of mixed types": (
        lambda root: [
            (root / "metadata.jsonl").unlink(),
            text("metadata.csv", "file_name,n\n" + "".join(f"{i.path},{i.stars or 'x'}\n" for i in items()))(root),
        ],
        ("metadata.csv", "'n' is a number (1), and a text ('x')"),
    ),
    "not utf-8": (lambda root: (root / "metadata.jsonl").write_bytes(b"\xff\xfe{"), ("metadata.jsonl", "UTF-8")),
    "a split beside classes": (copied("test/cat/0.png"), ("split folder 'test'", "'cat'")),
    "an unknown split": (
        rewritten(lambda rows: [row.update(split="train" if i else "dev") for i, row in enumerate(rows)]),
        ("'split'", "'dev'"),
    ),
    "no training": (
        rewritten(lambda rows: [row.update(split="test") for row in rows]),
        ("test", "none for training"),
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_mistake_in_a_folder_is_named(case: str, tmp_path: Path):
    change, words = FOLDERS[case]
    name = write_folder(tmp_path, items())
    change(tmp_path)
    refused(name, str(tmp_path), *words)


def test_splits_of_folders_are_whole(tmp_path: Path):
    refused(write_folder(tmp_path / "a", items(4, "test")), "no train")
    twice = write_folder(tmp_path / "b", [*items(4, "train"), *items(4, "val"), *items(4, "validation")])
    refused(twice, "val and validation are the same split")
    split = write_folder(tmp_path / "c", items(4, "train"))
    text("train/metadata.jsonl", "{}\n")(tmp_path / "c")
    refused(split, "metadata twice", "train/metadata.jsonl")


def test_a_class_called_train_among_others_stays_a_class(tmp_path: Path):
    vehicles = [item._replace(path=item.path.replace("dog", "train")) for item in items()]
    assert open_dataset(write_folder(tmp_path, vehicles)).class_names == ("cat", "train")


def test_captions_beside_pictures_may_be_missing_and_must_be_text(tmp_path: Path):
    name = write_folder(tmp_path, items())
    (tmp_path / "metadata.jsonl").unlink()
    for number, caption in enumerate([" a  cat\n", "", "x" * 70_000]):
        (tmp_path / "cat" / f"{number:02}.txt").write_text(caption)
    (tmp_path / "cat" / "03.txt").write_bytes(b"\xff")
    dataset = open_dataset(name)
    assert "9 of 12" in dataset.notes[0]
    (part,) = build_parts([feature("text", 10)], dataset)
    every = {row: split for split in dataset.splits.values() for row in split.ids.tolist()}

    def value(row: int) -> np.ndarray:
        split = every[row]
        return part.make(split.features(split.ids.tolist().index(row))["text"], 0)

    assert value(0)[:6].tolist() == [ord(letter) + 1 for letter in "a cat"] + [0]
    assert not value(1).any()
    assert not value(11).any()
    for row, word in ((2, "65,536"), (3, "UTF-8")):
        with pytest.raises(UserError, match=rf"cat/0{row}\.txt.*{word}"):
            value(row)


def saved(**arrays: np.ndarray) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **arrays)


IMAGES = np.zeros((3, 4, 4), np.uint8)
ARRAYS = {
    "rank": (saved(images=IMAGES[:, 0, 0]), ("expected [examples, height, width]", "(3,)")),
    "dtype": (saved(images=IMAGES.astype(np.int64)), ("expected uint8", "int64")),
    "objects": (saved(images=np.array([1, {}], object)), ("images.npy", "Python objects")),
    "no name": (saved(a=IMAGES, b=IMAGES), ("data.image", "a (3, 4, 4)", "b (3, 4, 4)")),
    "no examples": (saved(images=IMAGES[:0]), ("no examples",)),
    "not finite": (saved(images=np.full((3, 4), np.nan)), ("row ", "not finite")),
    "levels": (saved(images=IMAGES + 20, levels=np.array(17)), ("holds 20", "17 levels")),
    "classes": (saved(images=IMAGES, label=np.array([0, -1, 0])), ("'label'", "at least 0")),
    "names": (saved(images=IMAGES, label=np.arange(3), class_names=np.array(["a"])), ("class 2", "1 classes")),
    "split": (saved(images=IMAGES, split=np.array(["train", "dev", "test"])), ("'split'", "'dev'", "row 2")),
    "damaged": (lambda path: path.write_bytes(b"PK\3\4 and no more"), ("cannot be read",)),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_a_mistake_in_an_array_is_named(case: str, tmp_path: Path):
    write, words = ARRAYS[case]
    write(tmp_path / "all.npz")
    refused(f"array:{tmp_path / 'all.npz'}", "all.npz", *words)


def test_names_of_arrays_are_checked(tmp_path: Path):
    name = write_array(tmp_path / "all.npz", items())
    refused(name, "data.image", "'pixels'", "images (12, 4, 6, 3)", image="pixels")
    refused(name, "data.label", "'kind'", "stars", label="kind")
    refused(name, "text", "no class", label="text")
    refused(f"array:{tmp_path / 'no.npy'}", "no such file")
    refused("digits", "data.label", label="kind")


def cut(size: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[:size])


def members(**files: bytes) -> Callable[[Path], object]:
    return lambda path: write_tar(path, {name.replace("__", "."): data for name, data in files.items()})


PNG = items()[0].png
SHARDS = {
    "cut in a file": (cut(700), ("cut off",)),
    "cut between files": (cut(1024), ("cut off",)),
    "without its end": (cut(-10240), ("cut off",)),
    "compressed": (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(2000)), ("uncompressed tar",)),
    "no picture": (
        members(a__png=PNG, b__txt=b"", c__txt=b"", d__txt=b"", e__txt=b""),
        ("4 key(s) without picture", "b, c, d, …"),
    ),
    "two pictures": (members(a__png=PNG, a__jpg=PNG), ("'a'", "two pictures", "png and jpg", "data.image")),
    "repeated": (members(a__png=PNG, b__png=PNG, a__cls=b"1"), ("'a' is there twice",)),
    "no class": (members(a__png=PNG, a__cls=b"1", b__png=PNG), ("1 key(s) without .cls", "b")),
    "mixed classes": (members(a__png=PNG, a__cls=b"1", b__png=PNG, b__cls=b"two"), ("part-000.tar: b", "'cls'")),
    "json": (members(a__png=PNG, a__json=b"[1]"), ("a.json", "object of JSON")),
    "two captions": (
        members(a__png=PNG, a__txt=b"1", a__json=b'{"text": "2"}'),
        ("two captions",),
    ),
    "no image": (members(a__png=b"no image"), ("a.png", "cannot be read as an image")),
    "nothing": (members(), ("holds no files",)),
}


@pytest.mark.parametrize("case", SHARDS)
def test_a_mistake_in_a_shard_is_named(case: str, tmp_path: Path):
    write, words = SHARDS[case]
    name = write_shards(tmp_path, items(), 1)
    write(tmp_path / "part-000.tar")
    refused(name, str(tmp_path), *words)


def test_missing_shards_are_counted(tmp_path: Path):
    write_shards(tmp_path, items(), 2)
    refused(f"shards:{tmp_path}/part-{{000..005}}.tar", "4 shard(s) are missing", "part-002.tar", "part-004.tar, …")
    refused(f"shards:{tmp_path}/*.tgz", "missing")
    refused(f"shards:{tmp_path}/{{000000..999999}}.tar", "at most 100,000 shards")


def test_an_index_is_read_again_only_where_the_shard_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from diffjax.data import shard_index

    name = write_shards(tmp_path, items(), 1)
    first = open_dataset(name).arrays("train")
    with monkeypatch.context() as patch:
        patch.setattr(shard_index, "_scan", lambda path: pytest.fail("read again"))
        np.testing.assert_array_equal(open_dataset(name).arrays("train")[0], first[0])
    write_tar(tmp_path / "part-000.tar", sample_files(items(12, "b")[3]))
    assert sum(map(len, open_dataset(name).splits.values())) == 1


def test_categories_are_few(tmp_path: Path):
    name = write_folder(tmp_path, items())
    dataset = open_dataset(name)
    with pytest.raises(UserError, match=r"data\.parts.*category.*'colour'.*stars, text"):
        build_parts([category("colour")], dataset)
    np.savez(tmp_path / "all.npz", images=IMAGES, code=np.array([0, 1, 5000]), size=np.ones(3))
    for column in ("code", "size"):
        with pytest.raises(UserError, match=rf"category: '{column}'"):
            build_parts([category(column)], open_dataset(f"array:{tmp_path / 'all.npz'}"))


def test_the_extra_of_hugging_face_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=re.escape("pip install 'diffjax[hf]'")):
        open_dataset(f"hf:{tmp_path}")
