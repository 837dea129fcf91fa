"""Pictures in and out of files: what is written appears whole or not at all, what cannot be read is named."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image, ImageOps, UnidentifiedImageError

from diffjax.errors import UserError
from diffjax.evaluation.pictures import grid
from diffjax.files import reason, write_whole

MEGAPIXELS = 64  # the largest picture that is decoded
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # more than eight bits a channel


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
) -> None:
    """Writes a PNG with one line per name, (x, values) each; x are counts."""
    if not curves or any(len(x) != len(values) or len(x) == 0 for x, values in curves.values()):
        raise UserError(f"{path}: every curve needs as many values as places along x, and at least one")
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for name, (x, values) in curves.items():
        axes.plot(x, values, label=name, linewidth=1.6, marker="o" if len(x) == 1 else "")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if len(curves) > 1:
        axes.legend(frameon=False)
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=150))


def read_image(path: str | Path) -> UInt8[np.ndarray, "h w c"]:
    """A picture file (any of `FORMATS`) as uint8, grey (c = 1) or RGB (c = 3), upright, transparency laid on white.

    Raises `UserError` for a file that is missing, is no picture, has more than 8 bits a channel, or has more than
    `MEGAPIXELS` million pixels; the last is known before anything is decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes beyond a limit wider than ours
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MEGAPIXELS * 1_000_000:
                    raise Image.DecompressionBombError
                if image.mode in WIDE_MODES:
                    raise UserError(f"{path}: more than 8 bits a channel (mode {image.mode}); save it with 8")
                return pixels(ImageOps.exif_transpose(image))
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give a PNG or JPEG picture") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path}: over {MEGAPIXELS} megapixels, too large to open; shrink it") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not a picture of a known format; give a PNG or JPEG") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as a picture ({reason(error)}); give a PNG or JPEG") from None


def pixels(image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
    """An opened picture as uint8 [h, w, 1] or [h, w, 3]."""
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    array = np.asarray(image.convert("L" if grey else "RGB"))
    return array[..., None] if grey else array
