"""A folder of images as a data set."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from diffjax.data import split_rules
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset, Split
from diffjax.errors import UserError
from diffjax.utils.image_folder import image_files
from diffjax.utils.image_io import Header, decode_file, read_header

_SPLIT_WORDS = {"train", "val", "valid", "validation", "test"}


def open_folder(path: str | Path, image_size: int | None = None, rule: SplitRule = split_rules.by_key) -> Dataset:
    """Images of one folder: a class for each subfolder (by sorted name), or no labels if they lie directly in it.

    Grey if every file is, else RGB. All have one size, or are centre-cropped and area-averaged to `image_size` ×
    `image_size` pixels. The `rule` splits them by their paths relative to the folder, a tenth each for validation and
    test. Raises `UserError`, naming the file, for a folder that is missing, empty or mixed; for a file that cannot be
    read or differs in size; and for links to folders, links to files outside, and names with control characters. The
    folder itself may be a link.
    """
    root, files = image_files(path, f"folder:{path}")
    names = _class_names(root, files)
    number = {name: i for i, name in enumerate(names)}
    labels = [number.get(file.parts[0], 0) for file in files]
    headers = [read_header(root / file) for file in files]
    channels = 1 if all(header.grey for header in headers) else 3
    height, width = (image_size, image_size) if image_size else _common_size(root, files, headers)
    paths = [root / file for file in files]
    shape = (height, width, channels)
    fetch = partial(_fetch, paths, labels, shape, image_size)
    # By path and not by content: no file has to be read, and a retouched image stays in its split.
    parts = rule.folder([file.as_posix().encode() for file in files], labels)
    splits = {name: Split(part.ids, fetch, fingerprint=part.fingerprint) for name, part in parts.items()}
    transparent = sum(header.transparent for header in headers)
    return Dataset(f"folder:{path}", shape, len(names), names, 256, splits, transparent=transparent)


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
    paths: Sequence[Path], labels: Sequence[int], shape: tuple[int, int, int], image_size: int | None, index: int
) -> tuple[Callable[[], np.ndarray], int]:
    return partial(_decode, paths[index], shape, image_size), labels[index]


def _decode(path: Path, shape: tuple[int, int, int], image_size: int | None) -> np.ndarray:
    image = decode_file(path, shape[2], image_size)
    if image.shape != shape:
        raise UserError(f"{path}: {image.shape[1]}x{image.shape[0]} pixels now, was {shape[1]}x{shape[0]}; start again")
    return image
