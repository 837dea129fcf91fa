"""Sampling to a tolerance: the exact flow as near as is asked, evaluations counted, each example on its own."""

import sys
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES
from jax.tree_util import Partial
from quickly import few

from diffjax import oracles, order, predict, schedule, steps
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.sampling.adaptive_ode import adaptive
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
MEAN, STD = 0.7, 0.4


def law(noise, t):
    """Mean and standard deviation of x_t; along the flow (x_t - mean) / deviation stays."""
    alpha, sigma = noise.schedule(jnp.asarray(t, float))
    return alpha * MEAN, jnp.sqrt(alpha**2 * STD**2 + sigma**2)


def of_gaussian(noise):
    return oracles.gaussian(noise, np.array([MEAN]), np.array([[STD**2]]))


def flow_error(noise, tolerance: float, ends=(1.0, 0.0)) -> tuple[float, np.ndarray]:
    """The largest distance to the exact flow, and the evaluations of every example."""
    (m1, c1), (m0, c0), z = law(noise, ends[0]), law(noise, ends[1]), jnp.array([[-1.5], [-0.5], [0.3], [2.0]])
    options = {"rtol": tolerance, "atol": tolerance, "ends": ends, "start": m1 + c1 * z}
    x, evaluations = adaptive(keys(0, 4), noise, of_gaussian(noise), (1,), **options)
    return float(jnp.max(jnp.abs(x - (m0 + c0 * z)))), np.asarray(evaluations)


def test_without_diffrax_a_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(UserError, match=r"pip install 'diffjax\[ode\]'"):
        adaptive(keys(0, 1), NOISE, of_gaussian(NOISE), (1,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ends": (0.5, 0.5)}, "^ends: "),
        ({"ends": (1.5, 0.0)}, "^ends: "),
        ({"ends": (0.5, 0.0)}, "^ends: .*start="),
    ],
)
def test_what_cannot_be_solved_is_refused(options, message) -> None:
    with pytest.raises(UserError, match=message):
        adaptive(keys(0, 1), NOISE, of_gaussian(NOISE), (1,), **options)
    with pytest.raises(UserError, match=r"^noise: Masking"):
        adaptive(keys(0, 1), Masking(4), of_gaussian(NOISE), (1,))


@pytest.fixture
def diffrax():
    return pytest.importorskip("diffrax")


@pytest.mark.parametrize("name", few(["cosine", "linear_beta", "edm"], "cosine"))
def test_the_error_falls_with_the_tolerance(name, diffrax) -> None:
    with jax.enable_x64(True):
        noise = Gaussian(SCHEDULES[name], predict.v)
        errors, spent = zip(*(flow_error(noise, tolerance) for tolerance in (1e-3, 1e-6, 1e-9)), strict=True)
    assert errors[0] < 1e-2
    assert errors[1] < 1e-4
    assert errors[2] < 1e-8
    assert all(np.all(more > less) for less, more in pairwise(spent))


def test_both_ways_are_one_flow(diffrax) -> None:
    with jax.enable_x64(True):
        assert flow_error(NOISE, 1e-9, (0.0, 1.0))[0] < 1e-7


def test_evaluations_are_counted(diffrax) -> None:
    asked = []

    def counted(x_t, t, cond):
        jax.debug.callback(lambda _: asked.append(1), jnp.sum(x_t))
        return 0.3 * jnp.tanh(x_t) + 0 * t

    _, evaluations = adaptive(keys(0, 1), NOISE, counted, (2,), rtol=1e-5, atol=1e-5)
    jax.effects_barrier()
    assert len(asked) == int(evaluations[0])


def test_an_example_does_not_know_its_batch(diffrax) -> None:
    def denoise(weight, x_t, t, cond):
        return jnp.tanh(weight * cond.reshape(-1, 1) * x_t) - 0.2 * t

    cond = jnp.array([0.1, 0.5, 3.0, 40.0])
    given = {"rtol": 1e-4, "atol": 1e-4}
    x, evaluations = adaptive(keys(0, 4), NOISE, Partial(denoise, 1.1), (3,), cond=cond, **given)
    assert len({*np.asarray(evaluations).tolist()}) > 1
    for i in range(4):
        alone, spent = adaptive(keys(0, 1, start=i), NOISE, Partial(denoise, 1.1), (3,), cond=cond[i : i + 1], **given)
        np.testing.assert_allclose(alone[0], x[i], atol=1e-5)
        assert abs(int(spent[0]) - int(evaluations[i])) <= 6  # rounding may refuse one step


def test_it_starts_from_the_noise_of_sample(diffrax) -> None:
    denoise = oracles.mixture(NOISE, np.array([0.4, 0.6]), np.array([[-1.0], [0.8]]), np.full((2, 1, 1), 0.04))
    fine = sample(keys(0, 16), NOISE, order.together, denoise, (1,), steps=1000, step=steps.heun())
    x, _ = jax.jit(lambda: adaptive(keys(0, 16), NOISE, denoise, (1,), rtol=1e-5, atol=1e-5))()
    np.testing.assert_allclose(x, fine, atol=2e-3)


@pytest.mark.long
def test_it_is_differentiable(diffrax) -> None:
    def total(weight):
        x, _ = adaptive(
            keys(0, 2), NOISE, Partial(lambda w, x, t, c: jnp.tanh(w * x) + w, weight), (1,), rtol=1e-6, atol=1e-6
        )
        return jnp.sum(x**2)

    h = 1e-2
    slope = (total(0.5 + h) - total(0.5 - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(total)(0.5), slope, rtol=0.02)


@pytest.mark.long
def test_a_tolerance_out_of_reach_is_said(diffrax) -> None:
    def rough(x_t, t, cond):
        return jnp.sign(jnp.sin(1e5 * t)) + 0 * x_t

    with pytest.raises(UserError, match=r"^rtol: "):
        adaptive(keys(0, 1), NOISE, rough, (1,), rtol=1e-12, atol=1e-12)
