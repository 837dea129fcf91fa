"""Data sets of Hugging Face: local copies as parquet, arrow or image folders, or by name where there is a network."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from diffjax.data import split_rules
from diffjax.data.columns import Column, caption_notes, empty_texts, typed_column
from diffjax.data.division import SPLIT_WORDS, Rows, divide, take_classes, take_splits
from diffjax.data.framing import OWN_SIZE, Frame, PictureSizes, describe_scaling, frame_pictures
from diffjax.data.part_pictures import picture_column
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset, picture_dataset
from diffjax.data.stored_features import Stored, features_reader, stored_features
from diffjax.errors import UserError
from diffjax.utils.files import describe_error
from diffjax.utils.image_fit import Place
from diffjax.utils.image_io import decode_file, read_header

Library = Any  # the package datasets, which may not be installed, and its objects

_MAX_SHOWN = 160  # letters of another library's message that ours quote


class _Pictures(NamedTuple):
    """The encoded pictures of all splits, one after the other; files that they name lie in the folder `root`."""

    tables: Sequence[Library]
    starts: Integer[np.ndarray, " _"]
    column: str
    location: str
    root: Path | None

    def open(self, number: int) -> tuple[Path | io.BytesIO, str]:
        """The file of a picture, and what to call it in a message."""
        table = int(np.searchsorted(self.starts, number, "right")) - 1
        row = number - int(self.starts[table])
        name = f"{self.location}: row {number}"
        stored = self.tables[table][row][self.column] or {}
        if stored.get("bytes"):
            return io.BytesIO(stored["bytes"]), name
        path = Path(stored.get("path") or "")
        if not stored.get("path") or self.root is None or not path.resolve().is_relative_to(self.root):
            raise UserError(f"{name}: has no picture in column {self.column!r}; take the row out")
        return path, str(path)


def open_hf(
    name: str, frame: Frame = OWN_SIZE, rule: SplitRule = split_rules.by_key, *, image: str = "", label: str = ""
) -> Dataset:
    """A data set of Hugging Face: a parquet or arrow file, a folder of them or of images, or a name.

    Its splits train, validation (val, valid) and test are kept, and others left out, as a note says. `image` is the
    column of images, by default `image` or the only one, `label` that of classes, by default `label`; all further
    columns of texts, numbers, classes and images are features. Raises `UserError` where the extra `hf` is not
    installed, for a set that cannot be read, and for one without images.
    """
    location = f"hf:{name}"
    library = _import_library()
    path = Path(name).expanduser()
    splits = _load(library, path if path.exists() else name, location)
    left_out = [split for split in splits if split not in SPLIT_WORDS]
    kept = {split: table for split, table in splits.items() if split in SPLIT_WORDS}
    if not kept:
        raise UserError(f"{location}: has the splits {', '.join(left_out)}, and none called train; name one so")
    tables = list(kept.values())
    kinds = tables[0].features
    image = _image_column(library, kinds, image, location)
    counts = [len(table) for table in tables]
    pictures = _pictures(library, tables, image, location, path)
    further = [key for key, kind in kinds.items() if isinstance(kind, library.Image) and key != image]
    columns = _columns(library, tables, image, location)
    named = [SPLIT_WORDS[split] for split, count in zip(kept, counts, strict=True) for _ in range(count)]
    chosen = take_splits(columns, location) if len(kept) == 1 else None
    chosen_label = label or next((key for key in ("label", "labels") if key in columns), "")
    names = getattr(kinds.get(chosen_label), "names", None) or ()
    classes = take_classes(columns, chosen_label, location, names)
    labels = classes.labels if classes else np.zeros(sum(counts), np.int32)
    heads = _heads(pictures, sum(counts))
    framing = frame_pictures(frame, PictureSizes(heads[:, :2], lambda number: f"row {number}"), location)
    channels = 1 if heads[:, 2].all() else 3
    fetch = partial(_fetch, pictures, labels, channels)
    keys = [f"{split}{row}".encode() for split, count in zip(kept, counts, strict=True) for row in range(count)]
    beside = {key: _pictures(library, tables, key, location, path) for key in further}
    stored = Stored(columns, {key: picture_column(column.open, framing) for key, column in beside.items()})
    features = stored_features(stored, location)
    divided = divide(Rows(keys, labels, chosen or named, fetch, features_reader(stored), framing), rule, location)
    notes = (*describe_scaling(location, framing, heads[:, :2]),)
    notes += caption_notes(location, empty_texts(columns), sum(counts))
    if left_out:
        notes = (*notes, f"{location}: the split(s) {', '.join(left_out)} are left out")
    class_names = classes.names if classes else ()
    dataset = picture_dataset(location, framing, channels, class_names, divided, features, notes)
    return replace(dataset, transparent=int(heads[:, 3].sum()))


def _import_library() -> Library:
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("hf: the package datasets is not installed; run: pip install 'diffjax[hf]'") from None
    return datasets


def _load(library: Library, source: Path | str, location: str) -> Mapping[str, Library]:
    """The splits of a set by name."""
    try:
        library.disable_progress_bars()
        library.logging.set_verbosity(library.logging.CRITICAL)  # its errors are ours, on one line
        loaded = _open(library, source)
    except Exception as error:  # of that library, Arrow, or the network
        where = "read" if isinstance(source, Path) else "found here or on the hub"
        problem = f"cannot be {where} ({describe_error(error)[:_MAX_SHOWN]})"
        raise UserError(f"{location}: {problem}; give a parquet or arrow file, a folder of them, or a name") from None
    return loaded if isinstance(loaded, dict) else {"train": loaded}


def _open(library: Library, source: Path | str) -> Library:
    if isinstance(source, str):
        return library.load_dataset(source)
    if source.suffix == ".arrow":
        return library.Dataset.from_file(str(source))
    if source.is_file():
        return library.load_dataset("parquet", data_files=str(source))
    saved = any((source / file).exists() for file in ("dataset_dict.json", "state.json"))
    return library.load_from_disk(str(source)) if saved else library.load_dataset(str(source))


def _image_column(library: Library, kinds: Mapping[str, Library], image: str, location: str) -> str:
    """The column of images: the one that is named, or the only one there is."""
    columns = [name for name, kind in kinds.items() if isinstance(kind, library.Image)]
    if image:
        if image not in columns:
            have = ", ".join(columns) or "none"
            raise UserError(f"data.image: {location} has no column of images {image!r}; it has: {have}")
        return image
    if len(columns) != 1 and "image" not in columns:
        have = ", ".join(columns or kinds)
        problem = f"has {len(columns)} columns of images, of {have}" if columns else f"has no images, but {have}"
        raise UserError(f"{location}: {problem}; name one in data.image")
    return "image" if "image" in columns else columns[0]


def _pictures(library: Library, tables: Sequence[Library], column: str, location: str, path: Path) -> _Pictures:
    """The pictures of a column, which are not decoded by that library."""
    encoded = [table.cast_column(column, library.Image(decode=False)).select_columns([column]) for table in tables]
    root = path.resolve() if path.exists() else None
    return _Pictures(encoded, np.cumsum([0, *map(len, tables)]), column, location, root)


def _columns(library: Library, tables: Sequence[Library], image: str, location: str) -> dict[str, Column]:
    """All columns of texts, numbers, classes and lists of numbers."""
    plain = (library.Value, library.ClassLabel, library.Sequence, library.List, library.LargeList)
    columns = {}
    for name, kind in tables[0].features.items():
        if name == image or not isinstance(kind, plain):
            continue
        values = [value for table in tables for value in table.data.column(name).to_pylist()]
        if any(isinstance(value, bytes | dict) for value in values[:1]):
            continue
        columns[name] = typed_column(name, values, lambda row: f"{location} row {row}")
    return columns


def _heads(pictures: _Pictures, count: int) -> Int64[np.ndarray, "n 4"]:
    """Height, width, whether grey and whether transparent of each picture, by their headers."""
    if not count:
        raise UserError(f"{pictures.location}: has no rows; give another set")
    return np.array([read_header(*pictures.open(number))[:4] for number in range(count)], np.int64)


def _fetch(
    pictures: _Pictures, labels: Integer[np.ndarray, " n"], channels: int, number: int
) -> tuple[Callable[[Place], np.ndarray], int]:
    return partial(_decode, pictures, channels, number), int(labels[number])


def _decode(pictures: _Pictures, channels: int, number: int, place: Place) -> np.ndarray:
    file, name = pictures.open(number)
    return decode_file(file, channels, place, name)
