"""The rows of a sweep as files, one for each setting, so that existing rows are not drawn again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffjax.errors import UserError
from diffjax.evaluation.paired import Score
from diffjax.reports.json_report import READ_ERRORS, parse_number, parse_score, score_document, write_json
from diffjax.utils.untrusted import read_json

FORMAT = 2  # changes with the measures and with the file: rows of another format are drawn again
MAX_BYTES = 2**24  # of a row


@dataclass(frozen=True)
class SweepRow:
    """Scores and cost of samples of one setting."""

    settings: Mapping[str, str | int | float]
    evaluations: int  # NFE per sample
    seconds: float  # of sampling, compilation included
    scores: Sequence[Score]


def row_file(folder: str | Path, about: Mapping[str, object], settings: Mapping[str, object]) -> Path:
    """The file of a row, named by a hash of everything that its numbers depend on."""
    return Path(folder) / f"{hashlib.sha256(_row_identity(about, settings).encode()).hexdigest()[:16]}.json"


def write_row(folder: str | Path, about: Mapping[str, object], row: SweepRow) -> Path:
    """Writes the row into its file, atomically."""
    path = row_file(folder, about, row.settings)
    document = {
        "of": _row_identity(about, row.settings),
        "evaluations": row.evaluations,
        "seconds": row.seconds,
        "scores": [score_document(score) for score in row.scores],
    }
    write_json(path, document)
    return path


def read_row(
    folder: str | Path, about: Mapping[str, object], settings: Mapping[str, str | int | float]
) -> SweepRow | None:
    """The row of those settings, equal bit for bit to the one written; None if there is none.

    Raises UserError, naming the file, if it is damaged or belongs to other settings.
    """
    path = row_file(folder, about, settings)
    try:
        if not path.exists():
            return None
        document = read_json(path, MAX_BYTES)
        scores = [parse_score(score) for score in document["scores"]]
        if document["of"] != _row_identity(about, settings) or type(document["evaluations"]) is not int or not scores:
            raise ValueError("of something else")
        return SweepRow(dict(settings), document["evaluations"], parse_number(document["seconds"]), scores)
    except READ_ERRORS:
        raise UserError(f"{path}: cannot be read as a row of a sweep") from None


def _row_identity(about: Mapping[str, object], settings: Mapping[str, object]) -> str:
    """Everything that a row's numbers depend on."""
    return json.dumps({"format": FORMAT, "about": {**about}, "settings": {**settings}}, sort_keys=True)
