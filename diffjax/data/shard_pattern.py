"""The files of a pattern such as `train-{000..009}.tar`."""

import re
from pathlib import Path

from diffjax.data.columns import describe_first
from diffjax.errors import UserError

MAX_SHARDS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")


def expand_pattern(pattern: str) -> list[Path]:
    """The files of a pattern with `{000..009}`, `{a,b}`, `*` and `?`. Raises `UserError` for none, or missing ones."""
    paths: list[Path] = []
    missing: list[str] = []
    for text in _expand_braces(pattern):
        path = Path(text).expanduser()
        files = [file for file in sorted(path.parent.glob(path.name)) if file.is_file()]
        paths += files
        missing += [] if files else [text]
    if missing or not paths:
        problem = f"{len(missing):,} shard(s) are missing: {describe_first(missing)}"
        raise UserError(f"shards:{pattern[:200]}: {problem}; give tar files, such as train-{{000..009}}.tar")
    return paths


def _expand_braces(pattern: str) -> list[str]:
    """The texts that a pattern with ranges and lists in braces stands for, in their order."""
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    numbers = _RANGE.fullmatch(braces[1])
    inner = _numbers(numbers[1], numbers[2]) if numbers else braces[1].split(",")
    rest = _expand_braces(pattern[braces.end() :])
    if len(inner) * len(rest) > MAX_SHARDS:
        raise UserError(f"shards:{pattern[:200]}: expected at most {MAX_SHARDS:,} shards; give fewer")
    return [f"{pattern[: braces.start()]}{text}{after}" for text in inner for after in rest]


def _numbers(first: str, last: str) -> list[str]:
    """The numbers of a range, with the leading zeros of its first."""
    count = min(int(last) - int(first) + 1, MAX_SHARDS + 1)
    return [str(int(first) + i).zfill(len(first)) for i in range(max(count, 0))]
