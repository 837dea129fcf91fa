"""Tar shards in the WebDataset format as a data set with random access."""

import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from diffjax.data import split_rules
from diffjax.data.columns import (
    TEXT,
    Column,
    caption_notes,
    empty_texts,
    parsed_column,
    typed_column,
)
from diffjax.data.division import Rows, divide, own_splits, take_classes, take_splits
from diffjax.data.framing import OWN_SIZE, Frame, Framing, PictureSizes, describe_scaling, frame_pictures
from diffjax.data.part_pictures import PictureColumn, picture_column
from diffjax.data.picture_index import file_status
from diffjax.data.shard_index import PICTURES, ShardIndex, decode_text, read_index
from diffjax.data.shard_pattern import expand_pattern
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset, picture_dataset
from diffjax.data.stored_features import Stored, features_reader, stored_features
from diffjax.errors import UserError
from diffjax.utils.file_regions import read_region
from diffjax.utils.files import cache_folder
from diffjax.utils.image_fit import Place
from diffjax.utils.image_io import decode_file

_WORD = re.compile(r"[A-Za-z]+")
CLASS = "cls"
CAPTION_EXTENSION = "txt"


class Shards(NamedTuple):
    """The files of all samples: of sample i, those of row `i − starts[s]` of the shard s that holds it.

    `statuses` are the size and the time of the last change of each shard when it was opened.
    """

    paths: Sequence[Path]
    indices: Sequence[ShardIndex]
    starts: Integer[np.ndarray, " _"]
    statuses: Sequence[tuple[int, int]]

    def find(self, number: int) -> tuple[Path, ShardIndex, int]:
        """The shard of a sample, its index, and its row there."""
        shard = int(np.searchsorted(self.starts, number, "right")) - 1
        return self.paths[shard], self.indices[shard], number - int(self.starts[shard])


def open_shards(
    pattern: str,
    frame: Frame = OWN_SIZE,
    rule: SplitRule = split_rules.by_key,
    *,
    image: str = "",
    label: str = "",
    cache: Path | None = None,
) -> Dataset:
    """The samples of tar files: `train-{000..009}.tar`, `{train,test}.tar` or `*.tar`, in this order.

    Files of one key are one sample: a picture, a class `.cls`, a caption `.txt`, and the fields of `.json` as columns.
    `image` is the extension of pictures that go by another, `label` the field of classes. Shards whose names all begin
    with train, validation (val, valid) or test are splits; else the `rule` splits samples by key. Tar headers are read
    once, and kept in the `cache`, by default a folder of the user's. Raises `UserError`, naming shard and key, for what
    cannot be read.
    """
    location = f"shards:{pattern}"
    paths = expand_pattern(pattern)
    statuses = [file_status(path) for path in paths]
    indices = [read_index(path, image, cache or cache_folder() / "shards") for path in paths]
    counts = [len(index.keys) for index in indices]
    shards = Shards(paths, indices, np.cumsum([0, *counts]), statuses)
    columns = _columns(shards, location)
    words = own_splits(_first_word(path) for path in paths)
    named = [word for word, count in zip(words, counts, strict=True) for _ in range(count)] if words else None
    splits = named or take_splits(columns, location)
    classes = take_classes(columns, label or (CLASS if CLASS in columns else ""), location)
    labels = classes.labels if classes else np.zeros(sum(counts), np.int32)
    names = classes.names if classes else ()
    heads = np.concatenate([index.heads for index in indices])
    channels = 1 if heads[:, 2].all() else 3
    sizes = PictureSizes(heads[:, :2], partial(_describe_picture, shards))
    framing = frame_pictures(frame, sizes, location)
    has_captions = any(CAPTION_EXTENSION in index.extensions for index in indices)
    pictures = {name: _part_pictures(shards, name, framing) for name in _part_names(shards)}
    stored = Stored(columns, pictures, partial(_read_caption, shards) if has_captions else None)
    features = stored_features(stored, location)
    fetch = partial(_fetch, shards, labels, channels)
    keys = [name.encode() for index in indices for name in _picture_names(index)]
    divided = divide(Rows(keys, labels, splits, fetch, features_reader(stored), framing), rule, location)
    empty = _empty_captions(shards, columns) if TEXT in features else 0
    notes = (*describe_scaling(location, framing, sizes.sizes), *caption_notes(location, empty, len(keys)))
    dataset = picture_dataset(location, framing, channels, names, divided, features, notes)
    return replace(dataset, transparent=int(heads[:, 3].sum()), stamp=partial(_stamp, shards))


def _first_word(path: Path) -> str:
    """The word that a shard's name begins with, else its folder's name."""
    word = _WORD.match(path.name)
    return word[0] if word else path.parent.name


def _picture_names(index: ShardIndex) -> list[str]:
    return [f"{key}.{extension}" for key, extension in zip(index.keys, index.picture, strict=True)]


