"""A figure of an edit: what was given, and what was drawn of it."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from diffjax.reports.image_grids import (
    INK,
    LINE,
    MARGIN,
    TEXT,
    Picture,
    enlarged_cells,
    font,
    grid,
    legible_scale,
    text_width,
)

ENLARGEMENT = 2  # how much larger panels are than samples
COLOUR_MAP = "inferno"


def heat_map(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Numbers from 0 (black) to 1 (bright) as colours."""
    return np.rint(255 * matplotlib.colormaps[COLOUR_MAP](np.clip(values, 0, 1))[..., :3]).astype(np.uint8)


def edit_figure(panels: Mapping[str, UInt8[np.ndarray, "_ _ _"]], samples: UInt8[np.ndarray, "n h w c"]) -> Picture:
    """Panels in a row, the name of each below it, and under them the samples, eight in a row.

    Panels may be smaller than samples, by a whole factor: they are shown as large.
    """
    height, width = samples.shape[1:3]
    scale = legible_scale(height, width)
    large = [
        _enlarge_panel(panel, height * scale * ENLARGEMENT, width * scale * ENLARGEMENT) for panel in panels.values()
    ]
    sizes = [max(panel.shape[1], text_width(name)) for name, panel in zip(panels, large, strict=True)]
    below = np.asarray(grid(samples, 8, scale))
    top = large[0].shape[0] + TEXT + 2 * MARGIN
    across = max(sum(sizes) + MARGIN * (len(sizes) - 1), below.shape[1])
    paper = Image.new("RGB", (across + 2 * MARGIN, MARGIN + top + below.shape[0] + MARGIN), "white")
    pen = ImageDraw.Draw(paper)
    left = MARGIN
    for name, panel, size in zip(panels, large, sizes, strict=True):
        paper.paste(Image.fromarray(panel), (left + (size - panel.shape[1]) // 2, MARGIN))
        pen.text((left + size / 2, MARGIN + panel.shape[0] + TEXT + LINE), name, INK, font(), anchor="ms")
        left += size + MARGIN
    paper.paste(Image.fromarray(below), (MARGIN, MARGIN + top))
    return np.asarray(paper)


def _enlarge_panel(panel: UInt8[np.ndarray, "_ _ _"], height: int, width: int) -> Picture:
    """A panel in a thin frame."""
    scale = max(1, min((height + LINE) // panel.shape[0], (width + LINE) // panel.shape[1]))
    return enlarged_cells([panel[None]], 1, scale)
