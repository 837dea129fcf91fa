"""The rows of a sweep as files, one for each setting, so that existing rows are not drawn again."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from diffjax.errors import UserError
from diffjax.evaluation.jackknife import Replicates
from diffjax.evaluation.paired import Score
from diffjax.reports.json_report import replace_nonfinite
from diffjax.utils.files import is_single_line, write_atomically

FORMAT = 1  # changes with the measures: rows of another format are drawn again
MAX_BYTES = 2**24  # of a row
TEXT_FIELDS = ("key", "name", "features", "ideal", "form")
FORMAT_SPEC = re.compile(r"\+?\.\d[efg%]")


@dataclass(frozen=True)
class SweepRow:
    """Scores and cost of samples of one setting."""

    settings: Mapping[str, Any]
    evaluations: int  # NFE per sample
    seconds: float  # of sampling, compilation included
    scores: Sequence[Score]


def row_file(folder: str | Path, about: Mapping[str, object], settings: Mapping[str, object]) -> Path:
    """The file of a row, named by a hash of everything that its numbers depend on."""
    return Path(folder) / f"{hashlib.sha256(_row_identity(about, settings).encode()).hexdigest()[:16]}.json"


def write_row(folder: str | Path, about: Mapping[str, object], row: SweepRow) -> Path:
    """Writes the row into its file, atomically."""
    path = row_file(folder, about, row.settings)
    scores = [
        {
            **{name: vars(score)[name] for name in TEXT_FIELDS},
            "share": score.share,
            "found": _replicates_document(score.samples),
            "real": _replicates_document(score.real),
        }
        for score in row.scores
    ]
    document = {
        "of": _row_identity(about, row.settings),
        "evaluations": row.evaluations,
        "seconds": row.seconds,
        "scores": scores,
    }
    text = json.dumps(replace_nonfinite(document), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def read_row(folder: str | Path, about: Mapping[str, object], settings: Mapping[str, object]) -> SweepRow | None:
    """The row of those settings, equal bit for bit to the one written; None if there is none.

    Raises UserError, naming the file, if it is damaged or belongs to other settings.
    """
    path = row_file(folder, about, settings)
    try:
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise ValueError("no file, or too large")
        document = json.loads(path.read_text())
        scores = [_parse_score(score_document) for score_document in document["scores"]]
        if document["of"] != _row_identity(about, settings) or type(document["evaluations"]) is not int or not scores:
            raise ValueError("of something else")
        return SweepRow(dict(settings), document["evaluations"], _parse_number(document["seconds"]), scores)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: cannot be read as a row of a sweep") from None


def _row_identity(about: Mapping[str, object], settings: Mapping[str, object]) -> str:
    """Everything that a row's numbers depend on."""
    return json.dumps({"format": FORMAT, "about": {**about}, "settings": {**settings}}, sort_keys=True)


def _replicates_document(replicates: Replicates) -> dict[str, object]:
    return {
        "value": replicates.value,
        "samples": replicates.samples.tolist(),
        "reference": replicates.reference.tolist(),
    }


def _parse_score(document: Mapping[str, Any]) -> Score:
    texts = {name: document[name] for name in TEXT_FIELDS}
    sound = all(isinstance(text, str) and is_single_line(text) for text in texts.values())
    if not sound or not FORMAT_SPEC.fullmatch(texts["form"]) or type(document["share"]) is not bool:
        raise ValueError("no measure")
    samples, real = (_parse_replicates(document[side]) for side in ("found", "real"))
    return Score(**texts, samples=samples, real=real, share=document["share"])


def _parse_replicates(document: Mapping[str, Any]) -> Replicates:
    return Replicates(
        _parse_number(document["value"]), _parse_numbers(document["samples"]), _parse_numbers(document["reference"])
    )


def _parse_number(value: object) -> float:
    """The number; null is NaN."""
    if value is None:
        return nan
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ValueError(value)
    return float(value)


def _parse_numbers(values: Iterable[object]) -> Float64[np.ndarray, " _"]:
    return np.array([_parse_number(value) for value in values], np.float64)
