"""What is known of the picture files of a folder: found once, and remembered in the user's cache folder.

A file is known by its path, its size and the time of its last change. An index can be deleted at any time.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Int64, Shaped, UInt8
from tqdm import tqdm

from diffjax.errors import UserError, warn
from diffjax.utils.files import cache_folder, describe_error, write_atomically
from diffjax.utils.image_io import READER, Header, decode_file, read_header, resize
from diffjax.utils.waiting import FIRST_WAIT_S

UNKNOWN, HEADER_READ, DECODED, BAD = range(4)  # states of a file; of a bad one the problem is known
GREY, TRANSPARENT, DEEP, SEVERAL_FRAMES = (1, 2, 4, 8)  # flags of a file
THUMBNAIL = 8  # pixels, its height and width
ROW = np.dtype(
    [
        *(("size", np.int64), ("modified", np.int64)),  # bytes; nanoseconds
        *(("height", np.int32), ("width", np.int32), ("flags", np.uint8), ("state", np.uint8), ("settled", np.bool_)),
        *(("digest", np.uint64, 2), ("hash", np.uint64), ("thumbnail", np.uint8, (THUMBNAIL, THUMBNAIL, 3))),
    ]
)
Rows = Shaped[np.ndarray, " n"]  # of `ROW`
Problem = tuple[Rows, str]  # a row of one file, and why it cannot be read, if so

_VERSION = f"1, {READER}"  # an index of another one is not used: another Pillow may read more
_MIN_NEW = 1_000  # headers that are worth an index: those of fewer files are read in a second
_SETTLED_NS = 2 * 10**9  # of a file that is read sooner after its last change, the time may not show another change
_STEP = 2  # levels, of a perceptual hash


@dataclass(frozen=True, eq=False)
class PictureIndex:
    """The files of a folder, by paths relative to `root`, a row of `ROW` for each, and the problems of bad ones."""

    root: Path
    files: Sequence[Path]
    rows: Rows
    problems: Mapping[int, str]

    @property
    def bad(self) -> Int64[np.ndarray, " _"]:
        """The numbers of the files that cannot be read, as far as known."""
        return np.flatnonzero(self.rows["state"] == BAD)


def open_index(root: Path, files: Sequence[Path]) -> PictureIndex:
    """The index of these files with at least the header of each; others are read now, and remembered if many."""
    index = _with_stored(_stat_all(root, files))
    return _complete(index, index.rows["state"] == UNKNOWN, _read_one_header, "headers of pictures", _MIN_NEW)


def decode_all(index: PictureIndex, remember: bool = True) -> PictureIndex:
    """The index once every file has been decoded, in parallel, or was before."""
    missing = index.rows["state"] <= HEADER_READ
    return _complete(index, missing, _decode_one, "checking pictures", 1 if remember else len(missing) + 1)


def file_status(path: str | Path) -> tuple[int, int]:
    """The size and the time of the last change of a file, by which it is known; (−1, −1) for one that is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of a million files would take seconds
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def perceptual_hash(picture: UInt8[np.ndarray, "h w c"]) -> np.uint64:
    """64 bits that stay nearly the same when a picture is scaled or compressed: a difference hash.

    Bit (i, j) is whether pixel (i, j + 1) of the grey picture of 8 × 9 pixels is brighter than its left neighbour by
    more than `_STEP` levels, so that noise in even areas changes none.
    """
    grey = resize(picture, THUMBNAIL, THUMBNAIL + 1, 1)[..., 0].astype(np.int16)
    bits = np.packbits(np.diff(grey, axis=1) > _STEP)
    return bits.view(np.uint64)[0]


def _stat_all(root: Path, files: Sequence[Path]) -> PictureIndex:
    rows = np.zeros(len(files), ROW)
    start = f"{root}{os.sep}"
    statuses = np.array([file_status(f"{start}{file}") for file in files], np.int64).reshape(-1, 2)
    rows["size"] = statuses[:, 0]
    rows["modified"] = statuses[:, 1]
    return PictureIndex(root, files, rows, {})


def _with_stored(index: PictureIndex) -> PictureIndex:
    """The index with what is remembered of files that have not changed since."""
    stored = _load(index.root)
    if stored is None:
        return index
    number_of = {path: number for number, path in enumerate(stored[0])}
    places = np.array([number_of.get(os.fspath(file), -1) for file in index.files])
    rows = stored[1][places]  # of files that are not there the last, which does not match
    known = (places >= 0) & (rows["size"] == index.rows["size"]) & (rows["modified"] == index.rows["modified"])
    joined = np.where(known, rows, index.rows)
    bad = np.flatnonzero(joined["state"] == BAD)
    return replace(index, rows=joined, problems={int(i): stored[2][int(places[i])] for i in bad})


