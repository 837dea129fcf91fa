"""Levels to floats and back: inverse on every level, the same for NumPy, JAX and jit, noise in its own bin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffjax.data import dequantise, requantise, to_levels, to_uint8, to_unit
from diffjax.errors import UserError

LEVELS = [2, 17, 200, 256]


@pytest.mark.parametrize("levels", LEVELS)
def test_to_levels_inverts_to_unit_on_every_level(levels: int):
    v = np.arange(levels).astype(np.uint8).reshape(-1, 1, 1, 1)
    x = to_unit(v, levels)
    assert x.dtype == np.float32
    assert (x[0].item(), x[-1].item()) == (-1.0, 1.0)
    np.testing.assert_allclose(x, 2 * (v / (levels - 1)) - 1, atol=1e-7)
    np.testing.assert_array_equal(x, -x[::-1])
    np.testing.assert_array_equal(to_levels(x, levels), v)


@pytest.mark.parametrize("levels", LEVELS)
def test_numpy_jax_and_jit_agree(levels: int):
    v = np.arange(levels).astype(np.uint8)
    x = to_unit(v, levels)
    noisy = x + np.random.default_rng(0).normal(0, 0.3, x.shape).astype(np.float32)
    np.testing.assert_allclose(to_unit(jnp.asarray(v), levels), x, atol=1e-7)  # XLA divides by a product
    np.testing.assert_allclose(jax.jit(to_unit, static_argnums=1)(jnp.asarray(v), levels), x, atol=1e-7)
    for function in (to_levels, to_uint8, requantise):
        expected = function(noisy, levels)
        assert isinstance(expected, np.ndarray)
        np.testing.assert_array_equal(function(jnp.asarray(noisy), levels), expected)
        np.testing.assert_array_equal(jax.jit(function, static_argnums=1)(jnp.asarray(noisy), levels), expected)


def test_values_outside_are_clipped_and_the_nearest_level_wins():
    x = np.array([-3.0, -1.0, -0.94, -0.93, 0.0, 0.06, 0.07, 3.0], np.float32)  # a level of 17 is 0.125 wide
    assert to_levels(x, 17).tolist() == [0, 0, 0, 1, 8, 8, 9, 16]


def test_bytes_show_only_the_data_s_own_levels():
    x = np.linspace(-1, 1, 10_001).astype(np.float32)
    shown = to_uint8(x, 17)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(np.unique(shown), np.round(np.arange(17) * 255 / 16))
    np.testing.assert_array_equal(to_uint8(to_unit(np.arange(256).astype(np.uint8), 256), 256), np.arange(256))


@pytest.mark.parametrize("levels", LEVELS)
def test_the_level_under_dequantised_pixels_is_never_lost(levels: int):
    v = np.tile(np.arange(levels), 200_000 // levels).astype(np.uint8)[None]
    x = np.asarray(jax.jit(dequantise, static_argnums=2)(jax.random.split(jax.random.key(0), 1), v, levels))
    assert x.dtype == np.float32
    assert (np.abs(x) < 1).all()
    np.testing.assert_array_equal(np.floor((x.astype(np.float64) + 1) / 2 * levels), v)
    np.testing.assert_array_equal(requantise(x, levels), v)


def test_noise_is_uniform_on_its_bin_and_independent_of_the_level():
    """Kolmogorov-Smirnov at n = 51,200: a false alarm has probability 1e-4; the key is fixed."""
    v = np.tile(np.arange(256), 200).astype(np.uint8)[None]
    x = np.asarray(dequantise(jax.random.split(jax.random.key(1), 1), v, 256), np.float64)
    noise = ((x + 1) * 128 - v).ravel()
    assert stats.kstest(noise, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(noise, v.ravel())[0, 1]) < 4 / np.sqrt(v.size)


def test_the_noise_of_an_example_is_its_own():
    v = np.zeros((4, 2, 2, 1), np.uint8)
    keys = jax.random.split(jax.random.key(2), 4)
    noisy = jax.jit(dequantise, static_argnums=2)
    whole = noisy(keys, v, 17)
    alone = np.concatenate([noisy(keys[i : i + 1], v[i : i + 1], 17) for i in range(4)])
    np.testing.assert_array_equal(whole, alone)
    assert len(np.unique(whole)) == whole.size


@pytest.mark.parametrize("levels", [1, 257])
def test_levels_that_bytes_cannot_hold_are_refused(levels: int):
    with pytest.raises(UserError, match=rf"^levels\b.*{levels}"):
        to_unit(np.zeros(3, np.uint8), levels)
