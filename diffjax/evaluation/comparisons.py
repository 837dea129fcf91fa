"""Reports beside one another, and which of their differences are more than noise."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from diffjax.errors import UserError
from diffjax.evaluation import html
from diffjax.evaluation.intervals import Difference, Replicates, difference
from diffjax.evaluation.reports import plain
from diffjax.files import write_whole

SURE = 0.05  # probability that any difference at all is called one where there is none
NAME = "report.json"
SIDES = ("samples", "reference")
LARGEST = 2**28  # bytes of a report that are read
HEAD = ("measure", "", "less", "difference", "95 % interval", "p", "verdict")


@dataclass(frozen=True)
class Numbers:
    """What is compared of one report: every score, and the mean bits per dimension of test images."""

    name: str
    about: tuple[Any, ...]  # the reference, and what the scores are of: differences need it equal
    found: Mapping[str, Replicates]
    bits: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Compared:
    """One measure of two reports; `beyond` says whether the difference is more than noise."""

    measure: str
    first: str
    second: str
    apart: Difference
    beyond: bool


def read_numbers(path: str | Path) -> Numbers:
    """The report.json that `write_report` wrote into that folder, or `evaluate.py` into the evaluation of that run.

    Raises UserError where there is none, or it is no such thing.
    """
    folder = Path(path)
    file = next((at / NAME for at in (folder, folder / "evaluation") if (at / NAME).is_file()), folder / NAME)
    try:
        if not file.is_file():
            raise UserError(f"{file}: no such file; run evaluate.py --workdir {path} first")
        if file.stat().st_size > LARGEST:
            raise UserError(f"{file}: larger than {LARGEST:,} bytes, so no report; evaluate the run again")
        told = json.loads(file.read_text())
        found = {
            score["name"]: Replicates(_number(score["value"]), *(_numbers(score["without"][side]) for side in SIDES))
            for scores in told["scores"].values()
            for score in scores.values()
        }
        source = told["provenance"]
        about = (source["fingerprint"], source["kernels"], sorted(_extractors(source)))
        bits = {
            f"bits per dimension of {split}": _numbers(told["bits_per_dim"]["this model"][split]["images"])
            for split in ("train", "test")
            if told["bits_per_dim"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{file}: cannot be read as a report; evaluate the run again") from None
    return Numbers(str(path), about, found, bits)


def compare(reports: Sequence[Numbers]) -> list[Compared]:
    """Every measure that two reports share, of each pair; scores by `difference`, bits image by image.

    Holm 1979 over all of them: with probability 0.95 nothing is called a difference that is none. Raises UserError for
    fewer than two reports, one twice, or reports of other references, features or kernels.
    """
    if len(reports) < 2 or len({report.name for report in reports}) < len(reports):
        raise UserError("compare: give two or more runs, each once")
    for other in reports[1:]:
        if other.about != reports[0].about:
            raise UserError(
                f"{reports[0].name} and {other.name} were evaluated on other reference images, features or kernels; "
                "evaluate both anew, with equal flags"
            )
    rows = []
    for a, b in combinations(reports, 2):
        rows += [(name, a, b, difference(a.found[name], b.found[name])) for name in a.found if _both(a, b, name)]
        shared = (name for name in a.bits if len(a.bits[name]) == len(b.bits.get(name, ())))
        rows += [(name, a, b, _paired(a.bits[name] - b.bits[name])) for name in shared]
    beyond = _holm([apart.p for *_, apart in rows])
    return [Compared(name, a.name, b.name, apart, sure) for (name, a, b, apart), sure in zip(rows, beyond, strict=True)]


def compared_table(reports: Sequence[Numbers], rows: Sequence[Compared]) -> str:
    """The values of all runs, and then their differences, for the terminal."""
    return "\n\n".join([plain(_values(reports)), plain([HEAD, *map(_line, rows)])])


def write_comparison(folder: str | Path, reports: Sequence[Numbers], rows: Sequence[Compared]) -> Path:
    """Writes folder/comparison.html, what is beyond noise standing out, and the same as comparison.json."""
    folder = Path(folder)
    title = " and ".join(Path(report.name).name for report in reports)
    marked = [number for number, row in enumerate(rows, 1) if row.beyond]
    told = [{**vars(row), "apart": row.apart._asdict()} for row in rows]
    text = json.dumps(told, indent=1) + "\n"
    write_whole(folder / "comparison.json", lambda file: file.write(text.encode()))
    html.write_page(
        folder / "comparison.html",
        f"Comparison of {title}",
        html.section("Side by side", html.table(_values(reports))),
        html.section("Differences", html.table([HEAD, *map(_line, rows)], marked), html.told([NOTE])),
    )
    return folder / "comparison.html"


NOTE = "Called beyond noise by Holm's procedure over all rows, at 0.05; intervals are those of each row alone."


def _values(reports: Sequence[Numbers]) -> list[tuple[str, ...]]:
    """A row for each measure, a column for each run, and an empty one for alignment."""
    names = list(dict.fromkeys(name for report in reports for name in (*report.found, *report.bits)))
    head = ("measure", *(Path(report.name).name for report in reports), "")
    return [head, *((name, *(_value(report, name) for report in reports), "") for name in names)]


def _value(report: Numbers, name: str) -> str:
    if name in report.found:
        return f"{report.found[name].value:.4g}"
    return f"{report.bits[name].mean():.4g}" if name in report.bits else "none"


def _line(row: Compared) -> tuple[str, ...]:
    apart, names = row.apart, [Path(name).name for name in (row.first, row.second)]
    between, verdict = f"{apart.low:+.3g} … {apart.high:+.3g}", "beyond noise" if row.beyond else "within noise"
    return (row.measure, *names, f"{apart.value:+.3g}", between, f"{apart.p:.2g}", verdict)


def _both(a: Numbers, b: Numbers, name: str) -> bool:
    """Whether both have the score, and it varies in one of them at least."""
    return name in b.found and all(len(one.found[name].samples) for one in (a, b))


def _paired(each: np.ndarray) -> Difference:
    """The mean of differences of single images."""
    without = (each.sum() - each) / (len(each) - 1)
    none = np.zeros(0)
    return difference(Replicates(float(each.mean()), without, none), Replicates(0.0, none, none))


def _holm(p: Sequence[float]) -> list[bool]:
    """Which of the hypotheses fall (Holm 1979): from the least p on, while p ≤ 0.05/(how many are left)."""
    sure, order = [False] * len(p), np.argsort(p)
    for place, row in enumerate(order):
        if p[row] > SURE / (len(p) - place):
            break
        sure[row] = True
    return sure


def _extractors(source: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, told) for name, told in source["more"].items() if name.startswith("features ")]


def _number(given: Any) -> float:
    if not isinstance(given, float | int) or not isfinite(given):
        raise ValueError(given)
    return float(given)


def _numbers(given: Any) -> np.ndarray:
    return np.array([_number(each) for each in given], np.float64)
