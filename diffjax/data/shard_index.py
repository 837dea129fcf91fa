"""The index of a tar shard in the WebDataset format: where the files of each sample lie, read once and kept."""

import hashlib
import json
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from diffjax.data.columns import describe_first
from diffjax.errors import UserError
from diffjax.utils.file_regions import open_region, read_region
from diffjax.utils.files import describe_error, is_single_line, write_atomically
from diffjax.utils.image_io import Header, read_header

PICTURES = ("png", "jpg", "jpeg", "webp", "gif", "bmp")  # extensions of pictures
SMALL = ("cls", "json")  # extensions of files that the index keeps whole
MAX_SMALL_BYTES = 2**20  # of each of them
_VERSION = "1"  # of the stored index
_BLOCK = 512  # bytes of a block of tar
_NONE = -1  # offset of a file that a sample does not have

Sample = dict[str, tuple[int, int]]  # extension -> offset and size in bytes


class ShardIndex(NamedTuple):
    """The samples of a shard in order.

    `offsets` and `sizes` have a column for each of the `extensions`, an offset of −1 where a sample has no such file.
    `heads` are height, width, whether grey, whether transparent, of its picture. `small` are the texts of `SMALL`.
    """

    keys: list[str]
    extensions: list[str]
    offsets: Int64[np.ndarray, "n extensions"]
    sizes: Int64[np.ndarray, "n extensions"]
    heads: Int32[np.ndarray, "n 4"]
    small: dict[str, list[str]]
    picture: list[str]  # the extension of each sample's picture


def read_index(path: Path, image: str, cache: Path | None) -> ShardIndex:
    """The index of a shard, from the `cache` folder if it was made of this very file, else from its tar headers.

    `image` is the extension of the pictures; empty: any of `PICTURES`. Raises `UserError`, naming the shard and the
    key, for one that is cut off or compressed, for repeated keys, and for keys without a picture.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"shards:{path}: cannot be read ({describe_error(error)}); give tar files") from None
    stamp = f"{_VERSION} {status.st_size} {status.st_mtime_ns} {image}"
    stored = cache / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.json" if cache else None
    if stored is not None and (known := _load(stored, stamp)) is not None:
        return known
    index = _make_index(path, image, _scan(path))
    if stored is not None:
        document = json.dumps([stamp, [_plain(value) for value in index]]).encode()
        with suppress(UserError):  # a folder that cannot be written costs time alone
            write_atomically(stored, lambda file: file.write(document))
    return index


def _scan(path: Path) -> dict[str, Sample]:
    """The files of each key: of `a/b.txt` the key is `a/b`, and of `a/b.mask.png` too, the extension being mask.png."""
    samples: dict[str, Sample] = {}
    last = ""
    try:
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # it would keep all of them
                folder, _, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                if not member.isreg() or member.issparse() or not stem or stem.startswith("__") or "__MACOSX" in folder:
                    continue
                key = f"{folder}/{stem}" if folder else stem
                if not is_single_line(member.name):
                    raise UserError(
                        f"shards:{path}: {member.name[:80]!r} has control characters in its name; rename it"
                    )
                extension = extension.lower()
                if key in samples and (key != last or extension in samples[key]):
                    problem = f"key {key!r} is there twice"
                    raise UserError(
                        f"shards:{path}: {problem}; write the files of a key one after the other, each once"
                    )
                samples.setdefault(key, {})[extension] = (member.offset_data, member.size)
                last = key
            _check_end(path, tar.offset)
    except (tarfile.TarError, OSError, ValueError) as error:
        reason = describe_error(error)[:120]
        what = "is cut off" if "unexpected end" in reason else f"cannot be read as an uncompressed tar ({reason})"
        raise UserError(f"shards:{path}: {what}; copy or write it again") from None
    if not samples:
        raise UserError(f"shards:{path}: holds no files; write samples into it, or leave it out")
    return samples


def _check_end(path: Path, offset: int) -> None:
    """Raises `UserError` unless the archive ends there with a block of zeros, as tar files do."""
    rest = path.stat().st_size - offset
    if rest < _BLOCK or read_region(path, offset, _BLOCK).strip(b"\0"):
        raise UserError(f"shards:{path}: is cut off or damaged at byte {offset:,}; copy or write it again")


def _make_index(path: Path, image: str, samples: dict[str, Sample]) -> ShardIndex:
    keys = list(samples)
    pictures = [_picture_extension(path, key, sample, image) for key, sample in samples.items()]
    without = [key for key, extension in zip(keys, pictures, strict=True) if not extension]
    if without:
        kind = image or ", ".join(PICTURES)
        problem = f"{len(without):,} key(s) without picture ({kind}): {describe_first(without)}"
        raise UserError(f"shards:{path}: {problem}; add the pictures, or take the keys out")
    extensions = sorted({extension for sample in samples.values() for extension in sample})
    nothing = (_NONE, 0)
    places = [[sample.get(extension, nothing) for extension in extensions] for sample in samples.values()]
    table = np.array(places, np.int64).reshape(len(keys), len(extensions), 2)
    heads = [
        read_header(open_region(path, *sample[extension]), f"{path}: {key}.{extension}")
        for (key, sample), extension in zip(samples.items(), pictures, strict=True)
    ]
    small = {name: _read_small(path, samples, name) for name in SMALL if name in extensions}
    return ShardIndex(keys, extensions, table[..., 0], table[..., 1], _heads(heads), small, pictures)


def _picture_extension(path: Path, key: str, sample: Sample, image: str) -> str:
    """The extension of a sample's picture; empty where it has none."""
    choices = [extension for extension in ((image,) if image else PICTURES) if extension in sample]
    if len(choices) > 1:
        problem = f"key {key!r} has two pictures, {' and '.join(choices)}"
        raise UserError(f"shards:{path}: {problem}; keep one, or name its extension in data.image")
    return choices[0] if choices else ""


