"""Guidance by its settings: what they say, what it costs, and what is none."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import grids, guidance, predict, schedule
from diffjax.errors import UserError
from diffjax.experiment.config import Sample
from diffjax.experiment.guidance_spec import build_guidance
from diffjax.noise import Gaussian, Masking

NOISE = Gaussian(schedule.cosine, predict.v)
GRID = grids.uniform(NOISE, 4)
NULL = {"label": jnp.asarray(3), "size": jnp.asarray(0.0)}
X, T = jnp.linspace(-1, 1, 8).reshape(2, 4), jnp.full((2, 1), 0.5)
COND = {"label": jnp.array([0, 1]), "size": jnp.array([0.5, 1.0])}


def net(x_t, t, cond):
    """Anything that depends on all it is given."""
    return jnp.sin(x_t + cond["label"][:, None] + 2 * cond["size"][:, None]) - t


def under(**settings):
    """The denoiser under these settings, and how many predictions it takes."""
    return build_guidance(net, NOISE, GRID, NULL, Sample(**settings))


def test_scale_1_is_the_denoiser_itself() -> None:
    assert under() == under(guidance=1.0, guidance_rule="apg()") == (net, 1)


def test_settings_say_what_python_says() -> None:
    cases = [
        ({"guidance": 2.0}, guidance.cfg(net, 2.0, NULL), 2),
        (
            {"guidance": 2.0, "guidance_when": "interval(low=0.6, high=0.8)", "guidance_rule": "rescaled(phi=0.5)"},
            guidance.cfg(net, guidance.interval(2.0, 0.6, 0.8), NULL, rule=guidance.rescaled(0.5)),
            2,
        ),
        (
            {"guidance": 0.4, "guidance_when": "plus_plus()"},
            guidance.cfg(net, guidance.plus_plus(0.4, NOISE, GRID), NULL),
            2,
        ),
        (
            {"guidance": 3.0, "guidance_rule": "zero_star(share=0.1)"},
            guidance.cfg(net, 3.0, NULL, rule=guidance.zero_star(NOISE, 0.1)),
            2,
        ),
        (
            {"guidance_form": "several(scales={'size': 2.0, 'label': 3.0})"},
            guidance.several(net, {"size": 2.0, "label": 3.0}, NULL),
            3,
        ),
        ({"guidance": 2.0, "guidance_form": "cfg(calls=2)"}, guidance.cfg(net, 2.0, NULL, calls=2), 2),
    ]
    for settings, expected, evaluations in cases:
        found = under(**settings)
        assert found.evaluations == evaluations, settings
        np.testing.assert_allclose(found.denoise(X, T, COND), expected(X, T, COND), atol=1e-6)


def test_what_is_none_is_named() -> None:
    cases = [
        ({"guidance_form": "apg"}, "guidance_form: apg is no guidance method; choose cfg"),
        ({"guidance_form": "autoguidance"}, "guidance_form: autoguidance needs a second denoiser"),
        ({"guidance_form": "cfgg"}, "guidance_form: unknown 'cfgg'; choose from"),
        ({"guidance": 2.0, "guidance_rule": "cfg"}, r"guidance_rule: cfg is no guidance rule; choose rescaled\(\)"),
        ({"guidance": 2.0, "guidance_rule": "rescaled(phi=2.0)"}, "guidance_rule: .*phi"),
        ({"guidance": 2.0, "guidance_when": "apg()"}, r"guidance_when: apg\(\) is no function of noise levels"),
        ({"guidance": 2.0, "guidance_when": "interval(low=0.8, high=0.2)"}, "guidance_when: .*0 <= low <= high <= 1"),
        ({"guidance": 2.0, "guidance_form": "several(scales={'size': 2.0})"}, "several.* has scales of its own"),
        ({"guidance_form": "several(scales={'depth': 2.0})"}, "'depth'.*the condition has label, size"),
    ]
    for settings, told in cases:
        with pytest.raises(UserError, match=told):
            under(**settings)
    with pytest.raises(UserError, match="is for numbers, and this model has tokens"):
        build_guidance(net, Masking(3), GRID, NULL, Sample(guidance=2.0, guidance_rule="rescaled()"))
    with pytest.raises(UserError, match="guidance: 2 needs a conditional model"):
        build_guidance(net, NOISE, GRID, None, Sample(guidance=2.0))
