"""How near pictures [n, h, w, c] in [0, 1] come to the true ones, and their spectrum to that of others."""

import numpy as np
from jaxtyping import Float64

RINGS = 8  # of frequencies, up to half a period a pixel

Images = Float64[np.ndarray, "n h w c"]


def psnr(images: Images, truth: Images) -> float:
    """10 log10(1 / mean squared error) of all numbers, in dB."""
    return float(-10 * np.log10(np.mean((images - truth) ** 2)))


def spectrum(images: Images) -> Float64[np.ndarray, " _"]:
    """The mean power in rings of frequencies of one width, up to half a period a pixel, of pictures of any sides.

    There are `RINGS`, or half as many as the shorter side has pixels, so that none is empty.
    """
    height, width = images.shape[1:3]
    count = min(RINGS, height // 2, width // 2)
    power = np.mean(np.abs(np.fft.fft2(images - images.mean((1, 2), keepdims=True), axes=(1, 2))) ** 2, axis=(0, 3))
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    rings = np.floor(radius * 2 * count).astype(int)  # the widest ring that all sizes fill
    kept = rings < count
    total = np.bincount(rings[kept], power[kept] / (height * width), count)
    return total / np.bincount(rings[kept], minlength=count)


def spectrum_distance(images: Images, truth: Images) -> float:
    """The root mean square difference of the spectra over rings but the first, in dB. Sides are at least 4."""
    ratio = spectrum(images)[1:] / spectrum(truth)[1:]
    return float(np.sqrt(np.mean((10 * np.log10(ratio)) ** 2)))
