"""Examples of a data set, and what it stores beside image and class."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from jaxtyping import Float32, UInt8

Image = UInt8[np.ndarray, "..."] | Float32[np.ndarray, "..."]  # levels [h, w, c]; real numbers of any shape
Images = UInt8[np.ndarray, "n ..."] | Float32[np.ndarray, "n ..."]


class Example(TypedDict):
    """One example: the image, and its class (0 in sets without labels)."""

    image: Image
    label: np.int32


@dataclass(frozen=True)
class Feature:
    """A stored feature beside image and class: an array, a text, a class of `classes`, or a picture of that shape.

    `names` are those of the categories that its values may be taken as. `optional`: an empty text stands for none.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype
    text: bool = False
    classes: int = 0
    names: tuple[str, ...] = ()
    optional: bool = False
    picture: bool = False
