"""Comparison of reports: the differences of their scores, and which of them are significant."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isfinite
from pathlib import Path

import numpy as np

from diffjax.errors import UserError
from diffjax.evaluation.jackknife import Difference, Replicates, difference, format_p_value, interval_from_replicates
from diffjax.reports import html
from diffjax.reports.json_report import ReportNumbers, write_json
from diffjax.reports.plots import Curves, plot_curves
from diffjax.reports.tables import format_table, mean_and_error

SIGNIFICANCE_LEVEL = 0.05  # family-wise
MAX_REPORTS = 8  # lines of a plot
NOTE = "Called beyond noise by Holm's procedure over all rows, at 0.05; intervals are those of each row alone."
HEAD = ("measure", "", "less", "difference", "95 % interval", "p", "verdict")


@dataclass(frozen=True)
class MetricComparison:
    """One measure of two reports; `significant` by Holm's procedure over all rows."""

    measure: str
    first: str
    second: str
    difference: Difference
    significant: bool


def compare(reports: Sequence[ReportNumbers]) -> list[MetricComparison]:
    """Every measure that two reports share, for each pair of reports; bits per dimension are paired by image.

    Holm 1979 over all of them: with probability 0.95 no false difference is called significant. Raises UserError for
    fewer than two reports, repeated reports, or reports of different references, features or kernels.
    """
    if len(reports) < 2 or len({report.name for report in reports}) < len(reports):
        raise UserError("--compare: give two or more runs, each once")
    for second in reports[1:]:
        if second.about != reports[0].about:
            raise UserError(
                f"{reports[0].name} and {second.name} were evaluated on other reference images, features or kernels; "
                "evaluate both anew, with equal flags"
            )
    rows = []
    for a, b in combinations(reports, 2):
        rows += [
            (name, a, b, difference(a.scores[name], b.scores[name])) for name in a.scores if _comparable(a, b, name)
        ]
        shared = (name for name in a.bits if len(a.bits[name]) == len(b.bits.get(name, ())))
        rows += [(name, a, b, _paired_difference(a.bits[name] - b.bits[name])) for name in shared]
    beyond = _holm_rejections([change.p for *_, change in rows])
    return [
        MetricComparison(name, a.name, b.name, change, sure)
        for (name, a, b, change), sure in zip(rows, beyond, strict=True)
    ]


def comparison_table(reports: Sequence[ReportNumbers], rows: Sequence[MetricComparison]) -> str:
    """The values of all runs, then their differences, for the terminal."""
    values = format_table(_value_rows(reports))
    return "\n\n".join([values, format_table([HEAD, *_difference_rows(reports, rows)])])


def write_comparison(folder: str | Path, reports: Sequence[ReportNumbers], rows: Sequence[MetricComparison]) -> Path:
    """Writes folder/comparison.html, with significant rows highlighted, and comparison.json.

    Common curves are drawn into comparison_NAME.png, too; the samples of each run come last.
    """
    folder = Path(folder)
    write_json(folder / "comparison.json", [_row_document(row) for row in rows])
    significant = [number for number, row in enumerate(rows, 1) if row.significant]
    differences = html.table([HEAD, *_difference_rows(reports, rows)], significant)
    html.write_page(
        folder / "comparison.html",
        f"Comparison of {' and '.join(short_names(reports))}",
        html.section("Side by side", html.table(_value_rows(reports))),
        html.section("Differences", differences, html.bullet_list([NOTE])),
        *_figure_sections(folder, reports),
    )
    return folder / "comparison.html"


def _row_document(row: MetricComparison) -> dict[str, object]:
    return {
        "measure": row.measure,
        "first": row.first,
        "second": row.second,
        "apart": row.difference._asdict(),
        "beyond": row.significant,
    }


