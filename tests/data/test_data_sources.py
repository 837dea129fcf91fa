"""Sources: the same pictures give the same batches from each of them, in an order that hosts and resuming keep."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from pictures_in_every_source import (
    Item,
    encoded,
    items,
    write_array,
    write_folder,
    write_parquet,
    write_shards,
    write_tar,
)
from streams import stream
from test_folder import WHOLE

from diffjax.data import Dataset, byte_tokenizer, open_dataset
from diffjax.data.array_files import read_arrays
from diffjax.data.condition_batches import build_parts, split_conditions
from diffjax.data.condition_parts import category, feature
from diffjax.data.pixel_representation import real

WRITERS: dict[str, Callable[[Path, list[Item]], str]] = {
    "folder": lambda path, of: write_folder(path, of),
    "folder_csv": lambda path, of: write_folder(path, of, "metadata.csv"),
    "array": lambda path, of: write_array(path / "all.npz", of),
    "packed": lambda path, of: write_array(path / "all.npz", of, compressed=True),
    "shards": lambda path, of: write_shards(path, of),
    "hf": lambda path, of: write_parquet(path / "all.parquet", of),
}


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No index of a shard, and no table of Hugging Face, is left in the user's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(params=WRITERS)
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name of the twelve pictures in each source."""
    if request.param == "hf":
        library = pytest.importorskip("datasets")
        monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    (tmp_path / "set").mkdir()
    return WRITERS[request.param](tmp_path / "set", items())


def parts_of(dataset: Dataset):
    return build_parts([feature("text", 24), feature("stars")], dataset)


def first_batches(dataset: Dataset, count: int = 5, **options) -> list:
    config = {"batch_size": 4, "seed": 3, "parts": parts_of(dataset), "resident": False, **options}
    return [jax.tree.map(np.asarray, batch) for batch in itertools.islice(stream(dataset, "train", **config), count)]


def assert_equal(one: object, other: object) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_same_pictures_are_the_same_batches_in_the_same_order(source: str, tmp_path: Path):
    expected = open_dataset(write_folder(tmp_path / "expected", items()), rule=WHOLE)
    dataset = open_dataset(source, rule=WHOLE)
    assert (dataset.shape, dataset.class_names, dataset.levels) == ((4, 6, 3), ("cat", "dog"), 256)
    assert {*dataset.features} == {"text", "stars"}
    assert_equal(first_batches(dataset), first_batches(expected))
    assert_equal(first_batches(dataset, resident=True), first_batches(expected))


def test_every_example_is_what_was_written(source: str):
    dataset = open_dataset(source, rule=WHOLE)
    written = items()
    images, labels = dataset.arrays("train")
    np.testing.assert_array_equal(images, np.stack([item.pixels for item in written]))
    assert labels is not None
    assert [dataset.class_names[label] for label in labels] == [item.kind for item in written]
    cond = split_conditions(dataset, "train", parts=parts_of(dataset))
    assert byte_tokenizer.decode(cond["text"].value) == [item.text.strip() for item in written]
    assert cond["text"].present.tolist() == [bool(item.text) for item in written]
    assert cond["stars"].value.tolist() == [item.stars for item in written]
    assert cond["stars"].present.all()
    assert any("3 of 12" in note for note in dataset.notes)


def test_hosts_share_one_order_and_a_run_resumes_in_it(source: str):
    dataset = open_dataset(source)
    whole = first_batches(dataset)
    for hosts in (2, 4):
        each = [first_batches(dataset, host=host, hosts=hosts) for host in range(hosts)]
        joined = [jax.tree.map(lambda *rows: np.concatenate(rows), *step) for step in zip(*each, strict=True)]
        assert_equal(joined, whole)
    assert_equal(first_batches(dataset, 3, start_step=2), whole[2:])


def test_categories_are_texts_in_sorted_order_or_integers(tmp_path: Path):
    written = [item._replace(text=item.kind) if i else item._replace(text="") for i, item in enumerate(items())]
    dataset = open_dataset(write_folder(tmp_path / "set", written), rule=WHOLE)
    parts = build_parts([category("text"), category("stars")], dataset)
    assert [(part.vocab, part.names) for part in parts] == [(2, ("cat", "dog")), (3, ("0", "1", "2"))]
    cond = split_conditions(dataset, "train", parts=parts)
    assert cond["text"].value.tolist() == [-1, *[("cat", "dog").index(item.kind) for item in written[1:]]]
    assert cond["text"].present.tolist() == [False] + [True] * 11
    assert cond["stars"].value.tolist() == [item.stars for item in written]


SPLIT_COUNTS = {"train": 8, "validation": 4, "test": 6}


def split_writers(root: Path, of: dict[str, list[Item]], kind: str) -> str:
    """The same splits in each source's own way."""
    if kind == "folder":
        return write_folder(root, itertools.chain(*of.values()))
    if kind == "folder_each":
        for split, those in of.items():
            write_folder(root / split, [item._replace(path=item.path.removeprefix(f"{split}/")) for item in those])
        return f"folder:{root}"
    for split, those in of.items():
        if kind == "array":
            write_array(root / f"{split}.npz", those)
        if kind == "shards":
            write_shards(root, those, 2, split)
        if kind == "hf":
            write_parquet(root / f"{split}-00000-of-00001.parquet", those)
    return {"array": f"array:{root}", "shards": f"shards:{root}/*.tar", "hf": f"hf:{root}"}[kind]