def _complete(
    index: PictureIndex, missing: Shaped[np.ndarray, " n"], read: Callable[[str], Problem], job: str, min_new: int
) -> PictureIndex:
    """The index with the missing files read by threads: Pillow lets others run while it decodes."""
    numbers = np.flatnonzero(missing)
    if not len(numbers):
        return index
    rows = index.rows.copy()
    problems = dict(index.problems)
    start = f"{index.root}{os.sep}"
    paths = [f"{start}{index.files[number]}" for number in numbers.tolist()]
    done = 0
    try:
        for number, (row, problem) in zip(numbers.tolist(), _in_parallel(read, paths, job), strict=True):
            rows[number] = row[0]
            if problem:
                problems[number] = problem
            done += 1
    finally:  # also of what is interrupted
        complete = replace(index, rows=rows, problems=problems)
        if done >= min_new:
            _store(complete)
    return complete


def _in_parallel(read: Callable[[str], Problem], paths: Sequence[str], job: str) -> Iterator[Problem]:
    """What each path gives, in order; a bar on stderr after two seconds."""
    executor = ThreadPoolExecutor(os.cpu_count())
    try:
        chunk = 64 * (os.cpu_count() or 1)  # futures at a time: of all files they would fill the memory
        with tqdm(total=len(paths), desc=job, unit=" files", delay=FIRST_WAIT_S, leave=False) as bar:
            for start in range(0, len(paths), chunk):
                for result in executor.map(read, paths[start : start + chunk]):
                    yield result
                    bar.update()
    finally:
        executor.shutdown(cancel_futures=True)


def _read_one_header(path: str) -> Problem:
    return _reported(path, lambda row: _set_header(row, read_header(Path(path)), HEADER_READ))


def _decode_one(path: str) -> Problem:
    return _reported(path, partial(_set_pixels, path))


def _reported(path: str, fill: Callable[[Rows], None]) -> Problem:
    """A row that `fill` completes, or why it does not."""
    row = np.zeros(1, ROW)
    row["size"], row["modified"] = file_status(path)
    row["settled"] = row["modified"] < time.time_ns() - _SETTLED_NS
    try:
        fill(row)
    except UserError as error:
        row["state"] = BAD
        return row, str(error)
    except OSError as error:
        row["state"] = BAD
        return row, f"{path}: {describe_error(error)}; replace it or take it away"
    return row, ""


def _set_header(row: Rows, header: Header, state: int) -> None:
    flags = GREY * header.grey + TRANSPARENT * header.transparent
    row["flags"] = flags + DEEP * header.deep + SEVERAL_FRAMES * header.several_frames
    row["height"] = header.height
    row["width"] = header.width
    row["state"] = state


def _set_pixels(path: str, row: Rows) -> None:
    header = read_header(Path(path))
    picture = decode_file(Path(path), 3, None)
    with Path(path).open("rb") as file:
        row["digest"] = np.frombuffer(file_digest(file, "sha256").digest()[:16], np.uint64)
    row["hash"] = perceptual_hash(picture)
    row["thumbnail"] = resize(picture, THUMBNAIL, THUMBNAIL, 3)
    _set_header(row, header, DECODED)


def _index_path(root: Path) -> Path:
    name = sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    return cache_folder() / "pictures" / f"{name}.npz"


def _load(root: Path) -> tuple[list[str], Rows, dict[int, str]] | None:
    """Paths, rows and problems of a stored index; None where there is none, or a damaged one, or an older one's."""
    try:
        with _index_path(root).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if bytes(stored["version"]).decode() != _VERSION:
                return None
            rows = stored["rows"]
            texts = [
                bytes(stored[name]).decode("utf-8", "surrogateescape").split("\0") for name in ("paths", "problems")
            ]
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError, BadZipFile):
        return None
    paths, problems = texts
    bad = np.flatnonzero(rows["state"] == BAD) if rows.dtype == ROW else []
    if rows.dtype != ROW or rows.shape != (len(paths),) or len(bad) != len(problems) - 1:
        return None
    return paths, rows, dict(zip(map(int, bad), problems, strict=False))


def _store(index: PictureIndex) -> None:
    """Remember an index, without files that were read just after a change."""
    rows = index.rows.copy()
    rows["state"][~rows["settled"]] = UNKNOWN
    problems = [index.problems[int(i)] for i in np.flatnonzero(rows["state"] == BAD)]
    texts = {"version": [_VERSION], "paths": map(os.fspath, index.files), "problems": [*problems, ""]}
    arrays = {name: np.frombuffer(_joined(lines), np.uint8) for name, lines in texts.items()}
    write = partial(np.savez, rows=rows, **arrays)  # pyright: ignore[reportArgumentType]
    try:
        write_atomically(_index_path(index.root), write)
    except (UserError, RuntimeError) as error:
        warn(f"what was found in the pictures of {index.root} is not remembered ({error})")


def _joined(lines: Iterator[str] | Sequence[str]) -> bytes:
    return "\0".join(lines).encode("utf-8", "surrogateescape")
