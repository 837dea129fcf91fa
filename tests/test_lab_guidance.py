"""The guidance laboratory finds what is known of a guidance, and what is wrong with one that is wrong on purpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax import guidance, lab, oracles
from diffjax.errors import UserError
from diffjax.lab.guidance_checks import pattern_strengths
from diffjax.lab.guidance_data import ASIDE, null_label

EQUAL = lab.Classes((0.5, 0.5), (lab.Law((1.0,), (-0.5,), (0.4,)), lab.Law((1.0,), (-0.5,), (0.4,))))
FEW = {"steps": (8,), "draws": 400, "scales": (1.0, 3.0)}


def test_the_tilted_law_is_normal_where_all_is() -> None:
    """N(0, s_0²) and N(0.6, s_1²): precisions and their products with the means are weighed."""
    one, every = lab.Law((1.0,), (0.6,), (0.5,)), lab.Law((1.0,), (0.0,), (0.8,))
    classes = lab.Classes((1e-9, 1.0), (one, every))
    w, (p_1, p_0) = 2.5, (1 / 0.25, 1 / 0.64)
    precision = w * p_1 + (1 - w) * p_0
    law = lab.tilted_density(classes, 0, w)
    np.testing.assert_allclose(law.moments(), (w * p_1 * 0.6 / precision, precision**-0.5), rtol=1e-4)
    middle, spread = law.moments()
    np.testing.assert_allclose(law.quantiles(3), middle + spread * np.array([-0.967422, 0, 0.967422]), atol=1e-4)


def test_at_one_the_tilted_law_is_the_class() -> None:
    np.testing.assert_allclose(
        lab.tilted_density(lab.TWO_CLASSES, 0, 1.0).moments(), lab.TWO_CLASSES.laws[0].moments(), rtol=1e-4
    )
    np.testing.assert_allclose(
        lab.tilted_density(lab.TWO_CLASSES, 0, 0.0).moments(), lab.TWO_CLASSES.marginal().moments(), rtol=1e-4
    )


@pytest.mark.parametrize("dimensions", [1, 8])
def test_pictures_have_the_law_of_their_class_along_their_pattern(dimensions) -> None:
    """The exact denoiser at one level, read along the pattern, is that of the line at noise √d times less."""
    noise = dj.Gaussian(dj.schedule.edm, dj.predict.edm)
    denoise = lab.class_denoiser(noise, lab.TWO_CLASSES, dimensions)
    z, t = jnp.linspace(-1.5, 1.5, 5), jnp.full((5, 1), 0.5)
    p, q = jnp.asarray(lab.guidance_data.patterns(dimensions), jnp.float32)[:, None]
    x = z[:, None] * p + ASIDE.means[0] * q
    for label, law in (
        (0, lab.TWO_CLASSES.laws[0]),
        (1, lab.TWO_CLASSES.laws[1]),
        (null_label(lab.TWO_CLASSES), lab.TWO_CLASSES.marginal()),
    ):
        found = pattern_strengths(np.asarray(denoise(x, t, jnp.full(5, label))))[0]
        sigma = float(noise.schedule(t)[1][0, 0]) / dimensions**0.5
        line = dj.Gaussian(dj.schedule.edm_of(0.0 + 1e-3, sigma, 1.0), dj.predict.edm)
        exact = oracles.mixture(line, *law.vectors())(z[:, None], jnp.ones((5, 1)), None)[:, 0]
        np.testing.assert_allclose(found, exact, atol=2e-3)


def test_a_scale_of_one_is_the_class_and_a_condition_that_says_nothing_changes_nothing() -> None:
    report = lab.guidance_report(guidance.cfg, **FEW, classes=EQUAL)
    one, three = report.rows
    np.testing.assert_allclose(
        (one.wasserstein, one.class_deviation, one.modes), (three.wasserstein, three.class_deviation, three.modes)
    )
    assert report.passed, report
    assert "nothing" in str(report)
    assert one.wasserstein == one.to_class


def test_guidance_overshoots_the_tilted_law() -> None:
    """Of classes that overlap: the mean goes too far, less is left of the spread, and weak modes go."""
    one, three = lab.guidance_report(guidance.cfg, steps=(24,), draws=400, scales=(1.0, 3.0), dimensions=4).rows
    assert one.wasserstein < 0.12
    assert three.mean < -0.15
    assert three.deviation < 0.85
    assert three.class_deviation < 0.7 < 0.9 < one.class_deviation
    assert three.modes < three.modes_tilted < one.modes_tilted
    np.testing.assert_allclose(one.modes_tilted, 1, atol=0.01)
    assert three.wasserstein > 2 * one.wasserstein
    np.testing.assert_allclose(one.aside, three.aside, atol=0.02)  # linear guidance leaves the rest alone


def test_a_wrong_guidance_is_found() -> None:
    """(1 + w) in the place of w, and a division by 1 - w."""
    shifted = lab.guidance_report(lambda denoise, w, null: guidance.cfg(denoise, w + 1, null), **FEW)
    assert shifted.problems == ("a scale of 1 is not neutral",)

    def infinite(denoise, w, null):
        return lambda x_t, t, cond: denoise(x_t, t, cond) / (w - 3.0)

    assert "not finite at scale 3 in 8 steps" in lab.guidance_report(infinite, **FEW).problems


def test_a_guidance_with_memory_is_a_step_of_the_scale() -> None:
    def pairs(denoise, w, null):
        return guidance.pairs(denoise, null)

    def momentum(w):
        return guidance.momentum(dj.steps.ddim(), w, 0.0)

    remembered = lab.guidance_report(pairs, step=momentum, **FEW)
    assert remembered.passed
    np.testing.assert_allclose(
        remembered.rows[1].mean, lab.guidance_report(guidance.cfg, **FEW).rows[1].mean, atol=1e-4
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label": 2}, "label must be one of 0 … 1"),
        ({"scales": ()}, "one finite scale or more"),
        ({"dimensions": 6}, "dimensions must be 1, 2 or a multiple of 4"),
        ({"noise": dj.Masking(3)}, "noise must be Gaussian, got Masking"),
    ],
)
def test_mistakes_are_named(given, message) -> None:
    with pytest.raises(UserError, match=message), jax.enable_x64(False):
        lab.guidance_report(guidance.cfg, **given)
