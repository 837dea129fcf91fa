"""Decoded pictures of a split on disk, so that each file is decoded once: the values of `data.cache`.

The cache is a folder of chunks. A picture is known by its stamp, which holds the path and the status of its file, and
its chunk follows from the stamp, so that a file that comes, goes or changes touches one chunk, as long as the number of
chunks stays the same: a power of 2 that follows from the size of all pictures. A chunk is written as a whole under
another name and renamed, by one process at a time, and each picture has a checksum: what is missing or damaged is
decoded. The folder can be deleted at any time.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from math import ceil, log2
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64
from tqdm import tqdm

from diffjax.data.decoded_pictures import ROW, DecodedPictures, Pixels, Rows, load_row, read_chunk, write_chunk
from diffjax.data.framing import IN_TRAINING, Framing
from diffjax.data.splits import Dataset, Split
from diffjax.errors import UserError, warn
from diffjax.utils.files import cache_folder, lock_when_free, nearest_existing
from diffjax.utils.image_io import READER
from diffjax.utils.waiting import FIRST_WAIT_S

__all__ = ["disk", "none"]

CHUNK_BYTES = 64 * 10**6  # of the largest chunks; the average is between half of it and this
GIGABYTE = 10**9
KEPT_FREE_BYTES = 256 * 10**6  # of the disk
Keys = UInt64[np.ndarray, "n 2"]


@dataclass(frozen=True)
class CacheRule:
    """How many bytes of decoded pictures may be kept, and in which folder; empty: the user's for caches."""

    max_bytes: int
    folder: str = ""


none = CacheRule(0)


def disk(max_gb: float = 10.0, folder: str = "") -> CacheRule:
    """Keep decoded pictures in the folder `decoded` of the user's cache, or in this one.

    A set whose pictures take more than `max_gb` at their size and fit is not kept. Each size and fit has files of its
    own, and none are deleted for another's sake.
    Raises `UserError` for a size that is not positive.
    """
    if not max_gb > 0:
        raise UserError(f"max_gb: expected more than 0 gigabytes, got {max_gb:g}")
    return CacheRule(int(max_gb * GIGABYTE), folder)


def cache_split(dataset: Dataset, split: str, rule: CacheRule, recipe: str) -> Dataset:
    """The data set with the decoded pictures of a split on disk, where they fit; what is missing is decoded now.

    `recipe` is all that their pixels depend on beside the files. Where the disk is full, what is missing is decoded
    each time it is read, and a line says so. Raises `UserError` for a set whose pictures have no files.
    """
    source = dataset.split(split)
    if not rule.max_bytes:
        return dataset
    if dataset.stamp is None or not isinstance(source, Split) or source.framing is None:
        raise UserError(f"data.cache: {dataset.name} has no files of pictures that could be cached; leave it out")
    needed = _decoded_bytes(source, source.framing, dataset.shape[2])
    if needed > rule.max_bytes:
        size, limit = (f"{count / GIGABYTE:.3g}" for count in (needed, rule.max_bytes))
        warn(f"data.cache: the decoded pictures take {size} GB, more than max_gb={limit}, and are not cached")
        return dataset
    shapes = f"{source.framing.sizes}, {dataset.shape[2]} channels"
    kind, _, place = dataset.name.partition(":")
    identity = f"{kind}:{os.path.realpath(place)}\n{recipe}\n{shapes}\n{READER}"
    folder = _root(rule) / sha256(os.fsencode(identity)).hexdigest()[:32]
    keys = np.array([_key(dataset.stamp(record)) for record in source.ids.tolist()], np.uint64).reshape(-1, 2)
    layout = _Layout(folder, max(0, ceil(log2(max(1, needed) / CHUNK_BYTES))))
    decoded = _complete(source, keys, layout)
    return replace(dataset, splits={**dataset.splits, split: replace(source, decoded=decoded)})


class _Layout(NamedTuple):
    """The folder of a cache, and how many bits of a key are the number of its chunk."""

    folder: Path
    bits: int

    def path(self, chunk: int) -> Path:
        return self.folder / f"{self.bits}-{chunk}.bin"

    def chunks(self, keys: Keys) -> Int64[np.ndarray, " n"]:
        """The chunk of each key."""
        return (
            (keys[:, 0] >> np.uint64(64 - self.bits)).astype(np.int64) if self.bits else np.zeros(len(keys), np.int64)
        )


