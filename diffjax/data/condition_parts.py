"""Parts of a condition beside the class: a sketch of the image, the image at low resolution, or a stored feature.

Each function of `__all__`, such as `sketch(sigma=1.0)`, returns a maker: from the properties of a data set
(`PartContext`) to a `Part`, which computes the part of one example. A maker raises UserError for a data set that it
does not suit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from diffjax.data import byte_tokenizer
from diffjax.data.class_names import MAX_CLASSES
from diffjax.data.computed_parts import average_blocks, draw_lines, unit_picture
from diffjax.data.examples import Feature
from diffjax.data.splits import Dataset
from diffjax.errors import UserError
from diffjax.utils.image_io import format_size

__all__ = ["category", "feature", "low_res", "reference", "sketch"]

MAX_VALUES = 2**24  # numbers of a part of one example

Image = UInt8[np.ndarray, "h w c"]


class PartContext(NamedTuple):
    """What a part may depend on of a data set: image shape (h, w, c), class names, pixel levels, stored features."""

    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    levels: int
    features: Mapping[str, Feature]


@dataclass(frozen=True)
class Part:
    """A part of a condition: `make(image, label)` is its value for one example, of this `shape` and `dtype`.

    `choices`: with more than 0, a value is [choices, *shape], alternatives of which training draws one each time, and
    all else takes the first. `vocab`: with more than 0, values are integers 0 … vocab − 1, else real numbers. `reads`:
    the stored feature that `make` gets in place of the image; empty: the image. `of_image`: the part describes the
    image as it is stored, so it does not go with augmentation. `absent`: the integer that a value has throughout where
    an example has no such part; None: all have it. `names` are those of the values 0 … vocab − 1 of a category.
    `noise`: the largest standard deviation of normal noise that training adds to a picture, whose last channel is that
    of each example.
    """

    name: str
    shape: tuple[int, ...]
    dtype: type[np.generic]
    make: Callable[[Any, int], np.ndarray]
    choices: int = 0
    vocab: int = 0
    reads: str = ""
    of_image: bool = True
    absent: int | None = None
    names: tuple[str, ...] = ()
    noise: float = 0.0

    @property
    def random(self) -> bool:
        """Whether training draws a value of the part by chance."""
        return self.choices > 0 or self.noise > 0

    @property
    def bytes(self) -> int:
        """The size of the value of one example, with all choices."""
        return prod(self.shape) * max(self.choices, 1) * np.dtype(self.dtype).itemsize


Maker = Callable[[PartContext], Part]


def part_context(dataset: Dataset) -> PartContext:
    """The context of a data set."""
    return PartContext(dataset.shape, dataset.class_names, dataset.levels, dataset.features)


def sketch(sigma: float = 0.0) -> Maker:
    """Lines of the image, float32 [h, w, 1], 1 on lines and 0 elsewhere.

    With sigma 0 they are the skeletons, one or two pixels wide, of bright strokes on dark, in grey images; else the
    edges by Canny (1986) at the scale sigma, in pixels, of any image. Raises UserError for sigma < 0.
    """
    if sigma < 0:
        raise UserError(f"sketch: sigma must be at least 0, got {sigma:g}")

    def make(context: PartContext) -> Part:
        height, width, channels = _image_shape(context, "sketch")
        if sigma == 0 and channels != 1:
            raise UserError(f"sketch: strokes are grey, and these pictures have {channels} channels; give sigma=1.0")
        lines = partial(draw_lines, sigma, context.levels)
        return Part("sketch", (height, width, 1), np.float32, lines)

    return make


def low_res(factor: int = 2, noise: float = 0.0) -> Maker:
    """The image at 1/factor of its size, float32 [h / factor, w / factor, c] in [−1, 1]: means of square blocks.

    With `noise` there is one more channel, s, and s times normal noise is added, as for cascades in Ho et al. 2021,
    section 4.2. Training draws s evenly from [0, noise] for half of the examples. For the other half, and in all else,
    it is 0: most samples are drawn for a small picture without noise. Raises UserError for a factor below 2, for one
    that does not divide the sides of the images, and for a noise outside of [0, 2].
    """
    if not 0 <= noise <= 2:
        raise UserError(f"low_res: noise must be in [0, 2], of pixels in [-1, 1], got {noise:g}")
    if factor < 2:
        raise UserError(f"low_res: factor must be at least 2, got {factor}")

    def make(context: PartContext) -> Part:
        height, width, channels = _image_shape(context, "low_res")
        if height % factor or width % factor:
            size = format_size(height, width)
            raise UserError(f"low_res: factor must divide the sides of the images ({size}), got {factor}")
        small = (height // factor, width // factor, channels)
        means = partial(average_blocks, factor, noise > 0, context.levels)
        return Part("low_res", (*small[:2], channels + (noise > 0)), np.float32, means, noise=noise)

    return make


def reference() -> Maker:
    """The image itself, float32 [h, w, c] in [−1, 1], as an example of its own style: for the encoder `Style`.

    What that encoder makes of it does not say where things are, so it goes with augmentation.
    """

    def make(context: PartContext) -> Part:
        shape = _image_shape(context, "reference")
        return Part("reference", shape, np.float32, partial(unit_picture, context.levels), of_image=False)

    return make


def feature(name: str, length: int = 64) -> Maker:
    """The stored feature of that name: numbers as float32 or int32, a class, or a text in `length` bytes of UTF-8.

    Arrays keep their shape, of 1 … `MAX_VALUES` numbers; a stored picture, such as a sketch, is in [0, 1]. An empty
    caption of a source with captions is absent: the net sees its null embedding. Raises UserError for an unknown name
    and for a shape that varies; and when an example is read, for a longer text, numbers that are not finite, or
    integers beyond 32 bits.
    """

    def make(context: PartContext) -> Part:
        kind = _stored(context, name, "feature")
        if kind.text:
            read = partial(_read_text, length, kind.optional)
            vocab = byte_tokenizer.VOCAB
            absent = 0 if kind.optional else None
            return Part(name, (length,), np.int32, read, vocab=vocab, reads=name, of_image=False, absent=absent)
        shape = tuple(size or 0 for size in kind.shape)
        if None in kind.shape or not 0 < prod(shape) <= MAX_VALUES:
            raise UserError(
                f"feature: {name!r} has shape {kind.shape}; expected one shape of 1 … {MAX_VALUES:,} numbers"
            )
        if kind.classes > MAX_CLASSES:
            raise UserError(f"feature: {name!r} has {kind.classes:,} classes; expected at most {MAX_CLASSES:,}")
        if kind.picture:
            return Part(name, shape, np.float32, _read_picture, reads=name)
        dtype = np.float32 if kind.dtype.kind == "f" else np.int32
        read = partial(_read_array, name, dtype, kind.classes)
        return Part(name, shape, dtype, read, vocab=kind.classes, reads=name, of_image=False)

    return make


def category(name: str) -> Maker:
    """The stored feature of that name as one of its categories, an integer: few different texts, or integers 0, 1, ….

    The names of the categories are recorded with a run. An empty text is absent. Raises UserError for an unknown name,
    and for a feature of another kind, or of more than 1,000 categories.
    """

    def make(context: PartContext) -> Part:
        kind = _stored(context, name, "category")
        names = kind.names or tuple(map(str, range(kind.classes)))
        if not names or kind.shape:
            what = "texts, too many of them different" if kind.text else "no integers 0, 1, … that are few"
            raise UserError(f"category: {name!r} holds {what}; read it by feature({name!r})")
        numbers = {text: number for number, text in enumerate(names)} if kind.text else None
        read = partial(_read_category, name, numbers, len(names))
        absent = -1 if kind.optional else None
        return Part(name, (), np.int32, read, vocab=len(names), reads=name, of_image=False, absent=absent, names=names)

    return make


def _stored(context: PartContext, name: str, maker: str) -> Feature:
    """The stored feature of that name."""
    if name not in context.features:
        names = ", ".join(sorted(context.features)) or "none beside image and class"
        raise UserError(f"{maker}: the data set stores no {name!r}; it has: {names}")
    return context.features[name]


def _image_shape(context: PartContext, maker: str) -> tuple[int, int, int]:
    """(h, w, c) of images of levels."""
    if len(context.shape) != 3:
        raise UserError(f"{maker}: describes images, and these are arrays of shape {context.shape}; leave it out")
    height, width, channels = context.shape
    return height, width, channels


def _read_picture(pixels: UInt8[np.ndarray, "h w c"], label: int) -> Float32[np.ndarray, "h w c"]:
    return (np.asarray(pixels) / 255).astype(np.float32)


def _read_category(name: str, numbers: Mapping[str, int] | None, count: int, value: object, label: int) -> np.ndarray:
    """The number of a category; -1 for an empty text."""
    if numbers is not None:
        return np.asarray(numbers.get(str(value), -1), np.int32)
    number = int(np.asarray(value))
    if not 0 <= number < count:
        raise UserError(f"category: {name!r}: expected 0 … {count - 1}, got {number}; start again")
    return np.asarray(number, np.int32)


def _read_array(name: str, dtype: type[np.generic], classes: int, feature_value: object, label: int) -> np.ndarray:
    """The stored array as that dtype. Raises UserError where this would change a value."""
    value = (array := np.asarray(feature_value)).astype(dtype)
    if dtype is np.int32 and not np.array_equal(value.astype(array.dtype), array):
        raise UserError(f"feature: {name!r} holds integers beyond 32 bits; store them as another type")
    if classes and not (value.min() >= 0 and value.max() < classes):
        problem = f"expected classes 0 … {classes - 1}, got {value.min()}"
        raise UserError(f"feature: {name!r}: {problem}; leave such examples out where the set is prepared")
    if not np.isfinite(value).all():
        raise UserError(f"feature: {name!r} holds numbers that are not finite; correct them where the set is prepared")
    return value


def _read_text(length: int, optional: bool, value: object, label: int) -> Int32[np.ndarray, " length"]:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    if optional and not text.strip():
        return np.zeros(length, np.int32)
    return byte_tokenizer.encode([text], length)[0]
