"""Untrusted image files and encoded images, read with Pillow and checked before they are decoded.

Only `FORMATS` are ever tried, whatever a file's name says. Size, depth and length are known before a pixel is decoded;
of several frames the first is read. Every fault is a `UserError` that names the file.
"""

import io
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from jaxtyping import UInt8
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from diffjax.errors import UserError
from diffjax.utils.exif import SIDEWAYS, read_orientation
from diffjax.utils.files import describe_error
from diffjax.utils.image_fit import Colour, Place, largest_part, place_image
from diffjax.utils.image_kinds import FORMATS, check_depth, is_deep, is_grey, max_value, missing_codec, to_eight_bits
from diffjax.utils.jpeg_check import check_scans
from diffjax.utils.tiff_check import check_tiff

Stream = io.BufferedReader | io.BytesIO
READER = f"Pillow {PIL.__version__}"  # what decides whether a file can be read
WHITE = (255, 255, 255)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's name for that many channels
MAX_PIXELS = 64_000_000
MAX_BYTES = 5 * MAX_PIXELS  # of a file: more than so many pixels need in any of the formats

_DECODING_BUFFER = 2**18  # bytes that are read of a file at a time, where all of it is needed
_SIZE = re.compile(r"([1-9][0-9]{0,7})(?:x([1-9][0-9]{0,7}))?")

# Pillow warns of sizes beyond a limit of its own; ours is lower, and an error. (To silence it for a moment alone would
# not be safe: images are decoded in threads, and `catch_warnings` acts on all of them.)
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class Header(NamedTuple):
    """What an image file says before it is decoded; height and width in pixels, as shown.

    `transparent` is whether it has an alpha channel or a transparent colour, `deep` whether a channel has 16 bits, of
    which 8 are used, and `several_frames` whether it has further ones, which are not.
    """

    height: int
    width: int
    grey: bool
    transparent: bool
    deep: bool = False
    several_frames: bool = False


def read_header(file: Path | Stream, name: str = "") -> Header:
    """Size and kind of an image file, without decoding it; raises `UserError` naming a file that is no image.

    `name` is what to call it in a message, by default its path.
    """
    name = name or str(file)
    with _open_image(file, name) as image:
        width, height = image.size
        if read_orientation(image, name) in SIDEWAYS:
            width, height = height, width
        transparent = image.has_transparency_data
        frames = bool(getattr(image, "is_animated", False))  # which classes of some formats have
        return Header(height, width, is_grey(image), transparent, is_deep(image), frames)


def read_image(path: str | Path) -> UInt8[np.ndarray, "h w c"]:
    """An image file as shown, grey (c = 1) or RGB (c = 3): see `decode_file`."""
    return decode_file(Path(path), None, None)


def decode_file(
    file: Path | Stream, channels: int | None, place: Place | None, name: str = "", *, background: Colour = WHITE
) -> UInt8[np.ndarray, "h w c"]:
    """An image file as shown: turned by its EXIF orientation, laid on `background` where transparent, the first frame.

    By default it has its own size, or else that of `place`, and as many channels as it needs, 1 or 3; 16 bits a channel
    are scaled to 8. `name` is what to call it in a message, by default its path. Raises `UserError` for a file that is
    missing, is no image, has more bits, or has more than `MAX_PIXELS` pixels.
    """
    name = name or str(file)
    with _open_image(file, name, _DECODING_BUFFER) as image:
        check_scans(image, name)
        coloured = image.has_transparency_data and len({*background}) > 1
        default_channels = 1 if is_grey(image) and not coloured else 3
        white = max_value(image)
        upright = ImageOps.exif_transpose(image) if read_orientation(image, name) else image
        opaque = _on_colour(to_eight_bits(upright, white), background)
        return _array(opaque, channels or default_channels, place, name)


def parse_colour(text: str, field: str) -> Colour:
    """The colour of a text such as `#ffffff` or `white`. Raises UserError, naming the field, for another text."""
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except (ValueError, TypeError):
        raise UserError(f"{field}: expected a colour, such as #ffffff or white, got {text[:80]!r}") from None
    return red, green, blue


def parse_size(text: str, field: str) -> tuple[int, int]:
    """Height and width in pixels of a text such as `64` (both) or `64x96` (height first).

    Raises UserError, naming the field, for another text and for more than `MAX_PIXELS` pixels.
    """
    numbers = _SIZE.fullmatch(text)
    height = int(numbers[1]) if numbers else 0
    width = int(numbers[2] or height) if numbers else 0
    if not 0 < height * width <= MAX_PIXELS:
        form = f"HEIGHTxWIDTH or one number, such as 64x96 or 64, up to {MAX_PIXELS // 10**6} megapixels"
        raise UserError(f"{field}: expected {form}, got {text[:80]!r}")
    return height, width