def _columns(shards: Shards, location: str) -> dict[str, Column]:
    """The classes and the fields of .json, in the order of all samples."""

    def place(row: int) -> str:
        path, index, at = shards.find(row)
        return f"shards:{path}: {index.keys[at]}"

    texts = {name: _small_texts(shards, name, location) for name in ("cls", "json")}
    columns: dict[str, Column] = {}
    if texts["cls"]:
        columns[CLASS] = parsed_column(CLASS, [text.strip() for text in texts["cls"]], place)
    records = [_parse(text, row, place) for row, text in enumerate(texts["json"])]
    names = list(dict.fromkeys(name for record in records for name in record))
    for name in names:
        values = [record.get(name) for record in records]
        if any(isinstance(value, dict) for value in values):
            continue  # nested fields are no columns
        columns[name] = typed_column(name, values, place)
    return columns


def _small_texts(shards: Shards, extension: str, location: str) -> list[str]:
    """The texts of that extension of all samples; none if no shard has them."""
    having = [index for index in shards.indices if extension in index.small]
    if having and len(having) < len(shards.indices):
        path = next(p for p, index in zip(shards.paths, shards.indices, strict=True) if extension not in index.small)
        raise UserError(f"{location}: {path} has no .{extension}, which other shards have; add the files")
    return [text for index in having for text in index.small[extension]]


def _parse(text: str, row: int, place: Callable[[int], str]) -> dict[str, object]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise UserError(f"{place(row)}.json: is not an object of JSON; write one, or leave it out")
    return record


def _describe_picture(shards: Shards, number: int) -> str:
    path, index, row = shards.find(number)
    return f"{_picture_names(index)[row]} of {path}"


def _empty_captions(shards: Shards, columns: Mapping[str, Column]) -> int:
    """The number of samples with an empty caption, or none."""
    if TEXT in columns:
        return empty_texts(columns)
    empty = 0
    for index in shards.indices:
        if CAPTION_EXTENSION not in index.extensions:
            empty += len(index.keys)
        else:
            empty += int((index.sizes[:, index.extensions.index(CAPTION_EXTENSION)] <= 0).sum())
    return empty


def _fetch(
    shards: Shards, labels: Integer[np.ndarray, " n"], channels: int, number: int
) -> tuple[Callable[[Place], np.ndarray], int]:
    return partial(_decode, shards, channels, number), int(labels[number])


def _decode(shards: Shards, channels: int, number: int, place: Place) -> np.ndarray:
    path, index, row = shards.find(number)
    column = index.extensions.index(index.picture[row])
    data = read_region(path, int(index.offsets[row, column]), int(index.sizes[row, column]))
    return decode_file(io.BytesIO(data), channels, place, f"{path}: {index.keys[row]}.{index.picture[row]}")


def _stamp(shards: Shards, number: int) -> bytes:
    """What identifies a picture: its place in its shard, and the status of that file."""
    path, index, row = shards.find(number)
    column = index.extensions.index(index.picture[row])
    size, modified = shards.statuses[int(np.searchsorted(shards.starts, number, "right")) - 1]
    return os.fsencode(f"{path}\0{size}\0{modified}\0{index.offsets[row, column]}\0{index.sizes[row, column]}")


def _part_names(shards: Shards) -> list[str]:
    """The names of further pictures, such as sketch of files `.sketch.png`."""
    extensions = {extension for index in shards.indices for extension in index.extensions}
    stems = [extension.rpartition(".") for extension in sorted(extensions)]
    return sorted({stem for stem, _, last in stems if stem and last in PICTURES})


def _part_pictures(shards: Shards, name: str, framing: Framing) -> PictureColumn:
    return picture_column(partial(_open_part, shards, name), framing)


def _open_part(shards: Shards, part: str, number: int) -> tuple[io.BytesIO, str]:
    """A further picture of a sample. Raises `UserError` where the sample has none."""
    path, index, row = shards.find(number)
    for extension in (f"{part}.{kind}" for kind in PICTURES if f"{part}.{kind}" in index.extensions):
        column = index.extensions.index(extension)
        if index.offsets[row, column] >= 0:
            data = read_region(path, int(index.offsets[row, column]), int(index.sizes[row, column]))
            return io.BytesIO(data), f"{path}: {index.keys[row]}.{extension}"
    raise UserError(f"shards:{path}: key {index.keys[row]!r} has no picture .{part}, which others have; add it")


def _read_caption(shards: Shards, number: int) -> str:
    path, index, row = shards.find(number)
    if CAPTION_EXTENSION not in index.extensions:
        return ""
    column = index.extensions.index(CAPTION_EXTENSION)
    if index.offsets[row, column] < 0:
        return ""
    data = read_region(path, int(index.offsets[row, column]), int(index.sizes[row, column]))
    return " ".join(decode_text(data, f"shards:{path}: {index.keys[row]}.txt").split())
