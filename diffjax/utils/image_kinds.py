"""The formats of image files, what the installed Pillow lacks for one, and pixels of 16 bits as bytes."""

import numpy as np
from PIL import Image, features
from PIL.ImageFile import ImageFile

from diffjax.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")

_CODECS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # the names of Pillow's features
_GREY = ("1", "L", "LA", "La")
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N")
_DEEP_FORMATS = ("PNG", "TIFF")  # in a BMP, 16 bits are those of all channels
_MAX_VALUES = {"I;12": 2**12 - 1}  # of a raw mode; others of these modes have 16 bits


def missing_codec(start: bytes) -> str:
    """The name of the format of a file that begins with these bytes, if the installed Pillow was built without it."""
    format_name = _format_of(start)
    codec = _CODECS.get(format_name)
    return format_name if codec and not features.check(codec) else ""


def is_grey(image: ImageFile) -> bool:
    """Whether an image has no colour by its mode."""
    grey_and_alpha = any(mode.startswith("LA;16") for mode in _raw_modes(image))  # which Pillow reads as RGBA
    return grey_and_alpha or image.mode in _GREY or image.mode in _DEEP_GREY or _is_old_deep_png(image)


def is_deep(image: ImageFile) -> bool:
    """Whether an image that is not loaded yet has 12 or 16 bits a channel; Pillow reads those of colour as 8."""
    coloured = image.format in _DEEP_FORMATS and any(";16" in mode for mode in _raw_modes(image))
    return coloured or image.mode in _DEEP_GREY or _is_old_deep_png(image)


def check_depth(image: ImageFile, name: str) -> None:
    """Raises `UserError` for integers of 32 bits and for real numbers, whose range no file says."""
    if image.mode.startswith("F") or (image.mode.startswith("I") and not is_deep(image)):
        problem = f"pixels of over 16 bits, or real numbers (mode {image.mode})"
        raise UserError(f"{name}: {problem}; save it with 8 or 16 bits per channel")


def max_value(image: ImageFile) -> int:
    """The value of white in an image of deep grey that is not loaded yet."""
    return max((_MAX_VALUES.get(mode, 0) for mode in _raw_modes(image)), default=0) or 2**16 - 1


def to_eight_bits(image: Image.Image, white: int) -> Image.Image:
    """Deep grey scaled from 0 … `white` to 0 … 255, rounded to the nearest; other images as they are."""
    if image.mode not in _DEEP_GREY and image.mode != "I":
        return image
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + white // 2) // white).clip(0, 255).astype(np.uint8))


def _raw_modes(image: ImageFile) -> list[str]:
    """How the file holds pixels, by Pillow's names."""
    arguments = [tile[3] for tile in image.tile]
    return [str(argument[0]) if isinstance(argument, tuple) and argument else str(argument) for argument in arguments]


def _is_old_deep_png(image: ImageFile) -> bool:
    """Before Pillow 11.3, or so, grey PNGs of 16 bits have the mode of 32."""
    return image.mode == "I" and image.format == "PNG"


def _format_of(start: bytes) -> str:
    """The format by its first bytes, of those that Pillow may lack; otherwise empty."""
    if start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis", b"mif1", b"msf1"):
        return "AVIF"
    if start.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG2000"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    return ""