def format_size(height: int, width: int) -> str:
    """A size as all messages write it, whichever number comes first elsewhere: `40 wide and 28 high`."""
    return f"{width} wide and {height} high"


def resize(picture: UInt8[np.ndarray, "h w c"], height: int, width: int, channels: int) -> UInt8[np.ndarray, "_ _ _"]:
    """The whole picture averaged over areas to this size, whatever its proportions, in so many channels."""
    image = _image(picture).convert(MODES[channels]).resize((width, height), Image.Resampling.BOX)
    return _array_of(image, channels)


def crop_and_resize(
    picture: UInt8[np.ndarray, "h w c"], height: int, width: int, channels: int
) -> UInt8[np.ndarray, "_ _ _"]:
    """The largest centred part of these proportions, averaged over areas to this size, in so many channels."""
    placement = largest_part(picture.shape[0], picture.shape[1], (height, width))
    return _array_of(place_image(_image(picture).convert(MODES[channels]), placement), channels)


def place_pixels(picture: UInt8[np.ndarray, "h w c"], place: Place, name: str) -> UInt8[np.ndarray, "_ _ c"]:
    """The picture brought to a size; `name` is what to call it in a message."""
    placement = place(picture.shape[0], picture.shape[1], name)
    return _array_of(place_image(_image(picture), placement), picture.shape[2])


def decode_bytes(data: bytes, channels: int, place: Place | None, name: str) -> UInt8[np.ndarray, "h w c"]:
    """An encoded image just as it is stored; `name` is what to call it in a `UserError`."""
    with _open_image(io.BytesIO(data), name) as image:
        check_scans(image, name)
        white = max_value(image)
        image.load()
        return _array(to_eight_bits(image, white), channels, place, name)


@contextmanager
def _open_image(file: Path | Stream, name: str, size: int = io.DEFAULT_BUFFER_SIZE) -> Iterator[ImageFile]:
    """An open image that is fit to be decoded; whatever Pillow raises, then or now, becomes a `UserError`."""
    try:
        # By a stream: of files that it maps itself, Pillow 13 reads those of TIFF that lie on their side in wrong rows.
        with (
            _open_file(file, name, size) if isinstance(file, Path) else nullcontext(file) as stream,
            Image.open(_check_start(stream, name), formats=FORMATS) as image,
        ):
            _check(image, name)
            yield image
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(_describe_too_large(name)) from None
    except UnidentifiedImageError:
        raise UserError(_describe_unreadable(name, f"not {', '.join(FORMATS)}")) from None
    except Exception as error:  # damage leads Pillow's readers to errors of any kind
        raise UserError(_describe_unreadable(name, describe_error(error))) from error


def _open_file(path: Path, name: str, size: int) -> io.BufferedReader:
    """A file that is read in pieces of that size. Raises `UserError` for a pipe or a device, which may have no end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{name}: not a file; give a PNG or JPEG image")
        file = path.open("rb", size)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file; give a PNG or JPEG image") from None
    assert isinstance(file, io.BufferedReader)
    return file


def _check_start(stream: Stream, name: str) -> Stream:
    """The stream; raises `UserError` for a long one, a format that Pillow lacks here, and a TIFF of too many tags."""
    if stream.seek(0, io.SEEK_END) > MAX_BYTES:
        raise UserError(f"{name}: larger than {MAX_BYTES // 10**6} megabytes; make it smaller or take it away")
    stream.seek(0)
    lacking = missing_codec(stream.read(16))
    stream.seek(0)
    if lacking:
        problem = f"{lacking}, which the installed Pillow was built without"
        raise UserError(f"{name}: {problem}; install its wheel (pip install --upgrade pillow), or save it as PNG")
    check_tiff(stream, name)
    return stream


def _check(image: ImageFile, name: str) -> None:
    """Raises `UserError` for more pixels than may be decoded, or more than 16 bits of each."""
    if image.width * image.height > MAX_PIXELS:
        raise UserError(_describe_too_large(name))
    check_depth(image, name)


def _describe_unreadable(name: str, why: str) -> str:
    return f"{name}: cannot be read as an image ({why}); replace it or take it away"


def _describe_too_large(name: str) -> str:
    return f"{name}: larger than {MAX_PIXELS // 10**6} megapixels; make it smaller or take it away"


def _on_colour(image: Image.Image, background: Colour) -> Image.Image:
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (*background, 255)), rgba)


def _array(image: Image.Image, channels: int, place: Place | None, name: str) -> UInt8[np.ndarray, "h w c"]:
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of any other way
    if image.mode != MODES[channels]:
        image = image.convert(MODES[channels])  # of the same mode it would be a copy
    if place is not None:
        image = place_image(image, place(image.height, image.width, name))
    return _array_of(image, channels)


def _image(picture: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)


def _array_of(image: Image.Image, channels: int) -> UInt8[np.ndarray, "h w c"]:
    return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)
