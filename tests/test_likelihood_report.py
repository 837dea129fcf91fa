"""Bits of a pixel's level: in the same unit whatever a model sees of it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.stats import norm

from diffjax import oracles, order, predict, schedule
from diffjax.commands import bits_estimator, likelihood_report
from diffjax.commands.likelihood_report import Measurement
from diffjax.errors import UserError
from diffjax.experiment.data_spec import DataSpec
from diffjax.likelihood.bits import BitsPerDim
from diffjax.nets import MLP
from diffjax.noise import Gaussian, Masking

LEVELS = 17
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, LEVELS, (60, 2, 2, 1)).astype(np.uint8)
LABELS = np.arange(60, dtype=np.int32) % 3
FACTS = DataSpec((2, 2, 1), 3, ("a", "b", "c"), LEVELS, (1 / 3,) * 3, "tokens")
COSINE = Gaussian(schedule.cosine, predict.v)
ROOT = jax.random.key(0)


NET = MLP(width=8, depth=1)  # of which the condition alone counts


def know_nothing(x, t, cond):
    """Logits of tokens that are all as likely."""
    return jnp.zeros((*x.shape, LEVELS))


def reader(denoise, noise, which, form: str, method: str = "") -> bits_estimator.BitsEstimator:
    return bits_estimator.build_estimator(Partial(denoise), noise, which, NET, replace(FACTS, form=form), method)


@pytest.mark.parametrize(
    "which", [order.raster, order.shuffled, order.together], ids=("raster", "shuffled", "together")
)
def test_who_knows_nothing_pays_for_every_level(which) -> None:
    asked = reader(know_nothing, Masking(LEVELS), which, "tokens")
    assert asked.method == ("exact" if which is order.raster else "bound")
    found, errors, _ = bits_estimator.estimate_bits(asked, ROOT, (IMAGES, LABELS), 60)
    spread = np.sqrt(np.sum(errors**2)) / len(errors)
    assert abs(found.mean() - np.log2(LEVELS)) <= 4 * spread + 1e-5
    assert spread < 0.1


def test_a_density_of_dequantised_pixels_is_in_bits_of_the_level() -> None:
    """A normal law much wider than a level: its density at the middle of the bin, times the width of the bin."""
    std = 0.8
    denoise = oracles.gaussian(COSINE, np.zeros(4), std**2 * np.eye(4))
    asked = bits_estimator.build_estimator(denoise, COSINE, order.together, NET, replace(FACTS, form="dequantised"))
    assert asked.method == "ode"
    found, errors, _ = bits_estimator.estimate_bits(asked, ROOT, (IMAGES, LABELS), 60, probes=0)
    middles = (2 * (IMAGES.reshape(60, 4) + 0.5) - LEVELS) / LEVELS
    exact = -np.log2(norm(0, std).pdf(middles) * 2 / LEVELS).mean(axis=1)
    np.testing.assert_allclose(found.mean(), exact.mean(), atol=0.01)
    np.testing.assert_array_equal(errors, 0)


def test_a_bound_of_plain_numbers_is_of_a_probability() -> None:
    """Two levels, evenly: one bit each by the exact denoiser, tanh(alpha x_t / sigma²)."""

    def denoise(x_t, t, cond):
        m = COSINE.coefficients(t)
        return jnp.tanh(m.alpha * x_t / jnp.maximum(m.sigma, 1e-20) ** 2)

    two = bits_estimator.build_estimator(
        Partial(denoise), COSINE, order.together, NET, replace(FACTS, form="unit", levels=2)
    )
    assert two.method == "bound"
    found, errors, _ = bits_estimator.estimate_bits(
        two, ROOT, (np.tile(IMAGES % 2, (8, 1, 1, 1)), None), 480, draws=256
    )
    assert abs(found.mean() - 1) < 4 * np.sqrt(np.sum(errors**2)) / len(errors) < 0.1


def test_an_image_does_not_know_its_batch_and_labels_are_given() -> None:
    def denoise(x, t, cond):
        """The label's own level is the likelier one."""
        return jnp.zeros((*x.shape, LEVELS)).at[jnp.arange(len(x)), :, cond].set(1.0)

    asked = bits_estimator.build_estimator(
        Partial(denoise), Masking(LEVELS), order.shuffled, MLP(width=8, depth=1, classes=3), FACTS
    )
    whole = bits_estimator.estimate_bits(asked, ROOT, (IMAGES, LABELS), 60, draws=4).bits
    part = bits_estimator.estimate_bits(asked, ROOT, (IMAGES[:9], LABELS[:9]), 8, draws=4).bits
    np.testing.assert_allclose(part, whole[:9], rtol=1e-5)
    labelled = np.broadcast_to(LABELS[:, None, None, None], IMAGES.shape).astype(np.uint8)
    low = bits_estimator.estimate_bits(asked, ROOT, (labelled, LABELS), 60, draws=8).bits
    assert low.mean() < whole.mean() - 1
    for labelled in (True, False):
        said = bits_estimator.describe_method(asked, BitsPerDim(low, low), {}, labelled)
        assert ("given the label" in said) is labelled


