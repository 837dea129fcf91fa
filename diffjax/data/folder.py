"""A folder of images as a data set."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from diffjax.data import split_rules
from diffjax.data.columns import Classes, Column, caption_notes, describe_first
from diffjax.data.division import Rows, divide, take_classes, take_splits
from diffjax.data.folder_layout import folder_classes, read_layout
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
from diffjax.data.pictures import DEFAULT_RULES, MAX_NAMED, PictureRules, Pictures, describe_scaling, open_pictures
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset, PictureFiles
from diffjax.data.stored_features import Stored, features_reader, stored_features
from diffjax.errors import UserError
from diffjax.utils.image_folder import list_folder
from diffjax.utils.image_io import Header


def open_folder(
    path: str | Path,
    image_size: int | None = None,
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

    Grey if every file is, else RGB. All have one size, or are centre-cropped and area-averaged to `image_size` ×
    `image_size` pixels. `rules` say how files are read, and which are used (`open_pictures`). Raises `UserError`,
    naming the file, for a folder that is missing, empty or mixed; for a file that cannot be read or differs in size;
    and for links to folders, links to files outside, and names with control characters. The folder itself may be a
    link.
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
    headers = pictures.headers
    channels = 1 if all(header.grey for header in headers) else 3
    height, width = (image_size, image_size) if image_size else _common_size(root, files, headers)
    shape = (height, width, channels)
    fetch = partial(_fetch, pictures, classes.labels, shape, image_size)
    parts = sorted(name.removesuffix(PART_SUFFIX) for name in columns if name.endswith(PART_SUFFIX))
    part_pictures = {name: _part_pictures(root, name, columns, image_size) for name in parts}
    stored = Stored(columns, part_pictures, None if captions is None else partial(_read_caption, captions))
    features = stored_features(stored, location)
    # By path and not by content: no file has to be read, and a retouched image stays in its split.
    keys = [file.as_posix().encode() for file in files]
    rows = Rows(keys, classes.labels, splits, fetch, features_reader(stored), rules.unreadable.max_share)
    divided = divide(rows, rule, location)
    names = classes.names
    without_caption = caption_notes(location, empty_captions(columns, captions), len(files))
    notes = (*_notes(location, pictures, classes, image_size), *without_caption)
    picture_files = PictureFiles(root, files, pictures.rows)
    return Dataset(
        location, shape, len(names), names, 256, divided, features=features, notes=notes, files=picture_files
    )


def _open_pictures(path: str | Path, location: str, rules: PictureRules) -> tuple[Pictures, list[Row]]:
    """The pictures of a folder, without those that are parts of conditions, and the rows of its metadata."""
    listing = list_folder(path, location, rules.follow_links)
    metadata = metadata_rows(listing.root)
    parts = frozenset().union(*part_files(metadata).values())
    return open_pictures(listing.without(parts), location, rules), metadata


def _notes(location: str, pictures: Pictures, classes: Classes, image_size: int | None) -> Iterator[str]:
    """How pictures are read and scaled, and which classes have a single one."""
    yield from pictures.notes
    if image_size:
        yield from describe_scaling(location, pictures.rows, image_size)
    counts = np.bincount(classes.labels, minlength=len(classes.names))
    single = [name for number, name in enumerate(classes.names) if counts[number] == 1]
    if single:
        examples = ", ".join(map(repr, single[:MAX_NAMED])) + ", …" * (len(single) > MAX_NAMED)
        problem = f"one picture of class {examples}: it is in one split alone, so no other split shows that class"
        yield f"{location}: {problem}"


def _read_caption(captions: Sequence[Path | None], row: int) -> str:
    return read_caption(captions[row])


def _part_pictures(root: Path, name: str, columns: dict[str, Column], image_size: int | None) -> PictureColumn:
    """The pictures that the column `name_file_name` names, which is taken out. Raises `UserError` for missing ones."""
    column = f"{name}{PART_SUFFIX}"
    files = [root / str(text) for text in columns.pop(column)]
    missing = [str(file.relative_to(root)) for file in files if not file.is_file()]
    if missing:
        problem = f"names {len(missing):,} missing picture(s): {describe_first(missing)}"
        raise UserError(f"folder:{root}: {column}: {problem}; add them, or leave the column out")
    return picture_column(partial(_open_part, files), image_size)


def _open_part(files: Sequence[Path], row: int) -> tuple[Path, str]:
    return files[row], str(files[row])


def _common_size(root: Path, files: Sequence[Path], headers: Sequence[Header]) -> tuple[int, int]:
    """The common height and width of all images."""
    first = headers[0][:2]
    for file, header in zip(files, headers, strict=True):
        if header[:2] != first:
            sizes = f"{header.width}x{header.height} pixels, but {files[0]} is {first[1]}x{first[0]}"
            raise UserError(f"folder:{root}: {file} is {sizes}; give image_size to crop and scale all to one size")
    return first


def _fetch(
    pictures: Pictures,
    labels: Integer[np.ndarray, " n"],
    shape: tuple[int, int, int],
    image_size: int | None,
    index: int,
) -> tuple[Callable[[], np.ndarray], int]:
    return partial(_decode, pictures, shape, image_size, index), int(labels[index])


def _decode(pictures: Pictures, shape: tuple[int, int, int], image_size: int | None, index: int) -> np.ndarray:
    image = pictures.decode(index, shape[2], image_size)
    if image.shape != shape:
        path = pictures.root / pictures.files[index]
        raise UserError(f"{path}: {image.shape[1]}x{image.shape[0]} pixels now, was {shape[1]}x{shape[0]}; start again")
    return image
