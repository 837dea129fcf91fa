"""The cache of decoded pictures: equal bits, each file decoded once, and no harm by a kill, a full disk or damage."""

import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from pictures_in_every_source import items, write_array, write_shards
from streams import stream
from test_folder import WHOLE, picture, save

from diffjax.data import Dataset, decoded_cache, decoded_pictures, open_dataset, picture_reader
from diffjax.data.aspect_buckets import buckets
from diffjax.data.decoded_cache import cache_split, disk, none
from diffjax.data.fits import Fit, random_crop
from diffjax.data.framing import ImageSize
from diffjax.data.pictures import PictureRules
from diffjax.data.raw_batches import ReadAhead
from diffjax.data.unreadable import skip
from diffjax.errors import UserError

COUNT = 24


@pytest.fixture(autouse=True)
def small_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache, whose chunks are so small that there are several."""
    monkeypatch.setenv("DIFFJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded_cache, "CHUNK_BYTES", 1_000)
    return tmp_path / "cache" / "decoded"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures that were written a while ago."""
    root = tmp_path / "set"
    for i in range(COUNT):
        save(root / f"{i:02}.png", picture(i, size=(20, 24 + i % 9)))
        settle(root / f"{i:02}.png")
    return root


def settle(path: Path) -> None:
    os.utime(path, ns=(0, time.time_ns() - 10 * 10**9 - hash(path.read_bytes()) % 10**9))


def opened(root: Path, size: ImageSize = 8, fit: Fit | None = None, **options: Any) -> Dataset:
    return open_dataset(f"folder:{root}", image_size=size, fit=fit, rule=WHOLE, **options)


def cached(dataset: Dataset, rule: Any = None) -> Dataset:
    return cache_split(dataset, "train", rule or disk(), "a recipe")


def take(dataset: Dataset, count: int = 8, workers: int = 0, **options: Any) -> list[Any]:
    ahead = ReadAhead(workers=workers)
    batches = stream(dataset, "train", **{"batch_size": 4, "seed": 3, "resident": False, "ahead": ahead, **options})
    found = [jax.tree.map(np.asarray, batch) for batch in itertools.islice(batches, count)]
    batches.close()
    return found


