"""metrics.jsonl: one JSON object per line, `{"step": 100, "loss": 0.5}`; damaged lines are skipped.

Values that are not finite are the strings "NaN", "Infinity" and "-Infinity".
"""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from diffjax.errors import UserError, warn
from diffjax.utils.files import describe_error

NAME = "metrics.jsonl"
_WORDS = frozenset(("NaN", "Infinity", "-Infinity"))
_MAX_STEP = 2**63


class MetricsRow(NamedTuple):
    """The metrics of one step."""

    step: int
    values: dict[str, float]


def format_line(step: int, values: Mapping[str, float]) -> bytes:
    """One line of the file with its newline."""
    finite_values = {name: value if isfinite(value) else json.dumps(value) for name, value in values.items()}
    return json.dumps({"step": step, **finite_values}, allow_nan=False).encode() + b"\n"


def read(path: Path) -> list[MetricsRow]:
    """The rows of a file, one for each step; none where there is no file.

    Rows of the same step are merged, the last value of each metric. Where steps fall the run has rewound, and rows
    beyond are dropped. Damaged lines are left out, and a warning has their number. Raises UserError where the file
    itself cannot be read.
    """
    try:
        lines = [text for text in path.read_bytes().split(b"\n") if text] if path.exists() else []
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({describe_error(error)}); move it away") from None
    rows = [_parse_line(text) for text in lines]
    if damaged := rows.count(None):
        warn(f"{path} is damaged: {damaged} of {len(lines)} lines cannot be read and are left out")
    return _merge([row for row in rows if row is not None])


def _merge(rows: list[MetricsRow]) -> list[MetricsRow]:
    merged: list[MetricsRow] = []
    for step, values in rows:
        while merged and merged[-1].step > step:
            merged.pop()
        if merged and merged[-1].step == step:
            merged[-1].values.update(values)
        else:
            merged.append(MetricsRow(step, values))
    return merged


def _parse_line(text: bytes) -> MetricsRow | None:
    """The row of a line; None where `format_line` cannot have written it."""
    try:
        values = json.loads(text.decode(), parse_constant=_reject_word)
        step = values.pop("step")
        if type(step) is not int or not 0 <= step < _MAX_STEP:
            return None
        return MetricsRow(step, {name: _number(value) for name, value in values.items()})
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _number(value: str | float) -> float:
    number = float(value)
    if value not in _WORDS and not (type(value) in (int, float) and isfinite(number)):
        raise ValueError(value)
    return number


def _reject_word(word: str) -> float:
    raise ValueError(word)
