"""Part of the way and back: what a strength means, what it leaves of a picture, and that keys alone decide the rest."""

import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES

from diffjax import edit, grids, oracles, order, predict, schedule, steps
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
TOKENS = Masking(vocab=2)
MEAN, COV = np.array([0.5, -1.0]), np.array([[1.0, 0.6], [0.6, 0.5]])
DENOISE = oracles.gaussian(NOISE, MEAN, COV)
X0 = jnp.asarray(np.random.default_rng(0).multivariate_normal(MEAN, COV, 64), jnp.float32)
LAW = oracles.joint(TOKENS, np.full((2,) * 6, 1 / 64))


def varied(strength: float, x0=X0, keys_=None, step=None) -> np.ndarray:
    some = keys(0, len(x0)) if keys_ is None else keys_
    step = step or steps.ddim()
    return np.asarray(edit.vary(some, NOISE, order.together, DENOISE, x0, strength=strength, steps=20, step=step))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_strength_is_the_same_noise_under_every_schedule(name) -> None:
    """But for what is beyond a schedule's own noisiest."""
    noise = Gaussian(SCHEDULES[name], predict.v)
    strengths = np.array([0.05, 0.3, 0.5, 0.75, 1.0])
    clock = jnp.asarray([edit.strength_to_time(noise, w) for w in strengths])
    most = float(noise.log_snr(jnp.ones(())))
    expected = np.maximum(10 - 20 * strengths, most)
    expected[-1] = most
    np.testing.assert_allclose(noise.log_snr(clock), expected, rtol=1e-3, atol=2e-3)
    assert clock[-1] == 1


def test_half_of_all_tokens_are_hidden_at_one_half() -> None:
    assert edit.strength_to_time(TOKENS, 0.5) == pytest.approx(0.5, abs=1e-6)


def test_at_strength_1_nothing_of_the_picture_is_left() -> None:
    drawn = sample(keys(0, 64), NOISE, order.together, DENOISE, (2,), steps=20, step=steps.ddim())
    np.testing.assert_allclose(varied(1.0), drawn, atol=1e-5)
    np.testing.assert_array_equal(varied(1.0, X0 + 5), varied(1.0))


def test_the_less_the_strength_the_nearer_and_in_the_end_the_picture_itself() -> None:
    far = [np.sqrt(np.mean((varied(w) - X0) ** 2)) for w in (0.01, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert all(np.diff(far) > 0), far
    assert far[0] < 0.02
    np.testing.assert_allclose(varied(1e-6), X0, atol=0.04)  # six times the noise that is left at log-SNR 10


def test_at_any_strength_the_law_stays_the_law() -> None:
    """Data that are of the law, destroyed and restored exactly, are draws of it: here to 4.5 standard errors."""
    n = 4_096
    x0 = jnp.asarray(np.random.default_rng(1).multivariate_normal(MEAN, COV, n), jnp.float32)
    x = edit.vary(keys(0, n), NOISE, order.together, DENOISE, x0, strength=0.5, steps=200)
    np.testing.assert_allclose(np.mean(x, axis=0), MEAN, atol=4.5 / n**0.5)
    np.testing.assert_allclose(np.cov(np.asarray(x).T), COV, atol=4.5 * (2 / n) ** 0.5 + 0.01)


def test_an_example_is_its_key_s_alone() -> None:
    some = keys(0, 64)
    stochastic = steps.posterior()
    whole = varied(0.6, step=stochastic)
    np.testing.assert_allclose(varied(0.6, X0[3:5], some[3:5], stochastic), whole[3:5], atol=1e-5)
    again = varied(0.6, X0[:1].repeat(2, 0), some[:2])
    assert np.abs(again[0] - again[1]).max() > 1e-3


def test_tokens_are_hidden_and_drawn_anew() -> None:
    tokens = jnp.ones((400, 6), jnp.int32)
    hidden = edit.noise_to(keys(0, 400), TOKENS, order.together, tokens, edit.strength_to_time(TOKENS, 0.5)) == 2
    assert abs(float(jnp.mean(hidden)) - 0.5) < 4.5 * 0.5 / 2400**0.5
    x = edit.vary(keys(0, 400), TOKENS, order.together, LAW, tokens, strength=0.5, steps=6)
    np.testing.assert_array_equal(np.asarray(x)[~np.asarray(hidden)], 1)
    assert abs(float(jnp.mean(x[hidden])) - 0.5) < 4.5 * 0.5 / 1200**0.5


@pytest.mark.parametrize("which", ["raster", "shuffled"])
def test_in_an_order_it_is_the_last_positions_that_are_drawn_anew(which) -> None:
    """As many in each example, and the same as those that sampling then shows."""
    tokens = jnp.ones((40, 6), jnp.int32)
    made = getattr(order, which)
    start = edit.noise_to(keys(0, 40), TOKENS, made, tokens, 0.5)
    np.testing.assert_array_equal(jnp.sum(start == 2, axis=1), 3)
    if which == "raster":
        np.testing.assert_array_equal(start[:, :3], 1)
    x = edit.vary(keys(0, 40), TOKENS, made, LAW, tokens, strength=0.5, steps=6)
    assert set(np.unique(x)) == {0, 1}
    np.testing.assert_array_equal(x[start == 1], 1)


def test_a_grid_is_cut_where_it_begins() -> None:
    grid = grids.uniform(NOISE, 4)
    np.testing.assert_allclose(edit.truncate_grid(grid, 0.6), [0.6, 0.5, 0.25, 0])
    np.testing.assert_array_equal(edit.truncate_grid(grid, 0.5), [0.5, 0.25, 0])
    np.testing.assert_array_equal(edit.truncate_grid(grid, 1.0), grid)
    with pytest.raises(UserError, match=r"strength: the grid ends at 0\.1"):
        edit.truncate_grid(jnp.asarray([1.0, 0.1]), 0.05)


def test_strokes_stay_where_the_noise_is_little() -> None:
    strokes, drawn = jnp.full((64, 2), 3.0), jnp.asarray([True, False])[None].repeat(64, 0)
    given = (keys(0, 64), NOISE, order.together, DENOISE, X0, strokes, drawn)
    little, much = (edit.sketched(*given, strength=w, steps=20, step=steps.ddim()) for w in (0.1, 1.0))
    np.testing.assert_allclose(little[:, 0], 3, atol=0.1)
    np.testing.assert_allclose(little[:, 1], X0[:, 1], atol=0.1)
    np.testing.assert_array_equal(much, varied(1.0))
    hooked = edit.sketched(*given, strength=0.5, steps=20, step=steps.ddim(), hook=kept)
    np.testing.assert_array_equal(hooked[:, 1], X0[:, 1])


def kept(keys, x, pred, t, s):
    """What is not under a stroke is not touched in the end."""
    return jnp.where((s == 0) & jnp.asarray([[False, True]]), X0, x)


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.01, float("nan")])
def test_a_strength_that_cannot_be(strength) -> None:
    with pytest.raises(UserError, match=r"strength: expected a number in \(0, 1\]"):
        edit.strength_to_time(NOISE, strength)
