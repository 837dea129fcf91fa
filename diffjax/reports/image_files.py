"""PNG images and animations, each written atomically."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diffjax.errors import UserError
from diffjax.reports.image_grids import grid
from diffjax.utils.files import write_atomically


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
