"""Guidance on logits in which tokens are impossible, held to joints whose every conditional is known by enumeration."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import diffjax as dj

NOISE, VOCAB, N = dj.Masking(3), 3, 2
RNG = np.random.default_rng(0)
CLASSES = np.where(RNG.random((2, 3, 3)) < 0.4, 0.0, RNG.random((2, 3, 3)))
CLASSES /= CLASSES.sum(axis=(1, 2), keepdims=True)
TABLES = np.concatenate([CLASSES, CLASSES.mean(axis=0, keepdims=True)])  # the last is p(x), of the null condition
NULL = jnp.array(2)
EACH = [dj.oracles.joint(NOISE, table) for table in TABLES]
WHOLE = list(itertools.product(range(VOCAB), repeat=N))
STATES = np.array([state for state in itertools.product(range(VOCAB + 1), repeat=N) if VOCAB in state], np.int32)


def denoise(x_t: Any, t: Any, cond: Any) -> Any:
    """log p(x_i | what is visible, class), and without a class where it is the null condition."""
    logits = jnp.stack([each(x_t, t, None) for each in EACH])
    return logits[cond, jnp.arange(len(x_t))]


def logits_of(table: np.ndarray) -> np.ndarray:
    """[states, n, vocab]: log p(x_i = a | visible) of every state with a mask, by summing the table."""
    found = np.empty((len(STATES), N, VOCAB))
    for row, state in enumerate(STATES):
        for i, a in itertools.product(range(N), range(VOCAB)):
            fits = [s for s in WHOLE if all(v in (VOCAB, w) for v, w in zip(state, s, strict=True))]
            found[row, i, a] = sum(table[s] for s in fits if s[i] == a) / max(sum(table[s] for s in fits), 1e-300)
    with np.errstate(divide="ignore"):
        return np.log(found)


def at_states(model: Any, label: int) -> np.ndarray:
    return np.asarray(model(jnp.asarray(STATES), jnp.ones((len(STATES), 1)), jnp.full(len(STATES), label)))


def test_tables_have_impossible_tokens() -> None:
    assert np.isneginf(logits_of(TABLES[0])).any()
    assert np.isneginf(logits_of(TABLES[2])).any()


@pytest.mark.parametrize("guidance", ["cfg", "two calls", "autoguidance", "several", "composed"])
@pytest.mark.parametrize("scale", [0.0, 0.4, 1.0, 2.5])
def test_guided_logits_are_the_weighed_ones_and_impossible_where_the_conditional_is(guidance, scale) -> None:
    """(1 - w) log p(x_i|visible) + w log p(x_i|visible, c), and -inf where p(x_i|visible, c) = 0, but for w = 0."""
    null = {"label": NULL}
    parts = lambda x, t, cond: denoise(x, t, cond["label"])  # noqa: E731
    makes = {
        "cfg": lambda: dj.guidance.cfg(denoise, scale, NULL),
        "two calls": lambda: dj.guidance.cfg(denoise, scale, NULL, calls=2),
        "autoguidance": lambda: dj.guidance.autoguidance(denoise, lambda x, t, cond: EACH[2](x, t, None), scale),
        "several": lambda: dj.guidance.several(parts, {"label": scale}, null),
        "composed": lambda: dj.guidance.composed(parts, {"label": scale}, null),
    }
    made = makes[guidance]()
    model = (lambda x, t, cond: made(x, t, {"label": cond})) if guidance in ("several", "composed") else made
    for label in (0, 1):
        without, given, found = logits_of(TABLES[2]), logits_of(TABLES[label]), at_states(model, label)
        with np.errstate(invalid="ignore"):
            right = (1 - scale) * without + scale * given
        right = without if scale == 0 else np.where(np.isneginf(given), -np.inf, right)
        seen = np.isfinite(logits_of(TABLES[2]).max(axis=2)).all(axis=1)  # states that p(x) allows
        visible = np.isfinite(given.max(axis=2)).all(axis=1) & seen  # and the class too
        np.testing.assert_allclose(found[visible], right[visible], rtol=1e-4, atol=1e-5)
        assert not np.isnan(found).any()


def test_neutral_guidance_is_the_model_itself_bit_for_bit() -> None:
    for label in (0, 1, 2):
        plain = at_states(denoise, label)
        np.testing.assert_array_equal(at_states(dj.guidance.cfg(denoise, 1.0, NULL), label), plain)
        np.testing.assert_array_equal(at_states(dj.guidance.cfg(denoise, 0.0, NULL), label), at_states(denoise, 2))
        for scale in (0.3, 1.7, 6.0):
            np.testing.assert_array_equal(at_states(dj.guidance.autoguidance(denoise, denoise, scale), label), plain)


def test_an_impossible_token_of_the_null_model_alone_keeps_its_logit_beyond_one() -> None:
    """p(x) allows what p(x|c) does, so an exact model never says this; a net may."""
    without, given = jnp.array([[-jnp.inf, 0.5]]), jnp.array([[0.25, -jnp.inf]])
    x_t, t = jnp.zeros((1, 1)), jnp.ones((1, 1))
    for w, right in ((0.0, [-np.inf, 0.5]), (0.5, [-np.inf, -np.inf]), (1.0, [0.25, -np.inf]), (3.0, [0.25, -np.inf])):
        np.testing.assert_array_equal(dj.guidance.linear(without, given, w, x_t, t)[0], right)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_guided_draws_are_of_the_tilted_chain(scale) -> None:
    """Raster order draws Π_i p(x_i|x_<i)^(1-w) p(x_i|x_<i, c)^w, each normalised: χ², false alarm 1e-3 each."""
    first = TABLES.sum(axis=2)
    law = np.zeros((VOCAB, VOCAB))
    start = np.where(first[0] > 0, first[2] ** (1 - scale) * first[0] ** scale, 0)
    for a in np.flatnonzero(start):
        row = (
            np.where(TABLES[0, a] > 0, TABLES[2, a] / first[2, a], 1) ** (1 - scale)
            * (TABLES[0, a] / first[0, a]) ** scale
        )
        law[a] = start[a] / start.sum() * row / row.sum()
    n = 20_000
    guided = dj.guidance.cfg(denoise, scale, NULL)
    x = dj.sample(dj.keys(3, n), NOISE, dj.order.raster, guided, (N,), steps=N, cond=jnp.zeros(n, int))
    counts = np.bincount(np.ravel_multi_index(np.asarray(x).T, law.shape), minlength=9)
    possible = law.ravel() > 0
    assert counts[~possible].sum() == 0
    assert stats.chisquare(counts[possible], n * law.ravel()[possible]).pvalue > 1e-3


def test_slopes_of_guided_logits_are_finite_where_tokens_are_impossible() -> None:
    """d/dw = given - without where both are finite, and 0 where one is impossible."""
    without, given = jnp.array([[0.5, -jnp.inf, 0.1]]), jnp.array([[0.25, -jnp.inf, -jnp.inf]])
    x_t, t = jnp.zeros((1, 1)), jnp.ones((1, 1))

    def total(w: Any) -> Any:
        out = dj.guidance.linear(without, given, w, x_t, t)
        return jnp.sum(jnp.where(jnp.isfinite(out), out, 0))

    for w in (0.0, 0.5, 1.0, 2.0):
        np.testing.assert_allclose(jax.grad(total)(w), -0.25, rtol=1e-6)