def _heads(headers: Sequence[Header]) -> Int32[np.ndarray, "n 4"]:
    return np.array([tuple(map(int, header[:4])) for header in headers], np.int32).reshape(len(headers), 4)


def _read_small(path: Path, samples: dict[str, Sample], extension: str) -> list[str]:
    """The texts of the files of that extension. Raises `UserError` where some keys have none, or one is too long."""
    without = [key for key, sample in samples.items() if extension not in sample]
    if without:
        problem = f"{len(without):,} key(s) without .{extension}, which others have: {describe_first(without)}"
        raise UserError(f"shards:{path}: {problem}; add the files, or take the keys out")
    texts = []
    for key, sample in samples.items():
        offset, size = sample[extension]
        if size > MAX_SMALL_BYTES:
            raise UserError(f"shards:{path}: {key}.{extension} has over {MAX_SMALL_BYTES:,} bytes; make it smaller")
        texts.append(decode_text(read_region(path, offset, size), f"shards:{path}: {key}.{extension}"))
    return texts


def decode_text(data: bytes, location: str) -> str:
    """UTF-8 as text. Raises `UserError` for other bytes."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{location}: is not UTF-8 text; write it as UTF-8") from None


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _load(stored: Path, stamp: str) -> ShardIndex | None:
    """The stored index of a file with this stamp; None where there is none, or one that cannot be read."""
    try:
        with stored.open("rb") as file:
            recorded, values = json.load(file)
        if recorded != stamp:
            return None
        keys, extensions, offsets, sizes, heads, small, picture = values
        shape = (len(keys), len(extensions))
        starts, lengths = (np.array(column, np.int64).reshape(shape) for column in (offsets, sizes))
        headers = np.array(heads, np.int32).reshape(-1, 4)
        return ShardIndex(keys, extensions, starts, lengths, headers, small, picture)
    except (OSError, ValueError, TypeError):
        return None
