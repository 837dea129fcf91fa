"""The guidance laboratory measures what is known of guidance, and finds the faults of a wrong one."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax import guidance, lab, oracles
from diffjax.errors import UserError
from diffjax.lab.guidance_checks import pattern_strengths
from diffjax.lab.guidance_data import ASIDE, null_label

NORMAL = lab.Mixture1D((1.0,), (-0.5,), (0.4,))
TASK = lab.GuidanceTask(draws=400)
FEW = {"steps": (8,), "scales": (1.0, 3.0)}


def test_the_tilted_distribution_of_gaussians_is_gaussian() -> None:
    """N(0, s_0²) and N(0.6, s_1²): precisions and their products with the means are weighed."""
    one, every = lab.Mixture1D((1.0,), (0.6,), (0.5,)), lab.Mixture1D((1.0,), (0.0,), (0.8,))
    classes = lab.Classes((1e-9, 1.0), (one, every))
    w, (p_1, p_0) = 2.5, (1 / 0.25, 1 / 0.64)
    precision = w * p_1 + (1 - w) * p_0
    tilted = lab.tilted_density(classes, 0, w)
    np.testing.assert_allclose(tilted.moments(), (w * p_1 * 0.6 / precision, precision**-0.5), rtol=1e-4)
    middle, spread = tilted.moments()
    np.testing.assert_allclose(tilted.quantiles(3), middle + spread * np.array([-0.967422, 0, 0.967422]), atol=1e-4)


def test_at_one_the_tilted_distribution_is_the_class() -> None:
    np.testing.assert_allclose(
        lab.tilted_density(lab.TWO_CLASSES, 0, 1.0).moments(), lab.TWO_CLASSES.distributions[0].moments(), rtol=1e-4
    )
    np.testing.assert_allclose(
        lab.tilted_density(lab.TWO_CLASSES, 0, 0.0).moments(), lab.TWO_CLASSES.marginal().moments(), rtol=1e-4
    )


@pytest.mark.parametrize("dimensions", [1, 8])
def test_images_have_the_distribution_of_their_class_along_the_pattern(dimensions) -> None:
    """The exact denoiser at one level, read along the pattern, is that of the line at noise √d times less."""
    noise = dj.Gaussian(dj.schedule.edm, dj.predict.edm)
    denoise = lab.class_denoiser(noise, lab.TWO_CLASSES, dimensions)
    z, t = jnp.linspace(-1.5, 1.5, 5), jnp.full((5, 1), 0.5)
    p, q = jnp.asarray(lab.guidance_data.patterns(dimensions), jnp.float32)[:, None]
    x = z[:, None] * p + ASIDE.means[0] * q
    for label, distribution in (
        (0, lab.TWO_CLASSES.distributions[0]),
        (1, lab.TWO_CLASSES.distributions[1]),
        (null_label(lab.TWO_CLASSES), lab.TWO_CLASSES.marginal()),
    ):
        found = pattern_strengths(np.asarray(denoise(x, t, jnp.full(5, label))))[0]
        sigma = float(noise.schedule(t)[1][0, 0]) / dimensions**0.5
        line = dj.Gaussian(dj.schedule.edm_of(0.0 + 1e-3, sigma, 1.0), dj.predict.edm)
        exact = oracles.mixture(line, *distribution.normals())(z[:, None], jnp.ones((5, 1)), None)[:, 0]
        np.testing.assert_allclose(found, exact, atol=2e-3)


def test_a_scale_of_one_is_the_class_and_equal_classes_need_no_guidance() -> None:
    task = replace(TASK, classes=lab.Classes((0.5, 0.5), (NORMAL, NORMAL)))
    report = lab.guidance_report(guidance.cfg, task, **FEW)
    one, three = report.rows
    np.testing.assert_allclose(
        (one.wasserstein, one.class_deviation, one.modes), (three.wasserstein, three.class_deviation, three.modes)
    )
    assert report.passed, report
    assert "none" in str(report)
    assert one.wasserstein == one.to_class


def test_guidance_overshoots_the_tilted_distribution() -> None:
    """For overlapping classes the mean moves too far, the spread shrinks, and weak modes vanish."""
    one, three = lab.guidance_report(guidance.cfg, replace(TASK, dimensions=4), steps=(24,), scales=(1.0, 3.0)).rows
    assert one.wasserstein < 0.12
    assert three.mean < -0.15
    assert three.deviation < 0.85
    assert three.class_deviation < 0.7 < 0.9 < one.class_deviation
    assert three.modes < three.modes_tilted < one.modes_tilted
    np.testing.assert_allclose(one.modes_tilted, 1, atol=0.01)
    assert three.wasserstein > 2 * one.wasserstein
    np.testing.assert_allclose(one.aside, three.aside, atol=0.02)


def test_a_wrong_guidance_is_found() -> None:
    """(1 + w) in the place of w, and a division by 1 - w."""
    shifted = lab.guidance_report(lambda denoise, w, null: guidance.cfg(denoise, w + 1, null), TASK, **FEW)
    assert shifted.problems == ("a scale of 1 is not neutral",)

    def infinite(denoise, w, null):
        return lambda x_t, t, cond: denoise(x_t, t, cond) / (w - 3.0)

    assert "not finite at scale 3 in 8 steps" in lab.guidance_report(infinite, TASK, **FEW).problems


def test_momentum_is_a_step_rule_of_the_scale() -> None:
    def pairs(denoise, w, null):
        return guidance.pairs(denoise, null)

    def momentum(w):
        return guidance.momentum(dj.steps.ddim(), w, 0.0)

    with_momentum = lab.guidance_report(pairs, TASK, step=momentum, **FEW)
    assert with_momentum.passed
    np.testing.assert_allclose(
        with_momentum.rows[1].mean, lab.guidance_report(guidance.cfg, TASK, **FEW).rows[1].mean, atol=1e-4
    )


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: lab.GuidanceTask(label=2), "label"),
        (lambda: lab.GuidanceTask(dimensions=6), "dimensions"),
        (lambda: lab.guidance_report(guidance.cfg, scales=()), "scale"),
        (lambda: lab.guidance_report(guidance.cfg, noise=dj.Masking(3)), "noise"),
    ],
)
def test_wrong_arguments_are_named(call, name) -> None:
    with pytest.raises(UserError, match=name):
        call()
