"""Images that come inside installed packages; nothing is downloaded."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from diffjax.errors import UserError
from diffjax.utils.image_io import read_image

DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
"""What pip calls a package."""


def package_file(package: str, path: str) -> Path:
    """The path of a file of an installed package. Raises UserError, with what to install, where there is none."""
    spec = find_spec(package)
    distribution = DISTRIBUTIONS[package]
    if spec is None or spec.origin is None:
        raise UserError(f"{distribution} is not installed, and its images are needed; pip install {distribution}")
    file = Path(spec.origin).parent / path
    if not file.is_file():
        raise UserError(f"{file}: not in this {distribution}; pip install --upgrade {distribution}")
    return file


def package_image(package: str, path: str) -> UInt8[np.ndarray, "h w c"]:
    """An image file of an installed package. Raises UserError where there is none."""
    return read_image(package_file(package, path))