def test_how_is_told() -> None:
    exact = reader(know_nothing, Masking(LEVELS), order.raster, "tokens")
    assert bits_estimator.describe_method(exact, BitsPerDim(np.zeros(4), np.zeros(4)), {}) == "exact"
    bound, noisy = (
        reader(know_nothing, Masking(LEVELS), order.shuffled, "tokens"),
        BitsPerDim(np.ones(4), np.full(4, 0.2)),
    )
    assert (
        bits_estimator.describe_method(bound, noisy, {"draws": 8}) == "variational bound (8 draws an image, to ± 0.100)"
    )
    ode = reader(know_nothing, COSINE, order.together, "dequantised")
    assert "probability-flow ODE" in bits_estimator.describe_method(ode, noisy, {})
    assert "an upper bound" in bits_estimator.describe_method(ode, noisy, {})


@pytest.mark.parametrize(("moved", "alarm"), [(-0.06, False), (-0.2, True), (float("nan"), True)])
def test_steps_that_move_the_mean_by_more_than_probes_do_are_to_be_raised(moved, alarm) -> None:
    ode = reader(know_nothing, COSINE, order.together, "dequantised")
    measured = BitsPerDim(np.ones(4), np.full(4, 0.2), np.array([moved, moved]))
    said = bits_estimator.describe_method(ode, measured, {"steps": 49})
    assert f"48 steps in place of 24 move it by {moved:+.3f}" in said
    assert ("raise --likelihood_steps" in said) is alarm
    known = bits_estimator.mean_accuracy(measured)
    assert known["standard_error"] == pytest.approx(0.1)
    assert known["discretization_rms"] == pytest.approx(abs(moved), nan_ok=True)


def test_likelihoods_say_how_well_bits_are_known() -> None:
    """Of a denoiser that is exact, and of one that is short near the data, where no number of steps is enough."""
    exact = oracles.gaussian(COSINE, np.zeros(4), 0.64 * np.eye(4))
    parts = dict.fromkeys(("train", "test"), (IMAGES, LABELS))
    for share, alarm in ((1.0, False), (0.9, True)):
        asked = reader(lambda x, t, cond, share=share: share * exact(x, t, cond), COSINE, order.together, "dequantised")
        found, _ = likelihood_report.compare_likelihoods(asked, parts, None, Measurement(0, 24, 24, 20))
        assert ("raise --likelihood_steps" in found.description) is alarm
        assert found.accuracy["checked"] == 3
        assert (abs(found.accuracy["discretization"]) > 0.1) is alarm
        assert (found.accuracy["discretization_rms"] < 0.002) is not alarm


def test_a_density_that_says_nothing_of_levels_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.form=unit .*data\.form=dequantised"):
        reader(know_nothing, COSINE, order.together, "unit", "ode")


def test_steps_are_of_the_ode_alone() -> None:
    exact = reader(know_nothing, Masking(LEVELS), order.raster, "tokens")
    splits = dict.fromkeys(("train", "test"), (IMAGES, None))
    with pytest.raises(UserError, match=r"likelihood_steps.*exact"):
        likelihood_report.compare_likelihoods(exact, splits, None, Measurement(0, 4, 4, 8))
