"""Image and mask files of a user, fitted to a model: to its image size, its channels and its pixel levels.

Whatever is changed is reported in a line that names the file. White in a mask marks the region to repaint.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Shaped, UInt8

from diffjax.data.pixel_representation import to_unit
from diffjax.errors import UserError
from diffjax.evaluation import as_bytes
from diffjax.experiment.data_spec import DataSpec
from diffjax.utils import image_io
from diffjax.utils.image_fit import Size
from diffjax.utils.image_io import format_size
from diffjax.utils.prng import keys

WHITE_THRESHOLD = 127  # brighter than that is white, in a mask
KINDS = {1: "grey", 3: "RGB"}

Pixels = UInt8[np.ndarray, "_ _ _"]


@dataclass(frozen=True)
class InputImage:
    """An image file, decoded once and fitted to a model: `pixels` are 0 … 255, in the model's channels.

    `file_shape` is [height, width, channels] of the file; `notes` says in one line what was changed, if anything.
    """

    path: str
    file_shape: tuple[int, ...]
    pixels: Pixels
    notes: str = ""


def read_picture(path: str, data: DataSpec, size: Callable[[Size], Size] | None = None) -> InputImage:
    """The image of a file, cropped and scaled to `size(the file's size)`, by default to the model's image size.

    The largest centred part of the right proportions is kept and averaged over areas. Raises UserError for a file that
    is no image, has more than 8 bits per channel, or is too large to decode.
    """
    channels = data.shape[2]
    if channels not in KINDS:
        raise UserError(f"--image {path}: this model draws {channels} channels; image files have 1 or 3")
    decoded = image_io.read_image(path)
    file_size = decoded.shape[0], decoded.shape[1]
    height, width = data.shape[:2] if size is None else size(file_size)
    pixels = image_io.crop_and_resize(decoded, height, width, channels)
    notes = _describe_fit(path, decoded.shape, pixels.shape, image_io.read_header(Path(path)))
    return InputImage(path, decoded.shape, pixels, notes)


def read_mask(path: str, image: InputImage) -> Bool[np.ndarray, "h w"]:
    """The region to repaint, fitted as `image` was: a pixel belongs to it if any of it is white in the mask.

    Raises UserError for a mask of another size than the image file, and for one with no white or nothing but white.
    """
    decoded = image_io.read_image(path)
    if decoded.shape[:2] != image.file_shape[:2]:
        raise UserError(
            f"--mask {path}: expected {format_size(*image.file_shape[:2])}, the size of {image.path}, got "
            f"{format_size(*decoded.shape[:2])}; give a mask of the image's own size"
        )
    height, width = image.pixels.shape[:2]
    white = (decoded.mean(axis=2, keepdims=True) > WHITE_THRESHOLD).astype(np.uint8) * 255
    if not white.any():
        raise UserError(f"--mask {path}: nothing is white, and white marks the region to repaint; paint it white")
    mask = image_io.crop_and_resize(white, height, width, 1)[..., 0] > 0
    if mask.all():
        raise UserError(f"--mask {path}: all is white, so nothing of the image would be kept; leave some of it black")
    return mask


def to_levels(pixels: Pixels, data: DataSpec) -> Pixels:
    """The nearest level of the data for each pixel."""
    return np.rint(pixels * ((data.levels - 1) / 255)).astype(np.uint8)


def to_bytes(pixels: Pixels, data: DataSpec) -> Pixels:
    """Pixels rounded to the levels of the data, as 0 … 255: as samples are written."""
    return as_bytes(to_levels(pixels, data), data.levels)


def to_model_input(pixels: Pixels, data: DataSpec) -> Shaped[Array, "..."]:
    """One example as the model sees it, rounded to the levels of the data."""
    levels = jnp.asarray(to_levels(pixels, data))
    if data.encoding.real:
        return to_unit(levels, data.levels)
    return data.encoding.encode(keys(0, 1), levels[None], data.levels)[0]


def to_model_scale(pixels: Pixels, data: DataSpec) -> Float32[Array, "_ _ _"]:
    """Pixels on the scale of the model's input, not rounded: for means, which are no levels of the data."""
    scale = (data.levels - 1) / data.levels if data.encoding.noisy else 1.0
    return scale * to_unit(jnp.asarray(pixels), 256)


def _describe_fit(
    name: str, file_shape: tuple[int, ...], fitted_shape: tuple[int, ...], header: image_io.Header
) -> str:
    """What was changed, in one line; empty where pixels were only rounded to levels."""
    changes = ", laid on white" * header.transparent + ", 16 bits scaled to 8" * header.deep
    changes += ", the first of its frames" * header.several_frames
    if file_shape == fitted_shape:
        kind = f"{_format_kind(file_shape)}{' with transparency' * header.transparent}"
        return f"{name}: {kind}{changes}" if changes else ""
    return f"{name}: {_format_kind(file_shape)}{changes}, fitted to {_format_kind(fitted_shape)}"


def _format_kind(shape: tuple[int, ...]) -> str:
    return f"{format_size(*shape[:2])}, {KINDS[shape[2]]}"
