"""The pictures of the comparison, from its results; colours serve every kind of sight."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from diffjax.utils.files import write_atomically

Results = dict[str, Any]
# Okabe & Ito's colours, yellow left out, which is too light for a line
COLOURS = ("#000000", "#999999", "#0072B2", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#E69F00")
MARKS = ("*", "v", "x", "o", "s", "D", "^", "P")
QUALITY = (("frechet_ratio", "Fréchet distance, ratio"), ("two_sample", "two-sample test, accuracy"))
PLAIN = (1, 1.5, 2, 3, 4, 6, 8, 10, 16, 20, 32, 64, 128)
DECADES = [digit * 10.0**power for power in range(4, 22) for digit in (1, 2, 3, 5)]
PAIR = ("raster", "raster_bidirectional")  # the causal net, and the one that sees everything, in the same order
FILES = tuple(f"compare_{name}.png" for name in ("evaluations", "flops", "guidance", "bits", "causal"))


def draw(folder: Path, results: Results) -> None:
    """All of them, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = (
        quality(results, "evaluations", "network evaluations a picture"),
        quality(results, "flops", "floating-point operations a picture"),
        guidance(results),
        bits(results),
        causal(results),
    )
    for name, figure in zip(FILES, made, strict=True):
        write_atomically(
            folder / name, lambda file, figure=figure: figure.savefig(file, dpi=110, metadata={"Software": None})
        )


def quality(results: Results, along: str, caption: str) -> Figure:
    """Both measures of quality, a curve for each family."""
    figure, panels = _panels(2)
    families = {key: found for key, found in _shown(results).items() if found["points"]}
    for panel, (measure, name) in zip(panels, QUALITY, strict=True):
        ratio = measure == "frechet_ratio"
        panel.set(xscale="log", yscale="log" if ratio else "linear", xlabel=caption, ylabel=name)
        if ratio:
            _ticks(panel.yaxis, PLAIN)
        _ticks(panel.xaxis, PLAIN if along == "evaluations" else DECADES)
        rows = {key: [(each[along], *each[measure]) for each in found["points"]] for key, found in families.items()}
        _lines(panel, results, rows, real=1.0 if ratio else results["real"]["two_sample"])
    return figure


def guidance(results: Results) -> Figure:
    """How much of a class a picture has, and how good pictures are, by the weight of guidance."""
    figure, panels = _panels(2)
    found = {key: family["guided"] for key, family in results["families"].items() if len(family["guided"]) > 1}
    for panel, (measure, name) in zip(panels, (("accuracy", "label accuracy"), QUALITY[0]), strict=True):
        panel.set(xlabel="weight of guidance", ylabel=name)
        rows = {key: [(each["guidance"], *each[measure]) for each in some] for key, some in found.items()}
        _lines(panel, results, rows, real=1.0 if measure == "frechet_ratio" else None)
    return figure


def bits(results: Results) -> Figure:
    """Bits per dimension on test while training goes on."""
    figure, (panel,) = _panels(1)
    _bits(panel, results, _shown(results), "flops")
    return figure


def causal(results: Results) -> Figure:
    """What one pass for all steps saves, and what it costs: by operations, and by steps."""
    figure, panels = _panels(2)
    pair = {key: results["families"][key] for key in PAIR if key in results["families"]}
    for panel, along in zip(panels, ("flops", "step"), strict=True):
        _bits(panel, results, pair, along)
    return figure


def _bits(panel: Axes, results: Results, families: Results, along: str) -> None:
    panel.set(xscale="linear", xlabel="steps of training", ylabel="bits per dimension, test")
    if along == "flops":
        panel.set(xscale="log", xlabel="floating-point operations of training")
        _ticks(panel.xaxis, DECADES)
    rows = {key: [(each[along], *each["bits"]) for each in family["bits"]] for key, family in families.items()}
    _lines(panel, results, rows)


def _shown(results: Results) -> Results:
    """The families that are compared with each other."""
    return {key: family for key, family in results["families"].items() if not family["aside"]}


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(7.2 * count, 4.8), layout="constrained")
    panels = list(np.ravel(figure.subplots(1, count)))
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _ticks(axis: Axis, where: Sequence[float]) -> None:
    """Ticks at these values alone, of a logarithmic axis, as short as they can be told."""
    axis.set_major_locator(FixedLocator(where))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if value < 1e4 else f"{value:.0e}".replace("+", ""))
    )
    axis.set_minor_locator(NullLocator())


def _lines(panel: Axes, results: Results, lines: dict[str, list[tuple[float, ...]]], real: float | None = None) -> None:
    """Each with bars of two standard errors, and a dotted line for real images."""
    for key, rows in lines.items():
        if rows:
            place, title = list(results["families"]).index(key) % len(COLOURS), results["families"][key]["title"]
            x, y, error = np.array(sorted(rows), float).T
            look: Any = {"color": COLOURS[place], "marker": MARKS[place], "ms": 12 if MARKS[place] == "*" else 5}
            panel.errorbar(x, y, 2 * np.nan_to_num(error), lw=1.5, capsize=2, elinewidth=0.9, label=title, **look)
    if real is not None:
        panel.axhline(real, color="#666666", linewidth=0.8, linestyle=":", label="real images")
    if panel.get_legend_handles_labels()[0]:  # none where a short comparison lacks these families
        panel.legend(fontsize=8, frameon=False)
