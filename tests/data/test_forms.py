"""Forms: what a model sees of a pixel, and the way back to bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.data import pixel_representation
from diffjax.evaluation import as_bytes

ALL = {
    name: form for name in pixel_representation.__all__ if not (form := getattr(pixel_representation, name)).real
}  # those of levels


def images(levels: int, channels: int) -> np.ndarray:
    """Every level somewhere."""
    return (
        np.random.default_rng(0).permutation(levels * 6 * channels).reshape(levels, 2, 3, channels).astype(int) % levels
    )


def encoded(form, v, levels):
    keys = jax.random.split(jax.random.key(0), len(v)) if form.noisy else None
    return form.encode(keys, jnp.asarray(v, jnp.uint8), levels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", [2, 17, pytest.param(256, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ALL)
def test_every_level_comes_back(name, levels, channels) -> None:
    form, v = ALL[name], images(levels, channels)
    x = encoded(form, v, levels)
    assert x.shape[1:] == form.shape(v.shape[1:])
    assert (x.dtype, x.shape[1:]) == (form.empty(v.shape[1:]).dtype, form.empty(v.shape[1:]).shape[1:])
    np.testing.assert_array_equal(form.decode(x, v.shape[1:], levels), v)
    shown = np.broadcast_to(as_bytes(v.astype(np.uint8), levels), form.frame(x, v.shape[1:], levels).shape)
    off = np.abs(form.frame(x, v.shape[1:], levels).astype(int) - shown)
    assert off.max() <= (255 / levels + 1 if form.noisy else 0)


def test_tokens_are_in_raster_order() -> None:
    v = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    np.testing.assert_array_equal(pixel_representation.tokens.encode(None, jnp.asarray(v), 256)[0], np.arange(24))


def test_hidden_pixels_alone_have_a_colour() -> None:
    x = jnp.array([[0, 17, 16, 17]])
    shown = pixel_representation.tokens.frame(x, (2, 2, 1), 17)
    np.testing.assert_array_equal(
        shown[0], [[[0] * 3, pixel_representation.HIDDEN_COLOUR], [[255] * 3, pixel_representation.HIDDEN_COLOUR]]
    )
    assert len(set(pixel_representation.HIDDEN_COLOUR)) == 3  # no grey


def test_a_uniform_law_costs_the_bits_of_a_level_in_every_form() -> None:
    """Of levels that are all as likely: log2(levels) bits. The density on (-1, 1) is 1/2 everywhere: 1 bit."""
    for levels in (2, 17, 256):
        np.testing.assert_allclose(1 + pixel_representation.dequantised.offset_bits(levels), np.log2(levels))
        np.testing.assert_allclose(np.log2(levels) + pixel_representation.tokens.offset_bits(levels), np.log2(levels))
    assert pixel_representation.unit.offset_bits is None