def _figure_sections(folder: Path, reports: Sequence[ReportNumbers]) -> list[str]:
    """The common curves, whose plots are written into the folder, and the pictures of each run."""
    sections = []
    for key, curves in common_curves(reports).items():
        file = folder / f"comparison_{key}.png"
        plot_curves(file, curves)
        sections.append(html.section(curves.caption, html.figure(file, curves.caption)))
    for name, report in zip(short_names(reports), reports, strict=True):
        for caption, file in report.pictures.items():
            sections.append(html.section(f"{caption}: {name}", html.figure(file, caption)))
    return sections


def short_names(reports: Sequence[ReportNumbers]) -> list[str]:
    """The shortest endings of the paths that differ between all reports."""
    parts = [Path(report.name).absolute().parts for report in reports]
    max_depth = max(map(len, parts))
    depth = next((n for n in range(1, max_depth) if len({part[-n:] for part in parts}) == len(parts)), max_depth)
    return ["/".join(part[-depth:]) for part in parts]


def common_curves(reports: Sequence[ReportNumbers]) -> dict[str, Curves]:
    """Plots that all reports have: lines equal in all appear once, the others once for each run."""
    result = {}
    first = reports[0]
    names = short_names(reports)
    for key in first.curves:
        if not all(key in report.curves for report in reports):
            continue
        lines = {}
        for name, line in first.curves[key].lines.items():
            variants = [report.curves[key].lines.get(name) for report in reports]
            if all(_same_line(line, variant) for variant in variants):
                lines[name] = line
            else:
                lines |= {
                    f"{run}: {name}": line_of_run
                    for run, line_of_run in zip(names, variants, strict=True)
                    if line_of_run is not None
                }
        if len(lines) <= MAX_REPORTS:
            result[key] = replace(first.curves[key], lines=lines)
    return result


def _same_line(line: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray] | None) -> bool:
    return other is not None and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(line, other, strict=True))


def _value_rows(reports: Sequence[ReportNumbers]) -> list[tuple[str, ...]]:
    """A row for each measure, a column for each run, and an empty one for alignment."""
    names = list(dict.fromkeys(name for report in reports for name in (*report.scores, *report.bits)))
    head = ("measure", *short_names(reports), "")
    return [head, *((name, *(_value(report, name) for report in reports), "") for name in names)]


def _value(report: ReportNumbers, name: str) -> str:
    if name in report.bits:
        return mean_and_error(report.bits[name])
    if name not in report.scores:
        return "none"
    value, error, *_ = interval_from_replicates(report.scores[name])
    return f"{value:.4g} ± {error:.2g}" if isfinite(error) else f"{value:.4g}"


def _difference_rows(reports: Sequence[ReportNumbers], rows: Sequence[MetricComparison]) -> list[tuple[str, ...]]:
    short = dict(zip((report.name for report in reports), short_names(reports), strict=True))
    table_rows = []
    for row in rows:
        change = row.difference
        verdict = "beyond noise" if row.significant else "within noise"
        between = f"{change.low:+.3g} … {change.high:+.3g}"
        pair = short[row.first], short[row.second]
        table_rows.append((row.measure, *pair, f"{change.value:+.3g}", between, format_p_value(change.p), verdict))
    return table_rows


def _comparable(a: ReportNumbers, b: ReportNumbers, name: str) -> bool:
    """Whether both have the score, with replicates."""
    return name in b.scores and all(len(report.scores[name].samples) for report in (a, b))


def _paired_difference(differences: np.ndarray) -> Difference:
    """The mean difference of paired images."""
    without = (differences.sum() - differences) / (len(differences) - 1)
    return difference(Replicates(float(differences.mean()), without), Replicates(0.0))


def _holm_rejections(p: Sequence[float]) -> list[bool]:
    """The rejected hypotheses (Holm 1979): by ascending p, while p ≤ 0.05 / (number of remaining hypotheses)."""
    sure = [False] * len(p)
    for place, row in enumerate(np.argsort(p)):
        if p[row] > SIGNIFICANCE_LEVEL / (len(p) - place):
            break
        sure[row] = True
    return sure
