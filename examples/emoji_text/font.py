"""Emoji drawn by a colour emoji font that the machine has."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, features

from diffjax.errors import UserError

NAMES = ("NotoColorEmoji.ttf",)
FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts", "~/Library/Fonts")
BITMAP_SIZE = 109  # points; the one size of the bitmaps of Noto Color Emoji
INSTALL = "apt install fonts-noto-color-emoji, or give --font with the path of NotoColorEmoji.ttf"


def find_font(path: str = "") -> Path:
    """The font of that path, or the first that is installed. Raises UserError, with what to do, where there is none."""
    if path:
        if not Path(path).is_file():
            raise UserError(f"--font {path}: no such file; {INSTALL}")
        return Path(path)
    folders = [Path(folder).expanduser() for folder in FOLDERS]
    fonts = (font for folder in folders for name in NAMES for font in sorted(folder.rglob(name)))
    font = next(fonts, None)
    if font is None:
        raise UserError(f"no colour emoji font is installed in {', '.join(FOLDERS)}; {INSTALL}")
    return font


def open_font(path: Path) -> ImageFont.FreeTypeFont:
    """The font at the size of its bitmaps. Raises UserError where Pillow cannot draw emoji by it."""
    if not features.check("raqm"):
        raise UserError("Pillow was built without raqm, which joins emoji; pip install --upgrade pillow")
    try:
        return ImageFont.truetype(str(path), BITMAP_SIZE, layout_engine=ImageFont.Layout.RAQM)
    except OSError as error:
        raise UserError(f"--font {path}: has no bitmaps of emoji that Pillow can draw ({error}); {INSTALL}") from None


def is_drawable(text: str, font: ImageFont.FreeTypeFont) -> bool:
    """Whether the font draws a sequence as one emoji, and not as several beside each other, or as none."""
    one = font.getlength("\N{GRINNING FACE}")
    return font.getlength(text) == one and font.getmask(text, "RGBA").size[1] > 0


def draw_emoji(text: str, font: ImageFont.FreeTypeFont, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """An emoji on white, averaged over areas to `side` × `side` pixels."""
    left, top, right, bottom = font.getbbox(text)
    square = round(max(right - left, bottom - top))
    canvas = Image.new("RGBA", (square, square), "white")
    at = ((square - (right - left)) / 2 - left, (square - (bottom - top)) / 2 - top)
    ImageDraw.Draw(canvas).text(at, text, font=font, embedded_color=True)
    return np.asarray(canvas.convert("RGB").resize((side, side), Image.Resampling.BOX))
