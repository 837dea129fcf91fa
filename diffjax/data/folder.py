"""A folder of images as a data set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from diffjax.data import split_rules
from diffjax.data.columns import Classes, Column, caption_notes, describe_first
from diffjax.data.division import Rows, divide, take_classes, take_splits
from diffjax.data.folder_layout import folder_classes, read_layout
from diffjax.data.framing import OWN_SIZE, Frame, Framing, PictureSizes, describe_scaling, frame_pictures
from diffjax.data.metadata_files import (
    PART_SUFFIX,
    Row,
    caption_files,
    empty_captions,
    metadata_columns,
    metadata_rows,
    part_files,
    read_caption,
)
from diffjax.data.part_pictures import PictureColumn, picture_column
from diffjax.data.picture_reader import PictureReader
from diffjax.data.pictures import DEFAULT_RULES, MAX_NAMED, PictureRules, Pictures, open_pictures
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset, PictureFiles, picture_dataset
from diffjax.data.stored_features import Stored, features_reader, stored_features
from diffjax.errors import UserError
from diffjax.utils.image_fit import Place
from diffjax.utils.image_folder import list_folder


def open_folder(
    path: str | Path,
    frame: Frame = OWN_SIZE,
    rule: SplitRule = split_rules.by_key,
    label: str = "",
    rules: PictureRules = DEFAULT_RULES,
) -> Dataset:
    """Images of one folder: a class for each subfolder (by sorted name), or no labels if they lie directly in it.

    Subfolders that are all called train, validation (val, valid) or test are splits, with the classes below them. Else
    the `rule` splits the images by their paths relative to the folder, a tenth each for validation and test. Columns of
    metadata.jsonl or metadata.csv and captions in a .txt beside each image are features; pictures that a column such as
    sketch_file_name names are the feature sketch. `label` names the column of classes, by default `label` where no
    subfolders are classes.

    Grey if every file is, else RGB. All have one size, or are brought to that of the `frame`. `rules` say how files are
    read, and which are used (`open_pictures`). Raises `UserError`, naming the file, for a folder that is missing, empty
    or mixed; for a file that cannot be read or differs in size; and for links to folders, links to files outside, and
    names with control characters. The folder itself may be a link.
    """
    location = f"folder:{path}"
    pictures, metadata = _open_pictures(path, location, rules)
    root = pictures.root
    files = pictures.files
    layout = read_layout(root, files)
    classes = Classes((), np.zeros(len(files), np.int32)) if label else folder_classes(root, files, layout)
    columns = metadata_columns(root, files, metadata, pictures.left_out)
    captions = caption_files(root, files)
    if not classes.names:
        classes = take_classes(columns, label, location) or classes
    splits = layout.splits or take_splits(columns, location)
    sizes = PictureSizes(pictures.sizes, lambda number: str(files[number]))
    framing = frame_pictures(frame, sizes, location)
    reader = pictures.reader()
    fetch = partial(_fetch, reader, classes.labels)
    parts = sorted(name.removesuffix(PART_SUFFIX) for name in columns if name.endswith(PART_SUFFIX))
    part_pictures = {name: _part_pictures(root, name, columns, framing) for name in parts}
    stored = Stored(columns, part_pictures, None if captions is None else partial(_read_caption, captions))
    features = stored_features(stored, location)
    # By path and not by content: no file has to be read, and a retouched image stays in its split.
    keys = [file.as_posix().encode() for file in files]
    rows = Rows(keys, classes.labels, splits, fetch, features_reader(stored), framing, rules.unreadable.max_share)
    divided = divide(rows, rule, location)
    names = classes.names
    without_caption = caption_notes(location, empty_captions(columns, captions), len(files))
    notes = (*_notes(location, pictures, classes, framing), *without_caption)
    dataset = picture_dataset(location, framing, reader.channels, names, divided, features, notes)
    stamp = partial(pictures.stamp, reader)
    return replace(dataset, files=PictureFiles(root, files, pictures.rows), stamp=stamp)


def _open_pictures(path: str | Path, location: str, rules: PictureRules) -> tuple[Pictures, list[Row]]:
    """The pictures of a folder, without those that are parts of conditions, and the rows of its metadata."""
    listing = list_folder(path, location, rules.follow_links)
    metadata = metadata_rows(listing.root)
    parts = frozenset().union(*part_files(metadata).values())
    return open_pictures(listing.without(parts), location, rules), metadata


def _notes(location: str, pictures: Pictures, classes: Classes, framing: Framing) -> Iterator[str]:
    """How pictures are read and scaled, and which classes have a single one."""
    yield from pictures.notes
    yield from describe_scaling(location, framing, pictures.sizes)
    counts = np.bincount(classes.labels, minlength=len(classes.names))
    single = [name for number, name in enumerate(classes.names) if counts[number] == 1]
    if single:
        examples = ", ".join(map(repr, single[:MAX_NAMED])) + ", …" * (len(single) > MAX_NAMED)
        problem = f"one picture of class {examples}: it is in one split alone, so no other split shows that class"
        yield f"{location}: {problem}"


def _read_caption(captions: Sequence[Path | None], row: int) -> str:
    return read_caption(captions[row])


def _part_pictures(root: Path, name: str, columns: dict[str, Column], framing: Framing) -> PictureColumn:
    """The pictures that the column `name_file_name` names, which is taken out. Raises `UserError` for missing ones."""
    column = f"{name}{PART_SUFFIX}"
    files = [root / str(text) for text in columns.pop(column)]
    missing = [str(file.relative_to(root)) for file in files if not file.is_file()]
    if missing:
        problem = f"names {len(missing):,} missing picture(s): {describe_first(missing)}"
        raise UserError(f"folder:{root}: {column}: {problem}; add them, or leave the column out")
    return picture_column(partial(_open_part, files), framing)


def _open_part(files: Sequence[Path], row: int) -> tuple[Path, str]:
    return files[row], str(files[row])


def _fetch(
    reader: PictureReader, labels: Integer[np.ndarray, " n"], index: int
) -> tuple[Callable[[Place | None], np.ndarray], int]:
    return partial(reader.decode, index), int(labels[index])
