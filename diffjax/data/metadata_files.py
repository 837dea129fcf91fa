"""Captions and further columns of a folder's pictures: metadata.jsonl or metadata.csv, and a .txt beside a picture."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from diffjax.data.columns import TEXT, Column, describe_first, empty_texts, parsed_column, typed_column
from diffjax.data.division import SPLIT_WORDS
from diffjax.errors import UserError
from diffjax.utils.files import describe_error, is_single_line

JSONL = "metadata.jsonl"
CSV = "metadata.csv"
FILE_NAME = "file_name"
PART_SUFFIX = "_file_name"  # of a column that names further pictures, such as sketch_file_name
MAX_CAPTION_BYTES = 2**16  # of a .txt beside a picture
_MAX_LINE = 2**22  # characters of a line of metadata


class Row(NamedTuple):
    """A row of metadata: its file, the number of its line, and its values."""

    source: Path
    line: int
    values: Mapping[str, object]


def metadata_rows(root: Path) -> list[Row]:
    """All rows of the metadata, with names of files relative to the root; none without a file of metadata.

    It lies in the folder itself, or in each of its split folders, and names files relative to where it lies. Raises
    `UserError`, naming file and line, for what cannot be read, for two files of metadata, and for rows without a
    picture.
    """
    folders = ("", *SPLIT_WORDS)
    sources = [path for folder in folders for name in (JSONL, CSV) if (path := root / folder / name).is_file()]
    _check_sources(root, sources)
    return [_resolved(root, row) for source in sources for row in _read(source)]


def part_files(rows: Sequence[Row]) -> dict[str, set[str]]:
    """The files that columns such as `sketch_file_name` name, by the name of the part, such as `sketch`."""
    names = {name for row in rows for name in row.values if name.endswith(PART_SUFFIX)}
    return {name.removesuffix(PART_SUFFIX): {str(row.values.get(name, "")) for row in rows} for name in names}


def metadata_columns(
    root: Path, files: Sequence[Path], rows: Sequence[Row], left_out: Sequence[Path] = ()
) -> dict[str, Column]:
    """The columns of the metadata, in the order of the files; files without a row have no text.

    Rows of pictures that are `left_out` are not used.
    Raises `UserError`, naming file and column, for rows of missing or repeated pictures, pictures without a row where
    there are further columns, and columns of mixed types.
    """
    if not rows:
        return {}
    numbers = {file.as_posix(): i for i, file in enumerate(files)}
    placed: dict[int, Row] = {}
    unused = {file.as_posix() for file in left_out}
    missing: list[str] = []
    for row in rows:
        name = str(row.values[FILE_NAME])
        if name in unused:
            continue
        if name not in numbers:
            missing.append(name)
        elif numbers[name] in placed:
            other = placed[numbers[name]]
            problem = f"{name} has two rows, the other in line {other.line} of {other.source.relative_to(root)}"
            raise UserError(f"{row.source}: line {row.line}: {problem}; keep one caption for a picture")
        else:
            placed[numbers[name]] = row
    if missing:
        problem = f"names {len(missing):,} missing picture(s): {describe_first(missing)}"
        raise UserError(f"{rows[0].source}: {FILE_NAME}: {problem}; add them, or take their rows out")
    return _ordered_columns(rows[0].source, files, placed)


def caption_files(root: Path, files: Sequence[Path]) -> list[Path | None] | None:
    """The .txt beside each picture; None if no picture has one."""
    texts = [root / file.with_suffix(".txt") for file in files]
    present = [path if path.is_file() else None for path in texts]
    return present if any(present) else None


def read_caption(path: Path | None) -> str:
    """The caption of a .txt; empty without one. Raises `UserError` for a file that is too long or not UTF-8."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CAPTION_BYTES + 1)
        if len(data) > MAX_CAPTION_BYTES:
            raise UserError(f"{path}: over {MAX_CAPTION_BYTES:,} bytes of caption; shorten it")
        return " ".join(data.decode("utf-8-sig").split())
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({describe_error(error)}); replace it") from None


def _check_sources(root: Path, sources: Sequence[Path]) -> None:
    """Raises `UserError` for two files of metadata in one folder, or above and in split folders."""
    names = [str(source.relative_to(root)) for source in sources]
    folders = [source.parent for source in sources]
    if len(set(folders)) < len(folders) or (root in folders and len(folders) > 1):
        raise UserError(f"folder:{root}: has metadata twice, {names[0]} and {names[1]}; keep one of them")


def _read(source: Path) -> Iterator[Row]:
    """The rows of a file of metadata, each with the number of its line."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            yield from (_read_jsonl(source, file) if source.name == JSONL else _read_csv(source, file))
    except UnicodeDecodeError:
        raise UserError(f"{source}: is not UTF-8 text; save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"{source}: cannot be read ({describe_error(error)}); correct it") from None


def _read_jsonl(source: Path, lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line) if len(line) <= _MAX_LINE else None
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise UserError(f"{source}: line {number} is not an object of JSON; write one such object on each line")
        yield Row(source, number, values)


def _read_csv(source: Path, lines: Iterator[str]) -> Iterator[Row]:
    reader = csv.DictReader(lines, strict=True)
    for values in reader:
        if None in values or None in values.values():
            problem = f"has not as many cells as the {len(reader.fieldnames or ())} columns"
            raise UserError(f"{source}: line {reader.line_num} {problem}; put texts with commas in quotation marks")
        yield Row(source, reader.line_num, dict(values))


def _resolved(root: Path, row: Row) -> Row:
    """The row with names of files relative to the root."""
    if not row.values.get(FILE_NAME):
        have = ", ".join(map(str, row.values)) or "nothing"
        problem = f"line {row.line} has no {FILE_NAME} (it has {have[:120]})"
        raise UserError(f"{row.source}: {problem}; name the picture in a column {FILE_NAME}")
    folder = row.source.relative_to(root).parent.as_posix()
    values = dict(row.values)
    for name in values:
        if name == FILE_NAME or name.endswith(PART_SUFFIX):
            text = str(values[name])
            path = PurePosixPath(folder, text)
            if path.is_absolute() or ".." in path.parts or not is_single_line(text):
                problem = f"{name} {text[:120]!r} is no path below it"
                raise UserError(f"{row.source}: line {row.line}: {problem}; correct it")
            values[name] = path.as_posix()
    return row._replace(values=values)


def _ordered_columns(source: Path, files: Sequence[Path], rows: Mapping[int, Row]) -> dict[str, Column]:
    """The columns in the order of the files, by whose numbers the rows go."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row.values if name != FILE_NAME))
    unlisted = [file.as_posix() for i, file in enumerate(files) if i not in rows]
    if unlisted and (further := [name for name in names if name != TEXT]):
        problem = f"has no row for {len(unlisted):,} picture(s) ({describe_first(unlisted)}), so no {further[0]!r}"
        raise UserError(f"{source}: {problem}; add their rows, or take them away")

    def place(index: int) -> str:
        return f"{rows[index].source} line {rows[index].line}" if index in rows else str(source)

    columns = {}
    for name in names:
        values = [rows[i].values.get(name) if i in rows else None for i in range(len(files))]
        if source.name == CSV:
            columns[name] = parsed_column(name, [value if isinstance(value, str) else "" for value in values], place)
        else:
            columns[name] = typed_column(name, values, place)
    return columns


def empty_captions(columns: Mapping[str, Column], captions: Sequence[Path | None] | None) -> int:
    """The number of pictures without a caption, or with an empty one, of those that have captions at all."""
    if captions is not None:
        return sum(path is None or not path.stat().st_size for path in captions)
    return empty_texts(columns)
