"""Quality over settings of a sampler: a table, and plots of quality against network evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffjax.evaluation.jackknife import Replicates, interval_from_replicates
from diffjax.evaluation.paired import Score
from diffjax.reports import html
from diffjax.reports.json_report import scores_document, write_json
from diffjax.reports.plots import Curves, Scale, plot_curves
from diffjax.reports.settings import describe_settings, format_setting
from diffjax.reports.sweep_rows import SweepRow
from diffjax.reports.tables import format_table

NOTES = (
    "± is the standard error of a row by itself",
    "every row is drawn from the same keys and held to the same images, so rows vary together",
    "evaluations are those of the net per sample, twice as many under guidance; seconds are of drawing all samples, "
    "compilation included",
)
DECADE = 10.0  # ratio of largest to smallest value from which a scale is logarithmic
NAMED_SETTINGS = ("guidance", "steps")  # settings whose values need their names


class Line(NamedTuple):
    """Points of one line of a plot."""

    x: np.ndarray
    values: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True)
class Sweep:
    """One row for each combination of the varied settings, `names`."""

    title: str
    names: Sequence[str]
    rows: Sequence[SweepRow]
    about: Mapping[str, object]  # everything else that their numbers depend on


def sweep_table(sweep: Sweep) -> str:
    """The aligned table for the terminal, and its provenance."""
    heads = [score.key for score in sweep.rows[0].scores]
    return "\n\n".join([format_table(_table(sweep, heads)), "\n".join(_describe_sweep(sweep))])


def write_sweep(folder: str | Path, sweep: Sweep) -> Path:
    """Writes folder/sweep.html, self-contained, sweep.json with all its numbers, and a PNG file for each plot.

    Each measure is plotted against network evaluations, or against guidance if that is varied and steps are not, with
    one line for each combination of the other settings.
    """
    folder = Path(folder)
    scores = sweep.rows[0].scores
    parts = [
        html.section("Table", html.table(_table(sweep, [score.name for score in scores])), html.bullet_list(NOTES))
    ]
    for score in scores:
        path = folder / f"sweep_{score.key}.png"
        _write_plot(path, sweep, score)
        parts.append(html.section(f"{score.name} ({score.ideal})", html.figure(path, score.name)))
    parts.append(html.section("Where this comes from", html.bullet_list(_describe_sweep(sweep))))
    rows = [{**vars(row), "settings": {**row.settings}, "scores": scores_document(row.scores)} for row in sweep.rows]
    document = {"title": sweep.title, "swept": list(sweep.names), "rows": rows, "about": {**sweep.about}}
    write_json(folder / "sweep.json", document)
    html.write_page(folder / "sweep.html", sweep.title, *parts)
    return folder / "sweep.html"


def _table(sweep: Sweep, heads: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each setting, and one for real images; the last column is empty, for alignment."""
    body = [
        (
            *(format_setting(row.settings[name]) for name in sweep.names),
            f"{row.evaluations:,}",
            f"{row.seconds:.2f}",
            *(_format_value(score, score.samples) for score in row.scores),
            "",
        )
        for row in sweep.rows
    ]
    real = (_format_value(score, score.real) for score in sweep.rows[0].scores)
    blank = ("",) * (len(sweep.names) + 1)
    return [(*sweep.names, "evaluations", "seconds", *heads, ""), *body, ("real images", *blank, *real, "")]


def _format_value(score: Score, replicates: Replicates) -> str:
    """A value and its standard error, if known."""
    text = score.format(replicates.value)
    error = interval_from_replicates(replicates).error
    return f"{text} ± {score.format(error).removeprefix('+')}" if isfinite(error) else text


def _describe_sweep(sweep: Sweep) -> list[str]:
    fixed = {name: value for name, value in sweep.rows[0].settings.items() if name not in sweep.names and value != ""}
    lines = [f"{name}: {format_setting(value)}" for name, value in sweep.about.items()]
    return [f"in every row: {describe_settings(fixed)}", *lines] if fixed else lines


def _write_plot(path: Path, sweep: Sweep, score: Score) -> None:
    """One measure of all rows."""
    along = "guidance" if "guidance" in sweep.names and "steps" not in sweep.names else "steps"
    lines = _lines(sweep, score.key, along)
    values = np.concatenate([line.values for line in lines.values()])
    curves = Curves(
        caption=score.name,
        lines={name: (line.x, line.values) for name, line in lines.items()},
        ylabel=score.name,
        xlabel="evaluations of the net per sample" if along == "steps" else along,
        scale="linear" if score.share else _scale(np.append(values, score.real.value)),
        xscale=_scale(np.concatenate([line.x for line in lines.values()])),
        errors={name: line.errors for name, line in lines.items()},
        level=("real images", score.real.value),
    )
    plot_curves(path, curves)


def _lines(sweep: Sweep, key: str, along: str) -> dict[str, Line]:
    """One line for each combination of the varied settings but the one along x."""
    points_of_line: dict[str, list[tuple[float, float, float]]] = {}
    for row in sweep.rows:
        (score,) = (score for score in row.scores if score.key == key)
        line_names = [
            f"{name} {format_setting(row.settings[name])}"
            if name in NAMED_SETTINGS
            else format_setting(row.settings[name])
            for name in sweep.names
            if name != along
        ]
        x = row.evaluations if along == "steps" else float(row.settings[along])
        error = np.nan_to_num(interval_from_replicates(score.samples).error)  # no bar for an unknown error
        points_of_line.setdefault(", ".join(line_names) or "samples", []).append((x, score.samples.value, float(error)))
    return {name: Line(*np.array(sorted(points), float).T) for name, points in points_of_line.items()}


def _scale(values: np.ndarray) -> Scale:
    """Logarithmic for positive values that span a decade."""
    return "log" if values.min() > 0 and values.max() >= DECADE * values.min() else "linear"
