"""PSNR and spectra against what is known of noise."""

import numpy as np
import pytest

from diffjax.evaluation.fidelity import psnr, spectrum, spectrum_distance

RNG = np.random.default_rng(0)


def test_noise_of_a_known_deviation_has_its_psnr() -> None:
    """The mean square of 2^16 numbers is known to 0.6 %, 5 standard errors are 0.12 dB; the seed is fixed."""
    truth = RNG.uniform(size=(4, 64, 64, 4))
    assert psnr(truth + 0.1 * RNG.standard_normal(truth.shape), truth) == pytest.approx(20, abs=0.12)


@pytest.mark.parametrize("size", [(4, 4), (7, 9), (8, 8), (32, 48)])
def test_white_noise_has_equal_power_in_all_rings(size) -> None:
    """The variance, but for the mean that is taken out; each ring has over 500 numbers: 5 standard errors are 0.32."""
    power = spectrum(RNG.standard_normal((500, *size, 1)))
    assert len(power) == min(8, *(side // 2 for side in size))
    np.testing.assert_allclose(power[1:], 1, atol=0.32)


def test_twice_the_amplitude_is_six_decibels() -> None:
    images = RNG.standard_normal((3, 16, 16, 3))
    assert spectrum_distance(2 * images, images) == pytest.approx(20 * np.log10(2))
    assert spectrum_distance(images + 0.3, images) == pytest.approx(0, abs=1e-9)
