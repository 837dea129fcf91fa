"""Pictures and masks of a user, fitted to what a model knows: its size, its channels, its levels of a pixel.

Whatever is done to one is said, in a line that names it. A mask is white where something is to be painted.
"""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Shaped, UInt8

from diffjax.data.quantization import to_unit
from diffjax.errors import UserError
from diffjax.evaluation import as_bytes
from diffjax.experiment.data_spec import DataSpec
from diffjax.utils import image_io
from diffjax.utils.prng import keys

WHITE_THRESHOLD = 127  # brighter than that is white, in a mask
KINDS = {1: "grey", 3: "RGB"}


@dataclass(frozen=True)
class InputImage:
    """A picture of the model's size and channels, 0 … 255.

    `own` is its own size and channels, and `told` what was done to it, in a line, or nothing.
    """

    name: str
    file_shape: tuple[int, ...]
    pixels: UInt8[np.ndarray, "h w c"]
    notes: str = ""


def read_picture(path: str, facts: DataSpec, size: tuple[int, int] | None = None) -> InputImage:
    """The picture of that file, fitted to the model's size or another one, and to its channels.

    The largest centred part of the size's proportions, averaged over areas. Raises UserError for a file that is no
    picture, has more than 8 bits a channel, or is too large to decode.
    """
    height, width = size or facts.shape[:2]
    read, channels = image_io.read_image(path), facts.shape[2]
    if channels not in KINDS:
        raise UserError(f"--image {path}: this model draws {channels} channels, and pictures have 1 or 3")
    pixels = image_io.crop_and_resize(read, height, width, channels)
    return InputImage(
        path, read.shape, pixels, _describe_fit(path, read.shape, pixels.shape, image_io.is_transparent(Path(path)))
    )


def picture_size(path: str) -> tuple[int, int]:
    """Height and width of a picture, without decoding it."""
    return image_io.read_header(Path(path))[:2]


def _describe_fit(name: str, file_shape: tuple[int, ...], fitted_shape: tuple[int, ...], transparent: bool) -> str:
    """What was done to a picture, in a line; nothing where only its levels were rounded."""
    white = ", laid on white" if transparent else ""
    if file_shape == fitted_shape:
        return f"{name}: {_format_size(file_shape)} with transparency{white}" if transparent else ""
    return f"{name}: {_format_size(file_shape)}{white}, fitted to {_format_size(fitted_shape)}"


def _format_size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} {KINDS[shape[2]]}"


def read_mask(path: str, of: InputImage) -> Bool[np.ndarray, "h w"]:
    """Where a mask of the picture is white, fitted as the picture was: a pixel is to be painted if any of it is white.

    Raises UserError for a mask of another size, and for one in which nothing or all is white.
    """
    read = image_io.read_image(path)
    if read.shape[:2] != of.file_shape[:2]:
        raise UserError(
            f"--mask {path}: expected {of.file_shape[1]}x{of.file_shape[0]} pixels, as {of.name} has, got "
            f"{read.shape[1]}x"
            f"{read.shape[0]}; give a mask of the picture's own size"
        )
    height, width = of.pixels.shape[:2]
    white = (read.mean(axis=2, keepdims=True) > WHITE_THRESHOLD).astype(np.uint8) * 255
    return validate_mask(path, image_io.crop_and_resize(white, height, width, 1)[..., 0] > 0, bool(white.any()))


def validate_mask(path: str, mask: Bool[np.ndarray, "h w"], any_white: bool) -> Bool[np.ndarray, "h w"]:
    """The same. Raises UserError where nothing or all is to be painted."""
    if not any_white:
        raise UserError(f"--mask {path}: nothing is white, and white is what gets painted; paint where it should be")
    if mask.all():
        raise UserError(f"--mask {path}: all is white, and so nothing of the picture is kept; leave some of it black")
    return mask


def to_levels(pixels: UInt8[np.ndarray, "h w c"], facts: DataSpec) -> UInt8[np.ndarray, "h w c"]:
    """Each pixel's nearest level of the data."""
    return np.rint(pixels * ((facts.levels - 1) / 255)).astype(np.uint8)


def to_bytes(pixels: UInt8[np.ndarray, "h w c"], facts: DataSpec) -> UInt8[np.ndarray, "h w c"]:
    """The same as bytes, as samples are written."""
    return as_bytes(to_levels(pixels, facts), facts.levels)


def to_model_input(pixels: UInt8[np.ndarray, "h w c"], facts: DataSpec) -> Shaped[Array, "..."]:
    """The picture, rounded to the data's levels, as the model sees one example."""
    levels = jnp.asarray(to_levels(pixels, facts))
    if facts.encoding.real:
        return to_unit(levels, facts.levels)
    return facts.encoding.encode(keys(0, 1), levels[None], facts.levels)[0]


def to_model_scale(pixels: UInt8[np.ndarray, "h w c"], facts: DataSpec) -> Float32[Array, "h w c"]:
    """The same on the scale of the model's numbers and not rounded: of means, which are no levels of the data."""
    within = (facts.levels - 1) / facts.levels if facts.encoding.noisy else 1.0
    return within * to_unit(jnp.asarray(pixels), 256)
