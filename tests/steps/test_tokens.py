"""Rules for tokens: what they draw, how many they show, and that they keep the joint of three ternary variables."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from quickly import few
from scipy import stats

from diffjax import grids, oracles, order, predict, schedule, steps
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.sampling.loop import sample, stepwise
from diffjax.utils.prng import fold, keys

NOISE = Masking(vocab=3)
TABLE = np.random.default_rng(0).dirichlet(np.full(27, 0.4)).reshape(3, 3, 3)
DENOISE = oracles.joint(NOISE, TABLE)
ORDERS = {"together": order.together, "raster": order.raster, "shuffled": order.shuffled}
ROLLING = order.rolling(0.5)
RULES = {"unmask": steps.unmask(), "confidence": steps.confidence(), "remask": steps.remask(cap=0.3)}
P = np.array([0.4, 0.3, 0.2, 0.1])


def independent(p=P):
    """The noise and the denoiser of tokens that are independent, with these probabilities each."""
    return Masking(len(p)), lambda x, t, cond: jnp.broadcast_to(jnp.log(jnp.asarray(p)), (*x.shape, len(p)))


def counts(x) -> np.ndarray:
    return np.bincount(np.ravel_multi_index(np.asarray(x).T, TABLE.shape), minlength=27)


@pytest.mark.parametrize("name", ORDERS)
def test_unmask_is_the_posterior_and_so_is_remask_that_hides_nothing(name) -> None:
    given = (keys(0, 64), NOISE, ORDERS[name], DENOISE, (3,))
    plain = sample(*given, steps=6)
    for rule in (steps.unmask(), steps.remask(cap=0.0), steps.remask(cap=1.0, eta=0.0)):
        np.testing.assert_array_equal(sample(*given, steps=6, step=rule), plain)


@pytest.mark.parametrize("name", ["raster", "shuffled"])
def test_at_width_0_nothing_is_hidden_again(name) -> None:
    given = (keys(0, 64), NOISE, ORDERS[name], DENOISE, (3,))
    np.testing.assert_array_equal(sample(*given, steps=3, step=steps.remask(cap=1.0)), sample(*given, steps=3))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({}, P),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, P**2),
        ({"top_k": 2}, [0.4, 0.3, 0, 0]),
        ({"top_k": 9}, P),
        ({"top_p": 0.1}, [1, 0, 0, 0]),
        ({"top_p": 0.65}, [0.4, 0.3, 0, 0]),
        ({"temperature": 2.0, "top_k": 3, "top_p": 0.5}, np.sqrt([0.4, 0.3, 0, 0])),  # √P: 0.383, 0.332, 0.271
    ],
)
@pytest.mark.parametrize("rule", few(["unmask", "confidence", "remask"], "confidence"))
def test_tokens_are_drawn_from_the_shaped_law(rule, shape, expected) -> None:
    noise, denoise = independent()
    expected = np.asarray(expected) / np.sum(expected)
    if rule == "confidence":
        shape = {**shape, "choice": 1e6}  # at less, the likely ones are shown sooner
    x = sample(keys(1, 400), noise, order.together, denoise, (40,), steps=4, step=getattr(steps, rule)(**shape))
    found = np.bincount(np.asarray(x).ravel(), minlength=4)
    possible = expected > 0
    assert found[~possible].sum() == 0
    if possible.sum() > 1:
        assert stats.chisquare(found[possible], found.sum() * expected[possible]).pvalue > 1e-3


@pytest.mark.long
def test_remasking_leaves_the_joint() -> None:
    """As long as few are hidden again at once: those lifted together are drawn independently."""
    n = 4_000
    for rule, leaves in ((steps.remask(cap=0.003), True), (steps.remask(cap=1.0), False)):
        x = sample(keys(4, n), NOISE, order.together, DENOISE, (3,), steps=600, step=rule)
        assert (stats.chisquare(counts(x), n * TABLE.ravel()).pvalue > 1e-3) == leaves


def test_remasking_shows_what_the_level_says() -> None:
    noise, denoise = independent()
    for rule in (steps.remask(cap=0.3), steps.remask(cap=1.0), steps.unmask()):
        grid = jnp.linspace(1.0, 0.4, 7)
        x = sample(keys(5, 500), noise, order.together, denoise, (40,), grid=grid, step=rule)
        assert abs(np.mean(np.asarray(x) == 4) - 0.4) < 4.5 * (0.24 / x.size) ** 0.5


def test_remasking_hides_what_was_shown() -> None:
    noise, denoise = independent()
    states = [np.asarray(x) for x in stepwise(keys(6, 50), noise, order.together, denoise, (40,), steps=10,
                                              step=steps.remask(cap=0.2))]  # fmt: skip
    again = [np.mean(after[before < 4] == 4) for before, after in itertools.pairwise(states[1:-1])]
    most = [min(1, (1 - keep) / (keep - 0.1)) for keep in np.arange(2, 10) / 10]
    np.testing.assert_allclose(again, np.minimum(0.2, most), atol=0.06)
    assert (states[-1] < 4).all()


def passages(rule, which):
    """All pairs of neighbouring states of twenty examples."""
    noise, denoise = independent()
    states = stepwise(keys(10, 20), noise, which, denoise, (40,), steps=8, step=rule)
    return noise.vocab, itertools.pairwise(np.asarray(x) for x in states)


@pytest.mark.parametrize("which", [order.together, order.shuffled, ROLLING], ids=["together", "shuffled", "rolling"])
@pytest.mark.parametrize("rule", [steps.posterior(), steps.unmask(), steps.confidence()], ids=lambda rule: rule.name)
def test_what_is_shown_stays_as_it_is(rule, which) -> None:
    """Of a rule that hides nothing again no token changes once it is shown (Halton-MaskGIT#36)."""
    mask, pairs = passages(rule, which)
    for before, after in pairs:
        np.testing.assert_array_equal(after[before < mask], before[before < mask])


@pytest.mark.parametrize("cap", [0.3, 1.0])
def test_remasking_changes_a_token_by_way_of_the_mask_alone(cap) -> None:
    """What is shown is after a step the same token or hidden, never another (remdm#8)."""
    mask, pairs = passages(steps.remask(cap=cap), order.together)
    again = [after[(before < mask) & (after != before)] for before, after in pairs]
    np.testing.assert_array_equal(np.concatenate(again), mask)
    assert len(np.concatenate(again)) > 100


@pytest.mark.parametrize("rule", [steps.posterior(), steps.remask(cap=0.3)], ids=lambda rule: rule.name)
def test_no_number_of_steps_takes_entropy_from_independent_tokens(rule) -> None:
    """By 1, 4 and 16 steps, 5,000 tokens of 40 kinds have the entropy of their law (LLaDA#36; false alarm 7e-6)."""
    p, n = 1 / np.arange(1, 41) / np.sum(1 / np.arange(1, 41)), 5_000
    noise, denoise = independent(p)
    exact = stats.entropy(p)
    error = (np.sum(p * (np.log(p) + exact) ** 2) / n) ** 0.5
    for count in (1, 4, 16):
        grid = grids.pad_grid(grids.uniform(noise, count), 16)
        x = sample(keys(11, 50), noise, order.together, denoise, (n // 50,), grid=grid, step=rule)
        found = stats.entropy(np.bincount(np.asarray(x).ravel(), minlength=40)) + 39 / (2 * n)  # (Miller 1955)
        assert abs(found - exact) < 4.5 * error, (count, found, exact)


def test_confidence_shows_as_many_as_planned() -> None:
    noise, denoise = independent()
    states = stepwise(keys(7, 8), noise, order.together, denoise, (40,), steps=7, step=steps.confidence())
    left = [np.sum(np.asarray(x) == 4, axis=1) for x in states]
    for k, hidden in enumerate(left):
        np.testing.assert_array_equal(hidden, round(40 * (1 - k / 7)))


def test_the_surest_is_shown_first() -> None:
    """Without Gumbel noise, position by position from the most to the least certain; with much, in any order."""
    p = np.stack([np.full(4, 0.25), [0.97, 0.01, 0.01, 0.01], [0.6, 0.2, 0.1, 0.1]])
    noise = Masking(4)

    def denoise(x, t, cond):
        return jnp.broadcast_to(jnp.log(jnp.asarray(p))[None], (len(x), 3, 4))

    def first(choice):
        rule = steps.confidence(choice=choice)
        x = sample(keys(8, 900), noise, order.together, denoise, (3,), grid=jnp.array([1.0, 2 / 3]), step=rule)
        return np.mean(np.asarray(x) < 4, axis=0)

    assert first(0.0)[1] > 0.95
    np.testing.assert_allclose(first(1e6), np.full(3, 1 / 3), atol=4.5 * (2 / 9 / 900) ** 0.5)


def test_one_at_a_time_with_exact_logits_draws_nothing_impossible() -> None:
    table = TABLE * (TABLE > 0.02)
    denoise = oracles.joint(NOISE, table / table.sum())
    for rule in RULES.values():
        x = sample(keys(9, 2_000), NOISE, order.shuffled, denoise, (3,), steps=3, step=rule)
        assert counts(x)[table.ravel() == 0].sum() == 0


@pytest.mark.parametrize("name", RULES)
def test_nothing_moves_where_the_levels_are_one(name) -> None:
    x = jnp.array([[0, 3, 2, 3], [3, 3, 3, 3]])

    def denoise(x, t):
        return jnp.zeros((*x.shape, 3))

    for t in (0.0, 0.3, 1.0):
        level = jnp.full((2, 1), t)
        same, _ = RULES[name].update(keys(0, 2), NOISE, denoise, x, level, level, None)
        np.testing.assert_array_equal(same, x)
    if not RULES[name].reorders:
        t, s = jnp.array([[0.5, 0.5, 0.2, 0.9]] * 2), jnp.array([[0.5, 0.5, 0.2, 0.0]] * 2)
        moved, _ = RULES[name].update(keys(0, 2), NOISE, denoise, x, t, s, None)
        np.testing.assert_array_equal(moved[:, :3], x[:, :3])
        assert int(moved[:, 3].max()) < 3


@pytest.mark.parametrize("which", [order.shuffled, ROLLING])
@pytest.mark.parametrize("name", RULES)
def test_every_order_ends_with_tokens_that_depend_on_their_own_key(name, which) -> None:
    given = (NOISE, which, DENOISE, (3,))
    whole = sample(keys(3, 8), *given, steps=5, step=RULES[name])
    assert int(whole.max()) < 3
    np.testing.assert_array_equal(sample(keys(3, 8)[5:6], *given, steps=5, step=RULES[name])[0], whole[5])


@pytest.mark.parametrize(
    "n", [49, pytest.param(12, marks=pytest.mark.long), pytest.param(1000, marks=pytest.mark.long)]
)
def test_k_at_a_time(n) -> None:
    rank = order.ranks(order.raster, keys(0, 1), (n,), 0)
    for k in {1, 2, 3, 7, n // 3, n - 1, n, n + 5}:
        grid = grids.at_a_time(NOISE, n, k)
        level = order.levels(order.raster, grid, jnp.broadcast_to(rank, (len(grid), n)))
        known = np.sum(np.asarray(level) == 0, axis=1)
        np.testing.assert_array_equal(known, np.minimum(np.arange(len(grid)) * k, n))
        assert known[-1] == n
        assert (grid[0], grid[-1]) == (1, 0)


def test_mistakes_are_told() -> None:
    for call, told in (
        (lambda: grids.at_a_time(NOISE, 64, 0), "at_a_time: k "),
        (lambda: steps.unmask(temperature=-1.0), "unmask: temperature "),
        (lambda: steps.confidence(top_k=-1), "confidence: top_k "),
        (lambda: steps.remask(top_p=0.0), "remask: top_p "),
        (lambda: steps.remask(cap=1.5), "remask: cap "),
        (lambda: steps.remask(eta=-0.1), "remask: eta "),
        (lambda: steps.confidence(choice=-1.0), "confidence: choice "),
    ):
        with pytest.raises(UserError, match=told):
            call()
    normal = Gaussian(schedule.cosine, predict.v)
    for name, rule in RULES.items():
        with pytest.raises(UserError, match=f"{name} .*TokenNoise.*Gaussian"):
            sample(keys(0, 1), normal, order.together, lambda x, t, cond: x, (2,), step=rule)


def test_keys_of_steps_differ() -> None:
    """Two steps of one rule from the same state draw other tokens."""
    noise, denoise = independent()
    x = jnp.full((1, 400), 4)
    draws = [
        steps.confidence().update(fold(keys(0, 1), k), noise, lambda x, t: denoise(x, t, None), x,
                                  jnp.ones((1, 1)), jnp.zeros((1, 1)), None)[0]
        for k in (0, 1)
    ]  # fmt: skip
    assert 0.2 < float(jnp.mean(draws[0] == draws[1])) < 0.4  # Σ p² = 0.3