def same(ours: Any, theirs: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def record_decoding(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[Path]:
    """The files of this folder that are decoded from now on; a thread of another test may still read another's."""
    decode = picture_reader.decode_file
    seen: list[Path] = []

    def record(path: Path, *arguments: Any, **options: Any) -> np.ndarray:
        seen.extend([path] if path.is_relative_to(root) else [])
        return decode(path, *arguments, **options)

    monkeypatch.setattr(picture_reader, "decode_file", record)
    return seen


SEVERAL = buckets(64, 2, min_pictures=1)


@pytest.mark.parametrize(("size", "fit"), [(8, None), ((6, 8), None), (SEVERAL, None), (8, random_crop())])
def test_the_bits_are_those_of_the_files(size: ImageSize, fit: Fit | None, folder: Path, small_chunks: Path) -> None:
    plain = opened(folder, size, fit)
    stored = cached(plain)
    assert len([*small_chunks.glob("*/*.bin")]) > 1
    expected = take(plain)
    for workers in (0, 1):
        same(take(stored, workers=workers), expected)
    same(stored.arrays("train"), plain.arrays("train"))
    if fit is None:
        same(take(stored, resident=True), expected)


def test_each_file_is_decoded_once_until_it_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = record_decoding(monkeypatch, folder)
    first = cached(opened(folder)).arrays("train")
    assert len(seen) == COUNT
    same(cached(opened(folder)).arrays("train"), first)
    assert len(seen) == COUNT
    save(folder / "03.png", picture(99, size=(30, 30)))
    settle(folder / "03.png")
    save(folder / "new.png", picture(98, size=(20, 20)))
    settle(folder / "new.png")
    (folder / "07.png").unlink()
    changed = cached(opened(folder)).arrays("train")
    assert {path.name for path in seen[COUNT:]} == {"03.png", "new.png"}
    same(cached(opened(folder)).arrays("train"), changed)
    assert len(seen) == COUNT + 2
    same(opened(folder).arrays("train"), changed)


def test_a_file_changed_just_now_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may change once more within a tick of the clock, and keep its size and time."""
    save(folder / "03.png", picture(99, size=(30, 30)))
    cached(opened(folder))
    seen = record_decoding(monkeypatch, folder)
    same(cached(opened(folder)).arrays("train"), opened(folder).arrays("train"))
    assert [path.name for path in seen].count("03.png") == 2
    assert len(seen) == 1 + COUNT


def test_another_size_fit_or_set_is_another_cache(folder: Path, small_chunks: Path) -> None:
    cached(opened(folder))
    cached(opened(folder, 6))
    cache_split(opened(folder), "train", disk(), "another colour")
    assert len([*small_chunks.iterdir()]) == 3
    same(take(cached(opened(folder, 6))), take(opened(folder, 6)))


def test_folders_of_one_relative_name_have_caches_of_their_own(tmp_path: Path, monkeypatch) -> None:
    for number in range(2):
        (tmp_path / f"{number}").mkdir()
        path = tmp_path / f"{number}" / "set" / "0.bmp"  # equal in size and time
        save(path, picture(number, size=(8, 8)))
        os.utime(path, ns=(0, 10**18))
    found = []
    for number in (0, 1, 0):
        monkeypatch.chdir(tmp_path / f"{number}")
        found.append(cached(opened(Path("set"))).arrays("train")[0])
    assert (found[0] != found[1]).any()
    same(found[0], found[2])


def test_what_is_interrupted_leaves_whole_files_and_goes_on(folder: Path, small_chunks: Path, monkeypatch) -> None:
    decode = picture_reader.decode_file
    count = itertools.count()

    def interrupted(*arguments: Any, **options: Any) -> np.ndarray:
        if next(count) == 15:
            raise KeyboardInterrupt
        return decode(*arguments, **options)

    monkeypatch.setattr(picture_reader, "decode_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached(opened(folder))
    monkeypatch.undo()
    monkeypatch.setenv("DIFFJAX_CACHE", str(small_chunks.parent))
    monkeypatch.setattr(decoded_cache, "CHUNK_BYTES", 1_000)
    files = [path for path in small_chunks.rglob("*") if path.is_file()]
    assert files
    assert all(decoded_pictures.read_chunk(path) is not None for path in files)
    seen = record_decoding(monkeypatch, folder)
    stored = cached(opened(folder)).arrays("train")
    assert 0 < len(seen) < COUNT
    same(stored, opened(folder).arrays("train"))


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, *arguments: Any) -> None:
        raise UserError(f"{path.parent}: cannot write {path.name} there (No space left on device)")

    monkeypatch.setattr(decoded_pictures, "write_atomically", write)


def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(decoded_cache.shutil, "disk_usage", lambda path: usage._replace(free=10**6))


@pytest.mark.parametrize("trouble", [full_disk, no_room])
def test_a_full_disk_is_said_in_one_line_and_training_goes_on(
    trouble: Callable[[pytest.MonkeyPatch], None], folder: Path, small_chunks: Path, monkeypatch, capsys
) -> None:
    with monkeypatch.context() as context:
        trouble(context)
        stored = cached(opened(folder))
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "data.cache: " in lines[0]
    assert "space left" in lines[0]
    assert not [*small_chunks.rglob("*.bin")]
    same(take(stored), take(opened(folder)))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)


def spoil_the_table(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut_off, flip_a_byte, spoil_the_table, Path.unlink, lambda p: p.write_bytes(b"")])
@pytest.mark.parametrize("late", [False, True], ids=["before the start", "after it"])
def test_a_damaged_file_costs_time_alone(
    damage: Callable[[Path], object], late: bool, folder: Path, small_chunks
) -> None:
    stored = cached(opened(folder))
    if not late:
        for path in small_chunks.rglob("*.bin"):
            damage(path)
        stored = cached(opened(folder))
    else:
        for path in small_chunks.rglob("*.bin"):
            damage(path)
    same(take(stored), take(opened(folder)))
    assert cached(opened(folder)).arrays("train")[0].tobytes() == opened(folder).arrays("train")[0].tobytes()


def test_a_set_that_is_too_large_is_said_and_not_kept(folder: Path, small_chunks: Path, capsys) -> None:
    plain = opened(folder)
    assert cached(plain, disk(max_gb=1e-6)) is plain
    assert "more than max_gb=1e-06" in capsys.readouterr().err
    assert not small_chunks.exists()
    assert cached(plain, none) is plain
    with pytest.raises(UserError, match="max_gb"):
        disk(max_gb=0)


def test_a_smaller_number_of_chunks_replaces_the_larger_one(folder: Path, small_chunks: Path, monkeypatch) -> None:
    cached(opened(folder))
    monkeypatch.setattr(decoded_cache, "CHUNK_BYTES", 10**6)
    same(take(cached(opened(folder))), take(opened(folder)))
    assert [path.name for path in small_chunks.rglob("*.bin")] == ["0-0.bin"]


def test_two_processes_fill_it_one_after_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = record_decoding(monkeypatch, folder)
    found: list[Dataset] = []
    threads = [threading.Thread(target=lambda: found.append(cached(opened(folder)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == COUNT
    for each in found:
        same(take(each, 2), take(opened(folder), 2))


def test_unreadable_files_are_named_before_training_or_replaced_in_it(folder: Path) -> None:
    whole = (folder / "03.png").read_bytes()
    skipping, again = (opened(folder, pictures=PictureRules(unreadable=skip())) for _ in range(2))
    refusing = opened(folder)
    (folder / "03.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"03\.png: was changed"):
        cached(refusing)
    same(take(cached(skipping)), take(again))


def test_shards_are_cached_and_arrays_are_not(tmp_path: Path, small_chunks: Path) -> None:
    shards = open_dataset(write_shards(tmp_path / "set", items()), image_size=2, rule=WHOLE)
    same(take(cached(shards)), take(shards))
    assert [*small_chunks.rglob("*.bin")]
    arrays = open_dataset(write_array(tmp_path / "all.npz", items()), image_size=2, rule=WHOLE)
    with pytest.raises(UserError, match=r"data\.cache: .*leave it out"):
        cached(arrays)