@pytest.mark.parametrize("kind", ["folder", "folder_each", "array", "shards", "hf"])
def test_splits_of_a_source_are_exactly_those(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if kind == "hf":
        library = pytest.importorskip("datasets")
        monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    written = {split: items(count, split) for split, count in SPLIT_COUNTS.items()}
    (tmp_path / "set").mkdir()
    dataset = open_dataset(split_writers(tmp_path / "set", written, kind))
    assert {name: len(split) for name, split in dataset.splits.items()} == SPLIT_COUNTS
    assert dataset.class_names == ("cat", "dog")
    for split, those in written.items():
        images, labels = dataset.arrays(split)
        np.testing.assert_array_equal(images, np.stack([item.pixels for item in those]))
        assert labels is not None
        assert [dataset.class_names[label] for label in labels] == [item.kind for item in those]


def test_a_missing_split_is_a_tenth_of_train(tmp_path: Path):
    written = [*items(60, "train"), *items(6, "test")]
    dataset = open_dataset(write_folder(tmp_path, written))
    assert len(dataset.splits["test"]) == 6
    assert len(dataset.splits["validation"]) + len(dataset.splits["train"]) == 60
    assert 0 < len(dataset.splits["validation"]) < 15


@pytest.mark.parametrize("kind", ["folder", "array", "shards", "hf"])
def test_a_stored_sketch_is_a_part(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = np.random.default_rng(0).integers(0, 256, (12, 4, 6), np.uint8)
    files = [encoded(each) for each in drawn]
    if kind == "folder":
        name = write_folder(tmp_path, items())
        rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
        (tmp_path / "lines").mkdir()
        for row, data in zip(reversed(rows), files, strict=True):
            row["sketch_file_name"] = f"lines/{row['file_name'][4:]}"
            (tmp_path / row["sketch_file_name"]).write_bytes(data)
        (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "array":
        np.savez(tmp_path / "all.npz", image=np.stack([item.pixels for item in items()]), sketch=drawn)
        name = f"array:{tmp_path / 'all.npz'}"
    elif kind == "shards":
        members = {}
        for item, data in zip(items(), files, strict=True):
            members |= {item.path: item.png, item.path.replace(".png", ".sketch.png"): data}
        write_tar(tmp_path / "a.tar", members)
        name = f"shards:{tmp_path / 'a.tar'}"
    else:
        library = pytest.importorskip("datasets")
        monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
        columns = {"image": [item.png for item in items()], "sketch": files}
        kinds = library.Features({name: library.Image() for name in columns})
        stored = {key: [{"bytes": data, "path": None} for data in column] for key, column in columns.items()}
        library.Dataset.from_dict(stored, kinds).save_to_disk(str(tmp_path / "saved"))
        name = f"hf:{tmp_path / 'saved'}"
    dataset = open_dataset(name, rule=WHOLE)
    parts = build_parts([feature("sketch")], dataset)
    assert (parts[0].shape, parts[0].vocab) == ((4, 6, 1), 0)
    cond = split_conditions(dataset, "train", parts=parts)
    order = dataset.splits["train"].ids
    np.testing.assert_allclose(cond["sketch"].value[..., 0] * 255, drawn[order], atol=1e-4)


@pytest.mark.parametrize("shape", [(12, 5), (12, 16, 2), (12, 3, 4, 5, 2)])
def test_real_numbers_of_any_rank_are_as_they_are(shape: tuple[int, ...], tmp_path: Path):
    numbers = np.random.default_rng(0).normal(size=shape).astype(np.float64)
    np.save(tmp_path / "all.npy", numbers)
    dataset = open_dataset(f"array:{tmp_path / 'all.npy'}", rule=WHOLE)
    assert (dataset.shape, dataset.real, dataset.classes) == (shape[1:], True, 0)
    np.testing.assert_array_equal(dataset.arrays("train")[0], numbers.astype(np.float32))
    for resident in (False, True):
        batch = next(stream(dataset, "train", 12, 0, form=real, resident=resident))
        assert sorted(np.asarray(batch["x"]).ravel().tolist()) == sorted(numbers.astype(np.float32).ravel().tolist())


def test_arrays_are_mapped_and_scaled(tmp_path: Path):
    images = np.stack([np.full((8, 8), i, np.uint8) for i in range(12)])
    np.savez(tmp_path / "all.npz", images=images, label=np.arange(12) % 2, class_names=np.array(["even", "odd"]))
    assert isinstance(read_arrays(tmp_path / "all.npz")["images"], np.memmap)
    dataset = open_dataset(f"array:{tmp_path / 'all.npz'}", image_size=4, rule=WHOLE)
    assert (dataset.shape, dataset.class_names) == ((4, 4, 1), ("even", "odd"))
    np.testing.assert_array_equal(dataset.arrays("train")[0][:, 0, 0, 0], np.arange(12))
