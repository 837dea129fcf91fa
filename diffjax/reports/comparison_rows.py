"""The rows of a sweep as files: one for each setting, so that what is at hand is not drawn again."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from diffjax.errors import UserError
from diffjax.evaluation.jackknife import Replicates
from diffjax.evaluation.paired import Measured
from diffjax.reports.json_report import finite
from diffjax.utils.files import is_plain, write_whole

FORMAT = 1  # that changes where measures do: rows of another are not at hand
LARGEST = 2**24  # bytes of a row that are read
TEXTS = ("key", "name", "features", "ideal", "form")
FORM = re.compile(r"\+?\.\d[efg%]")


@dataclass(frozen=True)
class Swept:
    """What samples of one setting got, and what they cost."""

    settings: Mapping[str, Any]
    evaluations: int  # of the net per sample
    seconds: float  # of drawing them all, compilation included
    scores: Sequence[Measured]


def row_file(folder: str | Path, about: Mapping[str, Any], settings: Mapping[str, Any]) -> Path:
    """The file of a row: its name changes with anything that its numbers depend on."""
    return Path(folder) / f"{hashlib.sha256(_text(about, settings).encode()).hexdigest()[:16]}.json"


def write_row(folder: str | Path, about: Mapping[str, Any], row: Swept) -> Path:
    """Writes the row into its file, whole or not at all."""
    path = row_file(folder, about, row.settings)
    scores = [
        {**vars(score), "found": _replicated(score.found), "real": _replicated(score.real)} for score in row.scores
    ]
    told = {
        "of": _text(about, row.settings),
        "evaluations": row.evaluations,
        "seconds": row.seconds,
        "scores": scores,
    }
    text = json.dumps(finite(told), indent=1, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))
    return path


def read_row(folder: str | Path, about: Mapping[str, Any], settings: Mapping[str, Any]) -> Swept | None:
    """The row of those settings as it was written, bit for bit; None where there is none.

    Raises UserError for a file that is damaged, or of something else.
    """
    path = row_file(folder, about, settings)
    try:
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise ValueError("no file, or too large")
        told = json.loads(path.read_text())
        scores = [_score(given) for given in told["scores"]]
        if told["of"] != _text(about, settings) or type(told["evaluations"]) is not int or not scores:
            raise ValueError("of something else")
        return Swept(dict(settings), told["evaluations"], _number(told["seconds"]), scores)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: cannot be read as a row of a sweep") from None


def _text(about: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """All that a row's numbers depend on."""
    return json.dumps({"format": FORMAT, "about": {**about}, "settings": {**settings}}, sort_keys=True)


def _replicated(found: Replicates) -> dict[str, Any]:
    return {"value": found.value, "samples": found.samples.tolist(), "reference": found.reference.tolist()}


def _score(given: dict[str, Any]) -> Measured:
    texts = {name: given[name] for name in TEXTS}
    sound = all(isinstance(text, str) and is_plain(text) for text in texts.values())
    if not sound or not FORM.fullmatch(texts["form"]) or type(given["share"]) is not bool:
        raise ValueError("no measure")
    found, real = (_replicates(given[side]) for side in ("found", "real"))
    return Measured(**texts, found=found, real=real, share=given["share"])


def _replicates(given: dict[str, Any]) -> Replicates:
    return Replicates(_number(given["value"]), _numbers(given["samples"]), _numbers(given["reference"]))


def _number(given: Any) -> float:
    """The number; null stands for one that is not finite."""
    if given is None:
        return nan
    if type(given) not in (int, float) or not isfinite(given):
        raise ValueError(given)
    return float(given)


def _numbers(given: list[Any]) -> Float64[np.ndarray, " _"]:
    return np.array([_number(each) for each in given], np.float64)
