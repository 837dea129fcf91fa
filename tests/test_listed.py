"""The exact denoiser of data at finitely many points: against brute force, at both ends, and as the tokens' own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES
from quickly import few

from diffjax import grids, oracles, order, predict, schedule
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.sampling.loop import sample
from diffjax.steps import ddim
from diffjax.utils.prng import keys

K, D, B = 7, 4, 6
NOISE = Gaussian(schedule.cosine, predict.v)
_rng = np.random.default_rng(0)
STATES, WEIGHTS = _rng.normal(size=(K, D)), _rng.uniform(0.2, 1, K)
X = _rng.normal(size=(B, D))
ONE_LEVEL, MANY = np.full((B, 1), 0.4), _rng.uniform(0.02, 1.0, (B, D))
TABLE = _rng.dirichlet(np.full(16, 0.5)).reshape(2, 2, 2, 2)
CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=4)))


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True):
        yield


def brute(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """By Bayes' rule with densities that are no logarithms."""
    alpha, sigma = (np.asarray(a) for a in NOISE.schedule(jnp.asarray(np.broadcast_to(t, (D,)))))
    density = np.exp(-(((x - alpha * STATES) / sigma) ** 2) / 2) / sigma
    p = WEIGHTS * np.prod(density, axis=1)
    return p @ STATES / p.sum()


@pytest.mark.parametrize("t", [ONE_LEVEL, MANY], ids=["one level", "many levels"])
def test_it_is_bayes_rule(t) -> None:
    m = NOISE.coefficients(jnp.asarray(t))
    x = np.asarray(m.alpha) * STATES[_rng.integers(K, size=B)] + np.asarray(m.sigma) * X
    found = oracles.atoms(NOISE, STATES, WEIGHTS)(jnp.asarray(x), jnp.asarray(t), None)
    np.testing.assert_allclose(found, [brute(*each) for each in zip(x, t, strict=True)], rtol=1e-9, atol=1e-12)
    shaped = oracles.atoms(NOISE, STATES.reshape(K, 2, 2), 5 * WEIGHTS)
    levels = jnp.asarray(t.reshape((B, 1, 1) if t is ONE_LEVEL else (B, 2, 2)))
    np.testing.assert_allclose(shaped(jnp.asarray(x.reshape(B, 2, 2)), levels, None).reshape(B, D), found, rtol=1e-12)


@pytest.mark.parametrize("name", few(SCHEDULES, "cosine", "linear_beta", "edm"))
def test_both_ends_of_time_are_exact(name) -> None:
    noise = Gaussian(SCHEDULES[name], predict.v)
    denoise, x = oracles.atoms(noise, STATES, WEIGHTS), jnp.asarray(X)
    for shape in ((B, 1), (B, D)):
        np.testing.assert_array_equal(denoise(x, jnp.zeros(shape), None), x)
        least = denoise(jnp.asarray(STATES[:B]), jnp.full(shape, 1e-30), None)
        np.testing.assert_allclose(least, STATES[:B], rtol=1e-9)
        if float(noise.schedule(jnp.ones(()))[0]) == 0:
            mean = np.broadcast_to(WEIGHTS @ STATES / WEIGHTS.sum(), (B, D))
            np.testing.assert_allclose(denoise(x, jnp.ones(shape), None), mean, rtol=1e-9)
        assert np.all(np.isfinite(denoise(1e6 * x, jnp.ones(shape), None)))


def test_what_is_known_conditions_as_tokens_do() -> None:
    """Positions at level 0 are tokens that are visible, those at level 1 masks: E[x0] = 2 p(1 | visible) - 1."""
    masking = Masking(vocab=2)
    denoise, tokens = oracles.atoms(NOISE, CORNERS, TABLE.ravel()), oracles.joint(masking, TABLE)
    seen = jnp.asarray(list(itertools.product((0, 1, 2), repeat=4)))
    hidden = seen == 2
    x = jnp.where(hidden, jnp.asarray(_rng.normal(size=seen.shape)), 2.0 * seen - 1)
    expected = 2 * jnp.exp(tokens(seen, jnp.ones((len(seen), 1)), None))[..., 1] - 1
    np.testing.assert_allclose(denoise(x, hidden.astype(float), None), expected, rtol=1e-6, atol=1e-6)  # joint: float32


def test_what_is_known_is_the_limit_of_what_is_nearly_known() -> None:
    """Also where it is no state: then the nearest one is meant, and both where they are as near."""
    denoise = oracles.atoms(NOISE, CORNERS, TABLE.ravel())
    x = jnp.asarray(_rng.normal(size=(B, 4))).at[0, 1].set(0.0)
    for least in (1e-4, 1e-9, 1e-200):
        t = jnp.where(jnp.arange(4)[None] < 2, least, jnp.asarray(MANY))
        known = jnp.where(jnp.arange(4)[None] < 2, 0.0, t)
        found, limit = denoise(x, t, None), denoise(x, known, None)
        np.testing.assert_allclose(found[:, 2:], limit[:, 2:], atol=1e-5)
    np.testing.assert_array_equal(limit[:, :2], x[:, :2])


def test_one_position_a_block_draws_from_the_joint() -> None:
    """Continuous autoregression: all that its draws are off is what chance and the inner steps leave."""
    n = 20_000
    with jax.enable_x64(False):
        denoise = oracles.atoms(NOISE, CORNERS[..., None], TABLE.ravel())
        grid = grids.repeat_per_block(grids.uniform(NOISE, 32), 4)
        x = sample(keys(0, n), NOISE, order.blocks(4), denoise, (4, 1), grid=grid, step=ddim())
    codes = np.asarray(x[..., 0] > 0) @ [8, 4, 2, 1]
    drawn = np.bincount(codes, minlength=16) / n
    assert np.abs(drawn - TABLE.ravel()).sum() / 2 < 0.02


def test_float32_is_as_good_at_little_noise() -> None:
    """A number that is all but known says nothing of states that share it, however large its squares are."""
    states = np.array([[0.3, 1.0], [0.3, -1.0], [-0.8, -1.0]])
    x, t = np.array([[0.3001, 0.2]]), np.array([[1e-5, 0.6]])
    exact = oracles.atoms(NOISE, states, np.ones(3))(jnp.asarray(x), jnp.asarray(t), None)
    with jax.enable_x64(False):
        found = oracles.atoms(NOISE, states, np.ones(3))(jnp.asarray(x), jnp.asarray(t), None)
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: oracles.atoms(NOISE, STATES, WEIGHTS[:2]), r"weights \[k\]"),
        (lambda: oracles.atoms(NOISE, STATES, np.append(WEIGHTS[1:], 0.0)), "weights"),
    ],
)
def test_what_is_no_law_is_refused(call, message) -> None:
    with pytest.raises(UserError, match=message):
        call()
