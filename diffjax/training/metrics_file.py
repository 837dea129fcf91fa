"""metrics.jsonl: one JSON object a line, `{"step": 100, "loss": 0.5}`, and how to read one that has been damaged.

JSON has no number that is not finite: such a value is one of the strings "NaN", "Infinity" and "-Infinity".
"""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from diffjax.errors import UserError, warn
from diffjax.utils.files import describe_error

NAME = "metrics.jsonl"
_WORDS = frozenset(("NaN", "Infinity", "-Infinity"))
_MAX_STEP = 2**63  # a step that is larger is no step


class MetricsRow(NamedTuple):
    """What was told of one step: a name and a number each."""

    step: int
    values: dict[str, float]


def format_line(step: int, values: Mapping[str, float]) -> bytes:
    """One line of the file, its end included."""
    finite_values = {name: value if isfinite(value) else json.dumps(value) for name, value in values.items()}
    return json.dumps({"step": step, **finite_values}, allow_nan=False).encode() + b"\n"


def read(path: Path) -> list[MetricsRow]:
    """The readings of a file, one for each step, none where there is no file.

    What was told of a step several times is joined, the last of each value. Where the steps of the file fall the run
    has gone back, and what it had told beyond is forgotten. Lines that cannot be read are left out, and one line on
    stderr says how many. Raises UserError where the file itself cannot be read.
    """
    try:
        lines = [text for text in path.read_bytes().split(b"\n") if text] if path.exists() else []
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({describe_error(error)}); move it away") from None
    rows = [_parse_line(text) for text in lines]
    damaged = rows.count(None)
    if damaged:
        message = f"{damaged} of {len(lines)} lines cannot be read and are left out"
        warn(f"{path} is damaged: {message}")
    return _merge([reading for reading in rows if reading is not None])


def _merge(readings: list[MetricsRow]) -> list[MetricsRow]:
    merged: list[MetricsRow] = []
    for step, values in readings:
        while merged and merged[-1].step > step:
            merged.pop()
        if merged and merged[-1].step == step:
            merged[-1].values.update(values)
        else:
            merged.append(MetricsRow(step, values))
    return merged


def _parse_line(text: bytes) -> MetricsRow | None:
    """What a line says; None where it is not as `line` writes it."""
    try:
        values: Any = json.loads(text.decode(), parse_constant=_reject_word)
        step = values.pop("step")
        if type(step) is not int or not 0 <= step < _MAX_STEP:
            return None
        return MetricsRow(step, {name: _number(value) for name, value in values.items()})
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _number(value: Any) -> float:
    number = float(value)
    if value not in _WORDS and not (type(value) in (int, float) and isfinite(number)):
        raise ValueError(value)
    return number


def _reject_word(word: str) -> float:
    raise ValueError(word)
