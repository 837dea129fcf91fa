"""Arrays of numbers as a data set: images as levels, or real numbers of any shape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from diffjax.data import split_rules
from diffjax.data.array_files import Array, read_arrays
from diffjax.data.columns import Column, caption_notes, empty_texts, text_column
from diffjax.data.division import SPLIT_WORDS, Rows, divide, take_classes, take_splits
from diffjax.data.framing import OWN_SIZE, Frame, Framing, PictureSizes, describe_scaling, frame_pictures
from diffjax.data.part_pictures import array_column
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset
from diffjax.data.stored_features import Stored, features_reader, stored_features
from diffjax.errors import UserError
from diffjax.utils.image_fit import Place
from diffjax.utils.image_io import MODES, place_pixels

IMAGE_NAMES = ("image", "images", "x", "arr_0")  # what the images are called, unless data.image says it
LABEL_NAMES = ("label", "labels", "y", "arr_1")
_SUFFIXES = (".npy", ".npz")


class _Form(NamedTuple):
    """The shape of an example, and whether it holds real numbers."""

    shape: tuple[int, ...]
    real: bool


class _Examples(NamedTuple):
    """The examples of one file."""

    images: Array
    columns: dict[str, Column]
    class_names: tuple[str, ...]
    levels: int


def open_array(
    path: str, frame: Frame = OWN_SIZE, rule: SplitRule = split_rules.by_key, *, image: str = "", label: str = ""
) -> Dataset:
    """The arrays of an .npy or .npz, or of a folder with one of them for each split, such as train.npz.

    uint8 [n, h, w] and [n, h, w, c] are images, as levels 0 … 255 (or of `levels`, an array of the .npz); floats
    [n, …] are real numbers of any shape, for `data.form=real`. `image` and `label` name the arrays of an .npz, by
    default one of `IMAGE_NAMES` and of `LABEL_NAMES`; `class_names` names the classes, `split` the split of each
    example, and every other array of n rows is a feature. Else the `rule` splits the examples by their row numbers.

    Raises `UserError`, naming file and array, for another rank or type, and for arrays that do not fit each other.
    """
    location = f"array:{path}"
    root = Path(path).expanduser()
    files = _split_files(root) if root.is_dir() else {"": root}
    contents = [_examples(file, image, label) for file in files.values()]
    forms = [_form(examples.images, f"array:{file}") for examples, file in zip(contents, files.values(), strict=True)]
    if len(set(forms)) > 1:
        shapes = ", ".join(f"{name} {form.shape}" for name, form in zip(files, forms, strict=True))
        raise UserError(f"{location}: the splits differ in shape or type: {shapes}; store all alike")
    counts = [len(examples.images) for examples in contents]
    framing = _framing(forms[0], frame, contents[0].levels, sum(counts), location)
    shape = forms[0].shape if framing is None else (*framing.size, forms[0].shape[2])
    columns = _joined([examples.columns for examples in contents], location)
    named = [name for name, count in zip(files, counts, strict=True) for _ in range(count)] if "" not in files else None
    splits = named or take_splits(columns, location)
    classes = take_classes(columns, label, location, contents[0].class_names)
    labels = classes.labels if classes else np.zeros(sum(counts), np.int32)
    names = classes.names if classes else ()
    arrays = tuple(examples.images for examples in contents)
    starts = np.cumsum([0, *counts])
    fetch = partial(_fetch, arrays, starts, labels, contents[0].levels, location)
    keys = [f"{name}{row}".encode() for name, count in zip(files, counts, strict=True) for row in range(count)]
    stored = _stored(columns, framing)
    features = stored_features(stored, location)
    divided = divide(Rows(keys, labels, splits, fetch, features_reader(stored), framing), rule, location)
    notes = caption_notes(location, empty_texts(columns), sum(counts))
    if framing is not None:
        notes = (*describe_scaling(location, framing, _sizes(forms[0], sum(counts))), *notes)
    levels = contents[0].levels
    dataset = Dataset(location, shape, len(names), names, levels, divided, features=features, notes=notes)
    return replace(dataset, real=forms[0].real, framing=framing, encoded=False)


def _split_files(folder: Path) -> dict[str, Path]:
    """The file of each split, by its name."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and file.stem in SPLIT_WORDS)
    names = [SPLIT_WORDS[file.stem] for file in files]
    if "train" not in names or len(set(names)) < len(names):
        have = ", ".join(file.name for file in files) or "none"
        raise UserError(f"array:{folder}: expected one file for each split, train.npz and so on, got {have}")
    return dict(zip(names, files, strict=True))


def _examples(path: Path, image: str, label: str) -> _Examples:
    """The images of a file and the columns beside them, the classes under the name `label`."""
    location = f"array:{path}"
    arrays = dict(read_arrays(path))
    image = _image_name(arrays, image, location)
    images = arrays.pop(image)
    count = len(images) if images.ndim else 0
    if not count:
        raise UserError(f"{location}: {image!r} has no examples (its shape is {images.shape}); store some")
    names = tuple(str(name) for name in arrays.pop("class_names", np.empty(0)).tolist())
    levels = _levels(arrays.pop("levels", None), location)
    if not label:
        wanted = LABEL_NAMES if image == "arr_0" else LABEL_NAMES[:-1]
        label = next((name for name in wanted if name in arrays and _is_classes(arrays[name], count)), "")
        arrays = {"label" if name == label else name: array for name, array in arrays.items()}
    elif label in arrays and arrays[label].shape != (count,):
        problem = f"{label!r} has shape {arrays[label].shape}, and there are {count:,} examples"
        raise UserError(f"{location}: {problem}; store one class for each")
    columns = {name: _column(array) for name, array in arrays.items() if array.ndim and len(array) == count}
    return _Examples(images, columns, names, levels)


