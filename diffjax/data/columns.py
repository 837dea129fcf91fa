"""Columns of metadata beside the pictures: numbers, texts and categories, each of one kind throughout."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, Shaped

from diffjax.data.class_names import MAX_CLASSES, check_class_names
from diffjax.data.examples import Feature
from diffjax.errors import UserError

MAX_CATEGORIES = 1_000  # of a column that may be a category
TEXT = "text"  # the column of captions
FIRST_SHOWN = 3  # items of a list that a message repeats
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOTHING = "nothing"

CAPTION = Feature((), np.dtype(object), text=True, optional=True)
Column = Shaped[np.ndarray, "_ ..."]  # numbers [n, ...], or texts [n] of dtype object
Place = Callable[[int], str]  # row -> where it was read, for messages


@dataclass(frozen=True)
class Record(Mapping[str, object]):
    """The features of one example, each read when it is asked for."""

    readers: Mapping[str, Callable[[], object]]

    def __getitem__(self, name: str) -> object:
        return self.readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.readers)

    def __len__(self) -> int:
        return len(self.readers)


class Classes(NamedTuple):
    """The names of classes, and the class of each row."""

    names: tuple[str, ...]
    labels: Integer[np.ndarray, " n"]


def typed_column(name: str, values: Sequence[object], place: Place) -> Column:
    """Values of JSON as one array: all numbers, all lists of as many numbers, or all texts; no text is empty text.

    Raises `UserError` with the place of the first value that is of another kind than those before it.
    """
    first: dict[str, int] = {}
    for row, value in enumerate(values):
        first.setdefault(_describe_kind(value), row)
    if name == TEXT or set(first) <= {"a text", _NOTHING}:
        other = next((row for kind, row in first.items() if kind not in ("a text", _NOTHING)), None)
        if other is not None:
            problem = f"expected a text, got {_describe_kind(values[other])} ({values[other]!r:.40})"
            raise UserError(f"{place(other)}: {name!r}: {problem}; write it in quotation marks")
        return text_column(["" if value is None else str(value) for value in values])
    if len(first) > 1:
        (kind, row), (other, other_row) = list(first.items())[:2]
        problem = f"{name!r} is {other} ({values[other_row]!r:.40}), and {kind} ({values[row]!r:.40}) at {place(row)}"
        raise UserError(f"{place(other_row)}: {problem}; write one kind in the whole column")
    return _numbers(name, values, place)


def parsed_column(name: str, texts: Sequence[str], place: Place) -> Column:
    """Texts of a CSV file as one array: of numbers if all are, except for captions. Raises as `typed_column` does."""
    if name == TEXT:
        return text_column(texts)
    values = [_parse(text) for text in texts]
    if all(value is None or isinstance(value, str) for value in values):
        return text_column(texts)
    return typed_column(name, values, place)


def text_column(texts: Sequence[str]) -> Column:
    """Texts as an array of objects."""
    column = np.empty(len(texts), object)
    column[:] = texts
    return column


def column_feature(column: Column) -> Feature:
    """What a column holds; few texts, and few integers 0, 1, …, may be categories; uint8 [n, h, w, c] are pictures."""
    if column.dtype == object:
        distinct = set(column.tolist()) - {""}
        names = tuple(sorted(distinct)) if len(distinct) <= MAX_CATEGORIES else ()
        return Feature((), np.dtype(object), text=True, names=names, optional=True)
    if column.dtype == np.uint8 and column.ndim == 4:
        return Feature(column.shape[1:], column.dtype, picture=True)
    few = column.ndim == 1 and column.dtype.kind in "biu" and 0 <= int(column.min()) <= int(column.max())
    count = int(column.max()) + 1 if few else 0
    names = tuple(map(str, range(count))) if count <= MAX_CATEGORIES else ()
    return Feature(column.shape[1:], column.dtype, names=names)


def column_classes(column: Column, location: str, names: Sequence[str] = ()) -> Classes:
    """A column as classes: texts in their sorted order, or integers 0, 1, … that `names` name.

    Raises `UserError` for an empty text, for numbers that are no classes, and for too many of them.
    """
    if column.dtype == object:
        if "" in set(column.tolist()):
            row = column.tolist().index("")
            raise UserError(f"{location}: row {row + 1} has no class; write one in every row, or use no classes")
        distinct, labels = np.unique(column.astype(str), return_inverse=True)
        names = tuple(map(str, distinct))
        labels = labels.astype(np.int32)
    else:
        if column.ndim != 1 or column.dtype.kind not in "biu" or (len(column) and int(column.min()) < 0):
            problem = f"expected a text or an integer of at least 0 for each example, got {column.dtype} {column.shape}"
            raise UserError(f"{location}: {problem}; name another column in data.label")
        count = int(column.max()) + 1
        if names and count > len(names):
            raise UserError(f"{location}: holds class {count - 1}, and only {len(names)} classes have names")
        if count > MAX_CLASSES:
            raise UserError(f"{location}: expected at most {MAX_CLASSES:,} classes, got {count - 1}")
        names = tuple(names) or tuple(map(str, range(count)))
        labels = column.astype(np.int32)
    check_class_names(names, location)
    return Classes(names, labels)


def caption_notes(location: str, empty: int, count: int) -> tuple[str, ...]:
    """A line for the user where captions are empty or missing; none where every example has one."""
    if not empty:
        return ()
    have = "has" if empty == 1 else "have"
    return (
        f"{location}: {empty:,} of {count:,} examples {have} no caption: as a part of a condition it is null there",
    )


def empty_texts(columns: Mapping[str, Column]) -> int:
    """The number of empty captions in the column `text`; 0 where there is no such column of texts."""
    column = columns.get(TEXT)
    return 0 if column is None or column.dtype != object else sum(not str(text).strip() for text in column)


def describe_first(items: Sequence[str]) -> str:
    """The first three items of a list, as text."""
    return ", ".join(items[:FIRST_SHOWN]) + ", …" * (len(items) > FIRST_SHOWN)


def _numbers(name: str, values: Sequence[object], place: Place) -> Column:
    """Numbers, or lists of numbers, as one array."""
    shapes = [np.shape(value) if isinstance(value, list) else () for value in values]  # pyright: ignore[reportCallIssue, reportArgumentType]
    other = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is not None:
        problem = f"{name!r} has {len(np.atleast_1d(shapes[other]))} axes of {shapes[other]}, and {shapes[0]} before"
        raise UserError(f"{place(other)}: {problem}; write lists of one length")
    try:
        column = np.array(values)
    except (ValueError, OverflowError):
        column = np.empty(0, object)
    if column.dtype.kind not in "biuf":
        raise UserError(f"{place(0)}: {name!r} is no number and no list of numbers; write one, or leave it out")
    return column


def _describe_kind(value: object) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"


def _parse(text: str) -> int | float | str | None:
    """A number where the text is one; None where there is no text."""
    plain = text.strip()
    if not plain:
        return None
    if not _NUMBER.fullmatch(plain):
        return text
    return int(plain) if plain.lstrip("+-").isdecimal() else float(plain)
