"""Captions and further columns of a folder's pictures: metadata.jsonl or metadata.csv, and a .txt beside a picture."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from diffjax.data.columns import TEXT, Column, describe_first, empty_texts, parsed_column, typed_column
from diffjax.errors import UserError
from diffjax.utils.files import describe_error, is_single_line

JSONL = "metadata.jsonl"
CSV = "metadata.csv"
FILE_NAME = "file_name"
MAX_CAPTION_BYTES = 2**16  # of a .txt beside a picture
_MAX_LINE = 2**22  # characters of a line of metadata

Row = tuple[int, dict[str, object]]  # number of its line, values
Makers = Callable[[str, Sequence[object], Callable[[int], str]], Column]


def metadata_columns(root: Path, files: Sequence[Path], folders: Sequence[str]) -> dict[str, Column]:
    """The columns of the metadata, in the order of the files; none without a file of metadata.

    It lies in the folder itself, or in each of the split `folders`, and names files relative to where it lies. Files
    that it does not list have no text. Raises `UserError`, naming file and column, for what cannot be read, two files
    of metadata, rows of missing or repeated pictures, and columns of mixed types.
    """
    sources = [path for folder in ("", *folders) for name in (JSONL, CSV) if (path := root / folder / name).is_file()]
    if not sources:
        return {}
    _check_sources(root, sources)
    rows = [(source, line, values) for source in sources for line, values in _read(source)]
    numbers = {file.as_posix(): i for i, file in enumerate(files)}
    located: dict[int, tuple[Path, int, dict[str, object]]] = {}
    missing: list[str] = []
    for source, line, values in rows:
        name = _picture_name(root, source, line, values)
        if name not in numbers:
            missing.append(name)
        elif numbers[name] in located:
            other = located[numbers[name]]
            problem = f"{name} has two rows, the other in line {other[1]} of {other[0].relative_to(root)}"
            raise UserError(f"{source}: line {line}: {problem}; keep one caption for a picture")
        else:
            located[numbers[name]] = (source, line, values)
    if missing:
        problem = f"names {len(missing):,} missing picture(s): {describe_first(missing)}"
        raise UserError(f"{sources[0]}: {FILE_NAME}: {problem}; add them, or take their rows out")
    return _ordered_columns(root, sources[0], files, located)


def caption_files(root: Path, files: Sequence[Path]) -> list[Path | None] | None:
    """The .txt beside each picture; None if no picture has one."""
    texts = [root / file.with_suffix(".txt") for file in files]
    located = [path if path.is_file() else None for path in texts]
    return located if any(located) else None


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
        yield number, values


def _read_csv(source: Path, lines: Iterator[str]) -> Iterator[Row]:
    reader = csv.DictReader(lines, strict=True)
    for values in reader:
        if None in values or None in values.values():
            problem = f"has not as many cells as the {len(reader.fieldnames or ())} columns"
            raise UserError(f"{source}: line {reader.line_num} {problem}; put texts with commas in quotation marks")
        yield reader.line_num, dict(values)


def _picture_name(root: Path, source: Path, line: int, values: Mapping[str, object]) -> str:
    """The path of a row's picture relative to the root."""
    name = values.get(FILE_NAME)
    if not isinstance(name, str) or not name:
        have = ", ".join(map(str, values)) or "nothing"
        problem = f"line {line} has no {FILE_NAME} (it has {have[:120]})"
        raise UserError(f"{source}: {problem}; name the picture in a column {FILE_NAME}")
    path = PurePosixPath(source.relative_to(root).parent.as_posix(), name)
    if path.is_absolute() or ".." in path.parts or not is_single_line(name):
        raise UserError(f"{source}: line {line}: {FILE_NAME} {name[:120]!r} is no path below it; correct it")
    return path.as_posix()


def _ordered_columns(
    root: Path, source: Path, files: Sequence[Path], located: Mapping[int, tuple[Path, int, dict[str, object]]]
) -> dict[str, Column]:
    """The columns in the order of the files."""
    names = list(dict.fromkeys(name for _, _, values in located.values() for name in values if name != FILE_NAME))
    unlisted = [file.as_posix() for i, file in enumerate(files) if i not in located]
    if unlisted and (further := [name for name in names if name != TEXT]):
        problem = f"has no row for {len(unlisted):,} picture(s) ({describe_first(unlisted)}), so no {further[0]!r}"
        raise UserError(f"{source}: {problem}; add their rows, or take them away")

    def place(index: int) -> str:
        of, line, _ = located.get(index, (source, 0, {}))
        return f"{of} line {line}"

    columns = {}
    for name in names:
        values = [located[i][2].get(name) if i in located else None for i in range(len(files))]
        parsed = [value if isinstance(value, str) else "" for value in values]
        is_csv = source.name == CSV
        columns[name] = parsed_column(name, parsed, place) if is_csv else typed_column(name, values, place)
    return columns


def empty_captions(columns: Mapping[str, Column], captions: Sequence[Path | None] | None) -> int:
    """The number of pictures without a caption, or with an empty one, of those that have captions at all."""
    if captions is not None:
        return sum(path is None or not path.stat().st_size for path in captions)
    return empty_texts(columns)
