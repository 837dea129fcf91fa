"""Pictures into files: what is written appears whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image

from diffjax.errors import UserError
from diffjax.reports.image_grids import grid
from diffjax.utils.files import write_atomically

INSIDE = 6  # names that a legend holds within the axes; of more it stands beside them
COLOURS, STYLES = 10, ("-", ":", "-.", (0, (5, 1)))  # how lines differ: all colours of one style come first


def write_png(path: str | Path, picture: UInt8[np.ndarray, "h w c"]) -> None:
    """Writes a grey (c = 1) or RGB (c = 3) picture; the folder is made; a file of that name is replaced at once."""
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    write_atomically(path, lambda file: image.save(file, "PNG", optimize=True))


def animation(
    path: str | Path,
    frames: UInt8[np.ndarray, "k n h w c"],
    columns: int,
    scale: int | None = None,
    frame_ms: int = 80,
    last_ms: int = 1500,
) -> None:
    """Writes a GIF of k grids of n images, each shown for `frame_ms` milliseconds, the last for `last_ms`; it loops."""
    if len(frames) == 0:
        raise UserError(f"{path}: no frames to show; give at least one")
    first, *rest = [Image.fromarray(grid(images, columns, scale)) for images in frames]
    shown_ms = [frame_ms] * len(rest) + [last_ms]
    write_atomically(
        path,
        lambda file: first.save(file, "GIF", save_all=True, append_images=rest, duration=shown_ms, loop=0),
    )


def curve(
    path: str | Path,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ylabel: str,
    xlabel: str = "training step",
    scale: Literal["linear", "log"] = "linear",
    *,
    xscale: Literal["linear", "log"] = "linear",
    errors: Mapping[str, np.ndarray] = MappingProxyType({}),
    level: tuple[str, float] | None = None,
) -> None:
    """Writes a PNG with one line per name, (x, values) each; values on that scale, and x on that.

    A line that has `errors`, as many as values, is one of dots that have bars; `level` is a dashed line with its name.
    """
    if not curves or any(len(x) != len(values) or len(x) == 0 for x, values in curves.values()):
        raise UserError(f"{path}: every curve needs as many values as places along x, and at least one")
    count = len(curves) + (level is not None)
    figure = Figure(figsize=(6.4 if count <= INSIDE else 8.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, (x, values)) in enumerate(curves.items()):
        marker, style = "o" if len(x) == 1 or name in errors else "", STYLES[place // COLOURS % len(STYLES)]
        bars = {"yerr": errors.get(name), "elinewidth": 1, "markersize": 4.5 if name in errors else 6}
        axes.errorbar(x, values, **bars, label=name, linewidth=1.6, linestyle=style, marker=marker)
    if level is not None:
        axes.axhline(level[1], label=level[0], linewidth=1.2, linestyle="--", color="0.4", zorder=1)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale=scale, xscale=xscale)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    if xscale == "log":
        axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter("{x:,.10g}" if errors else "{x:,.0f}")
    if count > INSIDE:
        figure.legend(frameon=False, loc="outside right upper")
    elif count > 1:
        axes.legend(frameon=False)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))
