"""A folder of images as a data set."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from diffjax.data import split_rules
from diffjax.data.picture_index import Rows
from diffjax.data.pictures import (
    DEFAULT_RULES,
    MAX_NAMED,
    PictureRules,
    Pictures,
    Substitutes,
    describe_scaling,
    open_pictures,
)
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset, PictureFiles, Split
from diffjax.errors import UserError
from diffjax.utils.image_io import Header

_SPLIT_WORDS = {"train", "val", "valid", "validation", "test"}


def open_folder(
    path: str | Path,
    image_size: int | None = None,
    rule: SplitRule = split_rules.by_key,
    rules: PictureRules = DEFAULT_RULES,
) -> Dataset:
    """Images of one folder: a class for each subfolder (by sorted name), or no labels if they lie directly in it.

    Grey if every file is, else RGB. All have one size, or are centre-cropped and area-averaged to `image_size` ×
    `image_size` pixels. The `rule` splits them by their paths relative to the folder, a tenth each for validation and
    test. `rules` say how files are read, and which are used (`open_pictures`). Raises `UserError`, naming the file, for
    a folder that is missing, empty or mixed; for a file that cannot be read or differs in size; and for links to
    folders, links to files outside, and names with control characters. The folder itself may be a link.
    """
    title = f"folder:{path}"
    pictures = open_pictures(path, title, rules)
    root = pictures.root
    files = pictures.files
    names = _class_names(root, files)
    number = {name: i for i, name in enumerate(names)}
    labels = [number.get(file.parts[0], 0) for file in files]
    headers = pictures.headers
    channels = 1 if all(header.grey for header in headers) else 3
    height, width = (image_size, image_size) if image_size else _common_size(root, files, headers)
    shape = (height, width, channels)
    fetch = partial(_fetch, pictures, labels, shape, image_size)
    # By path and not by content: no file has to be read, and a retouched image stays in its split.
    parts = rule.folder([file.as_posix().encode() for file in files], labels)
    share = rules.unreadable.max_share
    numbers = np.array(labels)
    splits = {}
    for split, part in parts.items():
        substitutes = None if share is None else Substitutes(numbers[part.ids], share)
        splits[split] = Split(part.ids, fetch, fingerprint=part.fingerprint, substitutes=substitutes)
    notes = (*pictures.notes, *_notes(title, pictures.rows, names, labels, image_size))
    return Dataset(
        title, shape, len(names), names, 256, splits, notes=notes, files=PictureFiles(root, files, pictures.rows)
    )


def _notes(
    title: str, rows: Rows, names: Sequence[str], labels: Sequence[int], image_size: int | None
) -> Iterator[str]:
    """How pictures are scaled, and which classes have a single one."""
    if image_size:
        yield from describe_scaling(title, rows, image_size)
    counts = Counter(labels)
    single = [name for number, name in enumerate(names) if counts[number] == 1]
    if single:
        examples = ", ".join(map(repr, single[:MAX_NAMED])) + ", …" * (len(single) > MAX_NAMED)
        yield f"{title}: one picture of class {examples}: it is in one split alone, so no other split shows that class"


def _class_names(root: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """The sorted names of the subfolders with images; none if the images lie directly in root."""
    direct = [file for file in files if len(file.parts) == 1]
    if len(direct) == len(files):
        return ()
    if direct:
        raise UserError(f"folder:{root}: {direct[0]} lies beside the class folders; move it into one of them")
    names = tuple(sorted({file.parts[0] for file in files}))
    if _SPLIT_WORDS.issuperset(names):
        raise UserError(f"folder:{root}: {names[0]!r} is a split, not a class; give folder:{root / names[0]}")
    return names


def _common_size(root: Path, files: Sequence[Path], headers: Sequence[Header]) -> tuple[int, int]:
    """The common height and width of all images."""
    first = headers[0][:2]
    for file, header in zip(files, headers, strict=True):
        if header[:2] != first:
            sizes = f"{header.width}x{header.height} pixels, but {files[0]} is {first[1]}x{first[0]}"
            raise UserError(f"folder:{root}: {file} is {sizes}; give image_size to crop and scale all to one size")
    return first


def _fetch(
    pictures: Pictures, labels: Sequence[int], shape: tuple[int, int, int], image_size: int | None, index: int
) -> tuple[Callable[[], np.ndarray], int]:
    return partial(_decode, pictures, shape, image_size, index), labels[index]


def _decode(pictures: Pictures, shape: tuple[int, int, int], image_size: int | None, index: int) -> np.ndarray:
    image = pictures.decode(index, shape[2], image_size)
    if image.shape != shape:
        path = pictures.root / pictures.files[index]
        raise UserError(f"{path}: {image.shape[1]}x{image.shape[0]} pixels now, was {shape[1]}x{shape[0]}; start again")
    return image
