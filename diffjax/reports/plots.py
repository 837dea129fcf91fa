"""Plots of curves, written atomically."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from diffjax.errors import UserError
from diffjax.utils.files import write_atomically

INSIDE = 6  # lines up to which the legend is inside the axes
COLOURS = 10  # of matplotlib's cycle, after which the next of the styles is used
STYLES = ("-", ":", "-.", (0, (5, 1)))

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Curves:
    """One plot: name -> (x, values), equally many of each.

    A line with `errors`, as many as values, is drawn as points with error bars; `level` is a dashed line and its name.
    """

    caption: str
    lines: Mapping[str, tuple[Shaped[np.ndarray, " _"], Shaped[np.ndarray, " _"]]]
    ylabel: str
    xlabel: str = "training step"
    scale: Scale = "linear"
    xscale: Scale = "linear"
    errors: Mapping[str, np.ndarray] = field(default_factory=dict)
    level: tuple[str, float] | None = None


def plot_curves(path: str | Path, curves: Curves) -> None:
    """Writes the plot as PNG. Raises UserError for no lines, and for a line without values or with other counts."""
    if not curves.lines or any(len(x) != len(values) or len(x) == 0 for x, values in curves.lines.values()):
        raise UserError(f"{path}: every curve needs as many values as places along x, and at least one")
    count = len(curves.lines) + (curves.level is not None)
    figure = Figure(figsize=(6.4 if count <= INSIDE else 8.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    _draw_lines(axes, curves)
    axes.set(xlabel=curves.xlabel, ylabel=curves.ylabel, yscale=curves.scale, xscale=curves.xscale)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    if curves.xscale == "log":
        axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter("{x:,.10g}" if curves.errors else "{x:,.0f}")
    if count > INSIDE:
        figure.legend(frameon=False, loc="outside right upper")
    elif count > 1:
        axes.legend(frameon=False)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


def _draw_lines(axes: Axes, curves: Curves) -> None:
    for place, (name, (x, values)) in enumerate(curves.lines.items()):
        axes.errorbar(
            x,
            values,
            yerr=curves.errors.get(name),
            elinewidth=1,
            markersize=4.5 if name in curves.errors else 6,
            label=name,
            linewidth=1.6,
            linestyle=STYLES[place // COLOURS % len(STYLES)],
            marker="o" if len(x) == 1 or name in curves.errors else "",
        )
    if curves.level is not None:
        name, value = curves.level
        axes.axhline(value, label=name, linewidth=1.2, linestyle="--", color="0.4", zorder=1)
