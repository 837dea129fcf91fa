"""What can be said of a handwritten digit, and what was meant: captions from measured attributes, and back.

"a bold handwritten three, leaning left, on the right": the class, and each attribute by which a picture stands out
from its class. A digit stands out in the lowest and the highest fifth of the training pictures of its class, for a 1 is
narrow beside any 0, and the ink of a 7 reaches to the right by its shape: so "leaning left" means further to the left
than four in five of these digits. What lies between is not said.
"""

import zlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from examples.digits_text.attributes import ATTRIBUTES, measure
from examples.digits_text.grammar import (
    DIGITS,
    MAX_LENGTH,
    WORDS,
    CaptionMeaning,
    Traits,
    distinct_prompts,
    parse_caption,
    write_caption,
)

__all__ = [
    "DIGITS",
    "LIMITS",
    "MAX_LENGTH",
    "WORDS",
    "CaptionMeaning",
    "Traits",
    "attribute_quantiles",
    "describe_traits",
    "distinct_prompts",
    "matches_caption",
    "parse_caption",
    "write_caption",
    "write_captions",
]

TRAIT_RATE = 0.7  # the chance of a trait to be said where not all are
TAIL_SHARE = 0.2  # of a class that stands out at either end
LIMITS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "weight": (
        (0.2711, 0.3402),
        (0.2666, 0.3395),
        (0.2838, 0.3359),
        (0.2676, 0.333),
        (0.2822, 0.3281),
        (0.2717, 0.327),
        (0.2736, 0.3342),
        (0.2684, 0.3232),
        (0.2949, 0.3467),
        (0.2725, 0.3369),
    ),
    "slant": (
        (-0.0774, 0.0259),
        (-0.132, 0.0508),
        (-0.2113, -0.0637),
        (-0.1404, 0.0009),
        (-0.0477, 0.0565),
        (-0.0852, 0.0662),
        (-0.2495, -0.1522),
        (0.0761, 0.1897),
        (-0.0598, 0.0722),
        (-0.169, 0.0392),
    ),
    "width": (
        (0.6147, 0.6692),
        (0.3671, 0.5025),
        (0.4928, 0.5532),
        (0.498, 0.568),
        (0.5414, 0.6105),
        (0.5074, 0.593),
        (0.5304, 0.5851),
        (0.4877, 0.5448),
        (0.4756, 0.5519),
        (0.5437, 0.6086),
    ),
    "position": (
        (-0.0269, 0.0168),
        (-0.0399, 0.1362),
        (-0.0612, 0.0605),
        (0.0375, 0.1102),
        (-0.0479, 0.0406),
        (-0.1182, 0.0023),
        (-0.0526, 0.0348),
        (-0.0144, 0.1168),
        (-0.063, 0.0417),
        (0.044, 0.1233),
    ),
}
"""Of each class, below and above which an attribute is named: `limits` of the digits' training pictures."""


def attribute_quantiles(
    images: UInt8[np.ndarray, "n h w 1"], labels: Integer[np.ndarray, " n"], levels: int
) -> dict[str, tuple[tuple[float, float], ...]]:
    """The quantiles `SHARE` and 1 - `SHARE` of each attribute within each class, to four digits."""
    measured = measure(images, levels)
    classes = [labels == digit for digit in range(len(DIGITS))]
    return {
        name: tuple(
            tuple(np.quantile(measured[name][of_class], (TAIL_SHARE, 1 - TAIL_SHARE)).round(4).tolist())
            for of_class in classes
        )
        for name in ATTRIBUTES
    }


def describe_traits(
    images: UInt8[np.ndarray, "n h w 1"], labels: Integer[np.ndarray, " n"], levels: int
) -> list[dict[str, str]]:
    """By which attributes each picture, also one that a model drew, stands out from the digits of its class."""
    measured = measure(images, levels)
    result: list[dict[str, str]] = [{} for _ in images]
    for name, ends in WORDS.items():
        low, high = np.array(LIMITS[name], np.float32)[labels].T
        for trait, out in zip(ends, (measured[name] < low, measured[name] > high), strict=True):
            for row in np.flatnonzero(out):
                result[row][name] = trait
    return result


def matches_caption(
    text: str, images: UInt8[np.ndarray, "n h w 1"], labels: Integer[np.ndarray, " n"], levels: int
) -> Bool[np.ndarray, " n"]:
    """Which pictures are of the digit that the text names, with every trait that it names."""
    digit, required = parse_caption(text)
    has = [required.items() <= image_traits.items() for image_traits in describe_traits(images, labels, levels)]
    return np.array(has, bool) & (labels == digit)


def write_captions(image: UInt8[np.ndarray, "h w 1"], digit: int, levels: int, count: int) -> list[str]:
    """So many true captions of a picture, by the picture alone: the first says all, others leave out what they like."""
    all_of = describe_traits(image[None], np.array([digit]), levels)[0]
    texts = [write_caption(digit, all_of)]
    for number in range(1, count):
        seed = zlib.crc32(image.tobytes(), number)
        rng = np.random.default_rng(seed)
        texts.append(
            write_caption(digit, {name: trait for name, trait in all_of.items() if rng.random() < TRAIT_RATE}, seed)
        )
    return texts