def _complete(source: Split, keys: Keys, layout: _Layout) -> DecodedPictures:
    """The pictures of a split, once all that are missing are decoded and written, as far as there is room."""
    assert source.framing is not None
    count = int(source.ids.max()) + 1
    numbers = np.full(count, -1)
    rows = np.zeros(count, ROW)
    decode = partial(_decode, source)
    chunks = np.where(keys.any(axis=1), layout.chunks(keys), -1)
    bar = tqdm(total=len(keys), desc="decoded pictures", unit=" files", delay=FIRST_WAIT_S, leave=False)
    room = True
    with bar, lock_when_free(layout.folder, "the cache of decoded pictures"):
        for chunk in range(2**layout.bits):
            members = np.flatnonzero(chunks == chunk)
            records = source.ids[members]
            table = read_chunk(layout.path(chunk))
            places = _find(table, keys[members])
            if room and (places < 0).any():
                pictures = _gather(layout.path(chunk), records, (table, places), decode)
                try:
                    table = _write(layout.path(chunk), keys[members], pictures)
                    places = _find(table, keys[members])
                except UserError as error:
                    room = False
                    warn(f"data.cache: {error}; what is not stored is decoded each time", new_line=True)
            stored = places >= 0
            if table is not None:
                rows[records[stored]] = table[places[stored]]
            numbers[records[stored]] = chunk
            bar.update(len(members))
    _remove_others(layout)
    files = [layout.path(chunk) for chunk in range(2**layout.bits)]
    return DecodedPictures(files, numbers, rows, source.framing.random)


def _gather(
    path: Path,
    records: Int64[np.ndarray, " n"],
    before: tuple[Rows | None, Int64[np.ndarray, " n"]],
    decode: Callable[[int], Pixels | None],
) -> list[Pixels | None]:
    """The pictures of a chunk by their records: by the table and places of what it had `before`, or decoded."""
    table, places = before
    pictures: list[Pixels | None] = [None] * len(records)
    for number in np.flatnonzero(places >= 0).tolist():
        assert table is not None
        pictures[number] = load_row(path, table[int(places[number])])
    missing = [number for number, picture in enumerate(pictures) if picture is None]
    executor = ThreadPoolExecutor(os.cpu_count())
    try:
        for number, picture in zip(missing, executor.map(decode, records[missing].tolist()), strict=True):
            pictures[number] = picture
    finally:
        executor.shutdown(cancel_futures=True)
    return pictures


def _write(path: Path, keys: Keys, pictures: Sequence[Pixels | None]) -> Rows:
    """Write the pictures that there are; the table. Raises `UserError` where the disk has no room."""
    readable = [number for number, picture in enumerate(pictures) if picture is not None]
    stored = [picture for picture in pictures if picture is not None]
    _check_room(path, sum(picture.nbytes for picture in stored))
    return write_chunk(path, keys[readable], stored)


def _decode(source: Split, record: int) -> Pixels | None:
    """The picture of a record as it is stored; None of one that cannot be read, if others are read in its place.

    Raises `UserError` where none is.
    """
    framing = source.framing
    assert framing is not None
    decode, _ = source.fetch(record)
    try:
        return decode(None if framing.random else framing.place(record, IN_TRAINING))
    except UserError:
        if source.substitutes is None:
            raise
        return None


def _find(table: Rows | None, keys: Keys) -> Int64[np.ndarray, " n"]:
    """The row of each key in a table; −1 where there is none."""
    if table is None or not len(table):
        return np.full(len(keys), -1)
    order = np.argsort(table["key"][:, 0], kind="stable")
    places = np.searchsorted(table["key"][order, 0], keys[:, 0]).clip(max=len(table) - 1)
    rows = order[places]
    return np.where((table["key"][rows] == keys).all(axis=1), rows, -1)


def _decoded_bytes(source: Split, framing: Framing, channels: int) -> int:
    """The size of all pictures as they are stored."""
    if framing.random:
        return int(len(source) * framing.mean_pixels) * channels
    pixels = np.array([height * width for height, width in framing.sizes])
    return int(pixels[source.buckets()].sum()) * channels


def _root(rule: CacheRule) -> Path:
    try:
        return Path(rule.folder).expanduser() if rule.folder else cache_folder() / "decoded"
    except RuntimeError as error:  # no home
        raise UserError(f"data.cache: {error}; give a folder") from None


def _check_room(path: Path, count: int) -> None:
    """Raises `UserError` where a file of so many bytes would fill the disk."""
    free = shutil.disk_usage(nearest_existing(path.parent)).free
    if count + KEPT_FREE_BYTES > free:
        raise UserError(f"{path.parent}: {free / GIGABYTE:.2g} GB of free space left")


def _remove_others(layout: _Layout) -> None:
    """Delete chunks of another number of bits, of when the set was larger or smaller."""
    with suppress(OSError):
        for path in layout.folder.glob("*-*.bin"):
            if path.name.partition("-")[0] != str(layout.bits):
                path.unlink(missing_ok=True)


def _key(stamp: bytes) -> tuple[int, int]:
    """128 bits that identify a picture's file; 0 for an empty stamp, of one that may still change unnoticed."""
    digest = sha256(stamp).digest() if stamp else bytes(16)
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")