def _image_name(arrays: Mapping[str, Array], image: str, location: str) -> str:
    have = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "none"
    if image:
        if image not in arrays:
            raise UserError(f"data.image: {location} has no array {image!r}; it has: {have}")
        return image
    name = next((name for name in IMAGE_NAMES if name in arrays), None)
    if name is None and len(arrays) == 1:
        name = next(iter(arrays))
    if name is None:
        raise UserError(f"{location}: none of its arrays is called {' or '.join(IMAGE_NAMES)} ({have}); set data.image")
    return name


def _form(images: Array, location: str) -> _Form:
    """The shape and kind of an example."""
    shape = tuple(int(size) for size in images.shape[1:])
    if not shape or 0 in shape:
        problem = f"expected [examples, height, width], or more axes, got {images.shape}"
        raise UserError(f"{location}: {problem}; store one example in each row of at least two axes")
    if images.dtype == np.uint8:
        return _Form((*shape, 1) if len(shape) == 2 else shape, real=False)
    if images.dtype.kind != "f":
        problem = f"expected uint8 levels, or real numbers (float16, float32, float64), got {images.dtype}"
        raise UserError(f"{location}: {problem}; convert it by astype")
    return _Form(shape, real=True)


def _framing(form: _Form, frame: Frame, levels: int, count: int, location: str) -> Framing | None:
    """How images are brought to a size; None where they have it, or where it is not set."""
    if frame.size is None or (form.shape[:2] == frame.size and not frame.fit.random):
        return None
    if form.real or len(form.shape) != 3 or form.shape[2] not in MODES:
        kind = "real numbers" if form.real else "arrays"
        raise UserError(
            f"image_size: {location} holds {kind} of shape {form.shape}, which are not scaled; leave it out"
        )
    pictures = PictureSizes(_sizes(form, count), lambda number: f"row {number}")
    return frame_pictures(frame, pictures, location, levels)


def _sizes(form: _Form, count: int) -> Integer[np.ndarray, "n 2"]:
    """The height and width of every image, which are all equal."""
    return np.broadcast_to(np.array(form.shape[:2]), (count, 2))


def _stored(columns: dict[str, Column], framing: Framing | None) -> Stored:
    """The columns; those of pictures, such as sketches, are brought to a size as their images are."""
    if framing is None:
        return Stored(columns, {})
    is_picture = {name: column.dtype == np.uint8 and column.ndim == 4 for name, column in columns.items()}
    pictures = {name: array_column(column, framing) for name, column in columns.items() if is_picture[name]}
    return Stored({name: column for name, column in columns.items() if not is_picture[name]}, pictures)


def _levels(array: Array | None, location: str) -> int:
    levels = 256 if array is None or array.ndim or array.dtype.kind not in "iu" else int(array)
    if not 2 <= levels <= 256:
        raise UserError(f"{location}: 'levels': expected 2 … 256, got {levels}; give how many values a pixel may take")
    return levels


def _is_classes(array: Array, count: int) -> bool:
    return array.shape == (count,) and array.dtype.kind in "biuUS"


def _column(array: Array) -> Column:
    """An array as a column, texts as objects."""
    if array.dtype.kind == "S":
        return text_column([text.decode(errors="replace") for text in array.tolist()])
    if array.dtype == np.uint8 and array.ndim == 3:
        return array[..., None]  # pictures, as of the images
    return text_column(array.tolist()) if array.dtype.kind == "U" and array.ndim == 1 else array


def _joined(columns: Sequence[dict[str, Column]], location: str) -> dict[str, Column]:
    """The columns of all files, one after the other; those of one file as they are."""
    if len(columns) == 1:
        return columns[0]
    names = {frozenset(names) for names in columns}
    if len(names) > 1:
        differing = sorted(set.union(*map(set, names)) - set.intersection(*map(set, names)))
        raise UserError(
            f"{location}: {', '.join(differing)} is not in the files of all splits; store it in all or none"
        )
    return {name: np.concatenate([table[name] for table in columns]) for name in columns[0]}


def _fetch(
    arrays: Sequence[Array],
    starts: Integer[np.ndarray, " _"],
    labels: Integer[np.ndarray, " n"],
    levels: int,
    location: str,
    index: int,
) -> tuple[Callable[..., Array], int]:
    file = int(np.searchsorted(starts, index, "right")) - 1
    return partial(_read, arrays[file], index - int(starts[file]), levels, location), int(labels[index])


def _read(array: Array, row: int, levels: int, location: str, place: Place | None = None) -> Array:
    """One example, brought to a size. Raises `UserError` for numbers that no example may have."""
    if array.dtype != np.uint8:
        numbers = np.array(array[row], np.float32)
        if not np.isfinite(numbers).all():
            raise UserError(
                f"{location}: row {row} holds numbers that are not finite; correct or leave out the example"
            )
        return numbers
    pixels = np.array(array[row])
    if levels < 256 and pixels.max() >= levels:
        raise UserError(f"{location}: row {row} holds {pixels.max()}, and there are {levels} levels; correct 'levels'")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return pixels if place is None else place_pixels(pixels, place, f"{location}: row {row}")
