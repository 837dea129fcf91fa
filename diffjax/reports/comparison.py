"""Reports beside one another, and which of their differences are more than noise."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isfinite
from pathlib import Path

import numpy as np

from diffjax.errors import UserError
from diffjax.evaluation.jackknife import Difference, Replicates, chance, difference, interval_of
from diffjax.reports import html
from diffjax.reports.evaluation_report import Curves
from diffjax.reports.json_report import Numbers
from diffjax.reports.plots import curve
from diffjax.reports.tables import mean_and_error, plain
from diffjax.utils.files import write_whole

SURE = 0.05  # probability that any difference at all is called one where there is none
MOST = 8  # lines of a plot
NOTE = "Called beyond noise by Holm's procedure over all rows, at 0.05; intervals are those of each row alone."
HEAD = ("measure", "", "less", "difference", "95 % interval", "p", "verdict")


@dataclass(frozen=True)
class Compared:
    """One measure of two reports; `beyond` says whether the difference is more than noise."""

    measure: str
    first: str
    second: str
    apart: Difference
    beyond: bool


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
    return "\n\n".join([plain(_values(reports)), plain([HEAD, *_lines(reports, rows)])])


def write_comparison(folder: str | Path, reports: Sequence[Numbers], rows: Sequence[Compared]) -> Path:
    """Writes folder/comparison.html, what is beyond noise standing out, and the same as comparison.json.

    Curves that all runs have are drawn into comparison_NAME.png, too, and the samples of each stand below.
    """
    folder, names = Path(folder), names_of(reports)
    title = " and ".join(names)
    marked = [number for number, row in enumerate(rows, 1) if row.beyond]
    told = [{**vars(row), "apart": row.apart._asdict()} for row in rows]
    text = json.dumps(told, indent=1) + "\n"
    write_whole(folder / "comparison.json", lambda file: file.write(text.encode()))
    drawn = []
    for key, curves in together(reports).items():
        drawn.append((curves, folder / f"comparison_{key}.png"))
        curve(drawn[-1][1], curves.lines, curves.ylabel, curves.xlabel, curves.scale)
    html.write_page(
        folder / "comparison.html",
        f"Comparison of {title}",
        html.section("Side by side", html.table(_values(reports))),
        html.section("Differences", html.table([HEAD, *_lines(reports, rows)], marked), html.told([NOTE])),
        *(html.section(curves.caption, html.figure(file, curves.caption)) for curves, file in drawn),
        *(
            html.section(f"{caption}: {name}", html.figure(file, caption))
            for name, report in zip(names, reports, strict=True)
            for caption, file in report.pictures.items()
        ),
    )
    return folder / "comparison.html"


def names_of(reports: Sequence[Numbers]) -> list[str]:
    """The last part of each name, and as much more as tells them apart."""
    parts = [Path(report.name).absolute().parts for report in reports]
    most = max(map(len, parts))
    depth = next((n for n in range(1, most) if len({part[-n:] for part in parts}) == len(parts)), most)
    return ["/".join(part[-depth:]) for part in parts]


def together(reports: Sequence[Numbers]) -> dict[str, Curves]:
    """The curves that all have, in one plot each: what is equal in all once, the rest under each run's name."""
    found, first, names = {}, reports[0], names_of(reports)
    for key in first.curves:
        if not all(key in report.curves for report in reports):
            continue
        lines = {}
        for name, line in first.curves[key].lines.items():
            theirs = [report.curves[key].lines.get(name) for report in reports]
            if all(_alike(line, other) for other in theirs):
                lines[name] = line
            else:
                lines |= {f"{run}: {name}": each for run, each in zip(names, theirs, strict=True) if each is not None}
        if len(lines) <= MOST:
            found[key] = replace(first.curves[key], lines=lines)
    return found


def _alike(line: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray] | None) -> bool:
    return other is not None and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(line, other, strict=True))


def _values(reports: Sequence[Numbers]) -> list[tuple[str, ...]]:
    """A row for each measure, a column for each run, and an empty one for alignment."""
    names = list(dict.fromkeys(name for report in reports for name in (*report.found, *report.bits)))
    head = ("measure", *names_of(reports), "")
    return [head, *((name, *(_value(report, name) for report in reports), "") for name in names)]


def _value(report: Numbers, name: str) -> str:
    if name in report.bits:
        return mean_and_error(report.bits[name])
    if name not in report.found:
        return "none"
    value, error, *_ = interval_of(report.found[name])
    return f"{value:.4g} ± {error:.2g}" if isfinite(error) else f"{value:.4g}"


def _lines(reports: Sequence[Numbers], rows: Sequence[Compared]) -> list[tuple[str, ...]]:
    short = dict(zip((report.name for report in reports), names_of(reports), strict=True))
    found = []
    for row in rows:
        apart, verdict = row.apart, "beyond noise" if row.beyond else "within noise"
        between = f"{apart.low:+.3g} … {apart.high:+.3g}"
        pair = short[row.first], short[row.second]
        found.append((row.measure, *pair, f"{apart.value:+.3g}", between, chance(apart.p), verdict))
    return found


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
