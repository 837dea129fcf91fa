"""Quality over settings of a sampler: a table, and quality against evaluations of the net as a picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diffjax.evaluation.jackknife import Replicates, interval_from_replicates
from diffjax.evaluation.paired import Score
from diffjax.reports import html
from diffjax.reports.comparison_rows import SweepRow
from diffjax.reports.json_report import replace_nonfinite, scores_document
from diffjax.reports.plots import curve
from diffjax.reports.tables import format_table
from diffjax.utils.files import write_atomically

NOTES = (
    "± is the standard error of a row by itself",
    "every row is drawn from the same keys and held to the same images, so rows vary together",
    "evaluations are those of the net per sample, twice as many under guidance; seconds are of drawing all samples, "
    "compilation included",
)
DECADE = 10.0  # of the largest over the smallest, from which on a scale is logarithmic
WORDS = ("guidance", "steps")  # settings whose values say nothing without their names

Line = tuple[np.ndarray, np.ndarray, np.ndarray]  # along x: places, values, errors


@dataclass(frozen=True)
class Sweep:
    """One row for each combination of the settings that are varied, which are `names`."""

    title: str
    names: Sequence[str]
    rows: Sequence[SweepRow]
    about: Mapping[str, Any]  # what else their numbers depend on


def sweep_table(sweep: Sweep) -> str:
    """The aligned table for the terminal, measures by their keys, and where it comes from."""
    heads = [score.key for score in sweep.rows[0].scores]
    return "\n\n".join([format_table(_table(sweep, heads)), "\n".join(_describe_sweep(sweep))])


def write_sweep(folder: str | Path, sweep: Sweep) -> Path:
    """Writes folder/sweep.html, one file that needs no other, and all its numbers as sweep.json beside it.

    Of each measure there is a plot against evaluations of the net, or against guidance where that alone is varied
    with no steps; one line for each combination of what else is; it is a PNG file beside them, too.
    """
    folder, scores = Path(folder), sweep.rows[0].scores
    parts = [
        html.section("Table", html.table(_table(sweep, [score.name for score in scores])), html.bullet_list(NOTES))
    ]
    for score in scores:
        path = folder / f"sweep_{score.key}.png"
        _write_plot(path, sweep, score)
        parts.append(html.section(f"{score.name} ({score.ideal})", html.figure(path, score.name)))
    parts.append(html.section("Where this comes from", html.bullet_list(_describe_sweep(sweep))))
    rows = [{**vars(row), "settings": {**row.settings}, "scores": scores_document(row.scores)} for row in sweep.rows]
    document = replace_nonfinite(
        {"title": sweep.title, "swept": list(sweep.names), "rows": rows, "about": {**sweep.about}}
    )
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "sweep.json", lambda file: file.write(text.encode()))
    html.write_page(folder / "sweep.html", sweep.title, *parts)
    return folder / "sweep.html"


def describe_settings(settings: Mapping[str, Any]) -> str:
    """Settings in words, as `sampler heun, steps 20`."""
    return ", ".join(f"{name} {_format_setting(value)}" for name, value in settings.items())


def _table(sweep: Sweep, heads: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each setting, and one of real images; a last column that is empty, for alignment."""
    body = [
        (
            *(_format_setting(row.settings[name]) for name in sweep.names),
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
    """A value and its standard error, where there is one."""
    text, error = score.format(replicates.value), interval_from_replicates(replicates).error
    return f"{text} ± {score.format(error).removeprefix('+')}" if isfinite(error) else text


def _format_setting(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else f"{value}"


def _describe_sweep(sweep: Sweep) -> list[str]:
    fixed = {name: value for name, value in sweep.rows[0].settings.items() if name not in sweep.names and value != ""}
    lines = [f"{name}: {_format_setting(value)}" for name, value in sweep.about.items()]
    return [f"in every row: {describe_settings(fixed)}", *lines] if fixed else lines


def _write_plot(path: Path, sweep: Sweep, score: Score) -> None:
    """One measure of all rows."""
    along = "guidance" if "guidance" in sweep.names and "steps" not in sweep.names else "steps"
    lines = _lines(sweep, score.key, along)
    x, values = (np.concatenate([line[i] for line in lines.values()]) for i in (0, 1))
    curve(
        path,
        {name: line[:2] for name, line in lines.items()},
        score.name,
        "evaluations of the net per sample" if along == "steps" else along,
        "linear" if score.share else _scale(np.append(values, score.real.value)),
        xscale=_scale(x),
        errors={name: line[2] for name, line in lines.items()},
        level=("real images", score.real.value),
    )


def _lines(sweep: Sweep, key: str, along: str) -> dict[str, Line]:
    """By all settings that are varied but the one that a line follows."""
    points_of_line: dict[str, list[tuple[float, float, float]]] = {}
    for row in sweep.rows:
        (score,) = (score for score in row.scores if score.key == key)
        line_names = [
            f"{name} {_format_setting(row.settings[name])}" if name in WORDS else _format_setting(row.settings[name])
            for name in sweep.names
            if name != along
        ]
        x = row.evaluations if along == "steps" else row.settings[along]
        error = np.nan_to_num(interval_from_replicates(score.samples).error)  # no bar where there is none
        points_of_line.setdefault(", ".join(line_names) or "samples", []).append((x, score.samples.value, float(error)))
    arrays = {name: np.array(sorted(points), float).T for name, points in points_of_line.items()}
    return {name: (x, values, errors) for name, (x, values, errors) in arrays.items()}


def _scale(values: np.ndarray) -> Literal["linear", "log"]:
    """Logarithmic for what is positive and spans a decade."""
    return "log" if values.min() > 0 and values.max() >= DECADE * values.min() else "linear"
