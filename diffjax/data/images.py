"""Image files and encoded images, read with Pillow into bytes of one shape."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from diffjax.errors import UserError

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's name for that many channels
MAX_PIXELS = 64_000_000

_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap height and width
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)  # what Pillow's readers raise
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class Header(NamedTuple):
    """What an image file says before it is decoded; height and width in pixels, as shown."""

    height: int
    width: int
    grey: bool


def suffixes() -> frozenset[str]:
    """The file suffixes, in lower case, that Pillow can open."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def read_header(path: Path) -> Header:
    """Size and kind of an image file, without decoding it; raises `UserError` naming a file that is no image."""
    with _opened(path, str(path)) as image:
        width, height = image.size
        if _exif(image) in _SIDEWAYS:
            width, height = height, width
        return Header(height, width, grey=image.mode in ("1", "L"))


def decode_file(path: Path, channels: int, image_size: int | None) -> UInt8[np.ndarray, "h w c"]:
    """An image file as shown: turned by its EXIF orientation, laid on white where transparent, the first frame."""
    with _opened(path, str(path)) as image:
        upright = ImageOps.exif_transpose(image) if _exif(image) else image
        return _array(_on_white(upright), channels, image_size)


def decode_bytes(data: bytes, channels: int, image_size: int | None, name: str) -> UInt8[np.ndarray, "h w c"]:
    """An encoded image just as it is stored; `name` is what to call it in a `UserError`."""
    with _opened(io.BytesIO(data), name) as image:
        return _array(image, channels, image_size)


@contextmanager
def _opened(file: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """An open image of at most `MAX_PIXELS` and 8 bits; whatever Pillow raises becomes a `UserError`."""
    try:
        with Image.open(file) as image:
            _check(image, name)
            yield image
    except UserError:
        raise
    except _BOMB as error:
        raise UserError(_too_large(name)) from error
    except _BROKEN as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: cannot be read as an image ({reason}); replace it or take it away") from error


def _check(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UserError(_too_large(name))
    if image.mode.startswith(("I", "F")):
        raise UserError(f"{name}: pixels of more than 8 bits (mode {image.mode}); save it with 8 bits per channel")


def _too_large(name: str) -> str:
    return f"{name}: larger than {MAX_PIXELS // 10**6} megapixels; make it smaller or take it away"


def _exif(image: Image.Image) -> int:
    """The EXIF orientation, 0 where none is given; asked only if present, as looking further decodes a PNG."""
    return image.getexif().get(_ORIENTATION, 0) if "exif" in image.info else 0


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _array(image: Image.Image, channels: int, image_size: int | None) -> UInt8[np.ndarray, "h w c"]:
    image = image.convert(MODES[channels])
    if image_size is not None:
        image = _fit(image, image_size)
    return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)


def _fit(image: Image.Image, size: int) -> Image.Image:
    """The largest centred square, averaged over areas (box filter) to size × size pixels."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BOX, box=(left, top, left + side, top + side))
