"""What a source stores beside images and classes: columns, captions in files of their own, and further pictures."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from diffjax.data.columns import CAPTION, TEXT, Column, Record, column_feature
from diffjax.data.examples import Feature
from diffjax.data.part_pictures import PictureColumn
from diffjax.data.splits import ReadFeatures
from diffjax.errors import UserError
from diffjax.utils.image_fit import Place


class Stored(NamedTuple):
    """Columns, pictures, and what reads the caption of a row from its file, if captions have files."""

    columns: Mapping[str, Column]
    pictures: Mapping[str, PictureColumn]
    read_caption: Callable[[int], str] | None = None


def stored_features(stored: Stored, location: str) -> dict[str, Feature]:
    """What is stored, by name. Raises `UserError` for two captions, and for a column and a picture of one name."""
    if stored.read_caption is not None and TEXT in stored.columns:
        problem = f"two captions, in a file .txt and in the column or field {TEXT!r}"
        raise UserError(f"{location}: {problem}; keep one of them")
    twice = next((name for name in stored.pictures if name in stored.columns), None)
    if twice is not None:
        raise UserError(f"{location}: {twice!r} is a column, and a picture beside it; rename one")
    columns = {name: column_feature(column) for name, column in stored.columns.items()}
    pictures = {name: column.feature for name, column in stored.pictures.items()}
    return {**columns, **pictures, **({} if stored.read_caption is None else {TEXT: CAPTION})}


def features_reader(stored: Stored) -> ReadFeatures | None:
    """The features of an example by its row; None where nothing is stored."""
    return partial(_read, stored) if any(stored) else None


def _read(stored: Stored, row: int, place: Place | None) -> Record:
    readers: dict[str, Callable[[], object]] = {
        **{name: partial(_cell, column, row) for name, column in stored.columns.items()},
        **{name: column.reader(row, place) for name, column in stored.pictures.items()},
    }
    if stored.read_caption is not None:
        readers[TEXT] = partial(stored.read_caption, row)
    return Record(readers)


def _cell(column: Column, row: int) -> object:
    return column[row]
