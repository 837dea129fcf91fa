"""Images as bytes of PNG, which loses nothing."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def encode_png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """A grey (c = 1) or RGB (c = 3) image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()
