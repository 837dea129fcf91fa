"""Pictures into files: what is written appears whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from diffjax.errors import UserError
from diffjax.evaluation.pictures import grid
from diffjax.files import write_whole

FEW = 6  # lines that have colours as far apart as can be


def write_png(path: str | Path, picture: UInt8[np.ndarray, "h w c"]) -> None:
    """Writes a grey (c = 1) or RGB (c = 3) picture; the folder is made; a file of that name is replaced at once."""
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    write_whole(path, lambda file: image.save(file, "PNG", optimize=True))


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
    write_whole(
        path,
        lambda file: first.save(file, "GIF", save_all=True, append_images=rest, duration=shown_ms, loop=0),
    )


def curve(
    path: str | Path,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ylabel: str,
    xlabel: str = "training step",
    scale: Literal["linear", "log"] = "linear",
) -> None:
    """Writes a PNG with one line per name, (x, values) each; values on that scale."""
    if not curves or any(len(x) != len(values) or len(x) == 0 for x, values in curves.values()):
        raise UserError(f"{path}: every curve needs as many values as places along x, and at least one")
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    if len(curves) > FEW:  # many are one thing at many levels
        axes.set_prop_cycle(color=colormaps["viridis"](np.linspace(0, 0.95, len(curves))))
    for name, (x, values) in curves.items():
        axes.plot(x, values, label=name, linewidth=1.6, marker="o" if len(x) == 1 else "")
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale=scale)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if len(curves) > 1:
        axes.legend(frameon=False)
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=150))
