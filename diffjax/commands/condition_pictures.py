"""The pictures that samples follow: a sketch, a picture at low resolution, and references of style."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float32, Key, UInt8

from diffjax.errors import UserError, tell
from diffjax.evaluation.npz import read_npz
from diffjax.utils import image_io
from diffjax.utils.image_io import format_size
from diffjax.utils.prng import KeyUse, fold, keys

MIN_BRIGHTNESS = 0.5  # of white: strokes are brighter
MAX_NPZ_BYTES = 2**31
SAMPLES = "arr_0"  # the array of samples.npz that holds the samples

Picture = Float32[np.ndarray, "_ _ _"]
Pictures = Float32[np.ndarray, "_ _ _ _"]


class Style(NamedTuple):
    """A reference file, and its share among several."""

    path: str
    share: float


def read_sketch(path: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "h w 1"]:
    """A drawing in white on black, as the sketch of a model: 1 where there is a stroke.

    A drawing that is a whole number of times larger is reduced so that every stroke stays.
    """
    picture = _read_grey(path)
    height, width = shape[:2]
    factor, rest = divmod(picture.shape[0], height)
    if rest or picture.shape != (factor * height, factor * width):
        raise UserError(
            f"--sketch {path}: expected {format_size(height, width)}, as the model draws, or a whole multiple of both, "
            f"got {format_size(*picture.shape)}; scale it"
        )
    bright = picture.reshape(height, factor, width, factor).max(axis=(1, 3)) > MIN_BRIGHTNESS * 255
    if not bright.any() or bright.all():
        problem = "nothing is drawn" if not bright.any() else "all is white"
        raise UserError(f"--sketch {path}: {problem}; draw strokes in white on black")
    return bright[..., None].astype(np.float32)


def read_low_res(path: str, shape: tuple[int, ...], count: int) -> Pictures:
    """A picture [1, *shape] at low resolution, in [−1, 1], fitted to `shape`; or the first `count` of a samples.npz.

    Raises UserError for samples of another shape, and for fewer than `count`.
    """
    if not path.endswith(".npz"):
        return _read_fitted("--low_res", path, shape)[None]
    try:
        samples = read_npz(path, [SAMPLES], MAX_NPZ_BYTES).get(SAMPLES)
    except UserError as mistake:
        raise UserError(f"--low_res {mistake}") from None
    if samples is None or samples.dtype != np.uint8 or samples.shape[1:] != shape:
        got = "no pictures" if samples is None else f"{samples.dtype} {list(samples.shape)}"
        raise UserError(f"--low_res {path}: expected samples of shape {list(shape)} in {SAMPLES}, got {got}")
    if len(samples) < count:
        raise UserError(f"--low_res {path}: holds {len(samples)} pictures, for {count} samples; give --num")
    return _to_unit(samples[:count])


def add_noise(pictures: Pictures, level: float, root: Key[Array, ""], count: int) -> Pictures:
    """`count` pictures with normal noise of this standard deviation, and the level as a last channel.

    What is added to picture i depends on the key of example i alone.
    """

    def draw(key: Key[Array, ""]) -> Array:
        return jax.random.normal(key, pictures.shape[1:])

    noise = level * np.asarray(jax.vmap(draw)(fold(keys(root, count), KeyUse.CONDITION_NOISE)))
    noisy = (pictures + noise).astype(np.float32)
    return np.concatenate([noisy, np.full((*noisy.shape[:-1], 1), level, np.float32)], axis=-1)


def parse_style(text: str) -> tuple[Style, ...]:
    """One or two references of `a.png`, or of `a.png:0.3,b.png:0.7`. Raises UserError for shares that are not of 1."""
    expected = "expected FILE, or FILE:SHARE,FILE:SHARE of shares that add up to 1"
    files = [entry.rpartition(":") for entry in text.split(",")]
    if len(files) == 1 and not (files[0][1] and _is_share(files[0][2])):
        return (Style(text, 1.0),)
    styles = tuple(Style(path, float(share)) for path, _, share in files if path and _is_share(share))
    if len(styles) != len(files) or len(files) > 2 or abs(sum(style.share for style in styles) - 1) > 1e-3:
        raise UserError(f"--style {text}: {expected}, such as a.png:0.3,b.png:0.7")
    return styles


def read_style(path: str, shape: tuple[int, ...]) -> Picture:
    """A reference, in [−1, 1], fitted to `shape`."""
    return _read_fitted("--style", path, shape)


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _read_fitted(flag: str, path: str, shape: tuple[int, ...]) -> Picture:
    """A picture whose largest centred part is averaged to that size, of which a line tells."""
    height, width, channels = shape
    try:
        picture = image_io.read_image(Path(path))
    except UserError as mistake:
        raise UserError(f"{flag} {mistake}") from None
    if picture.shape[0] < height or picture.shape[1] < width:
        size = f"expected {format_size(height, width)} or more, got {format_size(*picture.shape[:2])}"
        raise UserError(f"{flag} {path}: {size}; give a larger picture")
    if picture.shape[:2] != (height, width):
        tell(f"{path}: {format_size(*picture.shape[:2])}, fitted to {format_size(height, width)}")
    return _to_unit(image_io.crop_and_resize(picture, height, width, channels))


def _to_unit(pixels: UInt8[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    return (pixels / np.float64(127.5) - 1).astype(np.float32)


def _read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    """The pixels of a drawing. Raises UserError for one in colours."""
    picture = image_io.read_image(path)
    if picture.shape[2] == 3 and (picture != picture[..., :1]).any():
        raise UserError(f"--sketch {path}: has colours; give a grey image, with strokes in white on black")
    return picture[..., 0]
