"""Tokens behind masks, on a joint of three ternary variables whose every conditional is known by enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from diffjax import grids, oracles, order
from diffjax.noise import Masking
from diffjax.sampling.loop import sample
from diffjax.utils.prng import fold, keys

NOISE = Masking(vocab=3)
TABLE = np.random.default_rng(0).dirichlet(np.full(27, 0.4)).reshape(3, 3, 3)
ENTROPY = float(-np.sum(TABLE * np.log(TABLE)))
DENOISE = oracles.joint(NOISE, TABLE)
ORDERS = {"raster": order.raster, "shuffled": order.shuffled}


def drawn(count: int, seed: int = 0) -> jax.Array:
    """Tokens [count, 3] from the joint."""
    flat = np.random.default_rng(seed).choice(27, size=count, p=TABLE.ravel())
    return jnp.asarray(np.stack(np.unravel_index(flat, TABLE.shape), axis=1), jnp.int32)


def test_the_oracle_knows_every_conditional() -> None:
    logits = np.exp(DENOISE(jnp.array([[3, 3, 3], [3, 1, 3], [2, 3, 0]]), jnp.ones((3, 1)), None))
    np.testing.assert_allclose(logits[0, 1], TABLE.sum(axis=(0, 2)), rtol=1e-5)
    np.testing.assert_allclose(logits[1, 2], TABLE[:, 1].sum(axis=0) / TABLE[:, 1].sum(), rtol=1e-5)
    np.testing.assert_allclose(logits[2, 1], TABLE[2, :, 0] / TABLE[2, :, 0].sum(), rtol=1e-5)
    np.testing.assert_allclose(logits[2, 0], [0, 0, 1], atol=1e-6)


def test_masks_hide_their_share() -> None:
    x0 = drawn(20_000)
    for t in (0.0, 0.3, 1.0):
        x_t, target = NOISE.corrupt(jax.random.key(0), x0, jnp.full((1, 1), t))
        np.testing.assert_array_equal(target, x0)
        hidden = np.asarray(x_t == 3)
        assert abs(hidden.mean() - t) <= 4.5 * (0.25 / hidden.size) ** 0.5 * (0 < t < 1)
        np.testing.assert_array_equal(np.asarray(x_t)[~hidden], np.asarray(x0)[~hidden])


@pytest.mark.parametrize("name", ORDERS)
def test_one_position_a_step_draws_from_the_joint(name) -> None:
    """Autoregression, in any order, is exact: χ² over the 27 states."""
    n = 20_000
    x = np.asarray(sample(keys(1, n), NOISE, ORDERS[name], DENOISE, (3,), steps=3))
    counts = np.bincount(np.ravel_multi_index(x.T, TABLE.shape), minlength=27)
    assert stats.chisquare(counts, n * TABLE.ravel()).pvalue > 1e-3


def test_all_at_once_draws_the_product_of_the_marginals() -> None:
    n = 20_000
    x = np.asarray(sample(keys(1, n), NOISE, order.together, DENOISE, (3,), steps=1))
    counts = np.bincount(np.ravel_multi_index(x.T, TABLE.shape), minlength=27)
    marginals = [TABLE.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    product = np.einsum("i,j,k->ijk", *marginals).ravel()
    assert stats.chisquare(counts, n * product).pvalue > 1e-3
    assert stats.chisquare(counts, n * TABLE.ravel()).pvalue < 1e-9


def test_no_number_of_steps_draws_with_less_entropy_than_data() -> None:
    """From the sum of the marginals' in one step it falls to the joint's and no further: 4,000 draws (LLaDA#36; false
    alarm 7e-6)."""
    p, n = TABLE.ravel(), 4_000
    error = (np.sum(p * (np.log(p) + ENTROPY) ** 2) / n) ** 0.5
    found = []
    for steps in (1, 2, 4, 20):
        grid = grids.pad_grid(grids.uniform(NOISE, steps), 20)
        x = np.asarray(sample(keys(3, n), NOISE, order.together, DENOISE, (3,), grid=grid))
        counts = np.bincount(np.ravel_multi_index(x.T, TABLE.shape), minlength=27)
        found.append(stats.entropy(counts) + (np.count_nonzero(counts) - 1) / (2 * n))  # (Miller 1955)
    assert min(found) > ENTROPY - 4.5 * error, found
    marginals = [TABLE.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    assert abs(found[0] - sum(stats.entropy(each) for each in marginals)) < 4.5 * error
    assert found[0] > ENTROPY + 4.5 * error


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize(("k", "share"), [(1, 1.0), (4, 1 / 8)])
def test_two_sentences_come_out_whole_or_mixed(k, share, name) -> None:
    """Of ABABABAB and BABABABA one token at a time draws one of the two, and four at a time draw a mixture unless the
    first four, of which each is A or B, agree by chance: 2 / 2⁴ of 2,000 (LLaDA#75; false alarm 7e-6)."""
    n, noise = 2_000, Masking(vocab=2)
    table = np.full((2,) * 8, 1e-20)  # so that something is known of what cannot be
    table[(0, 1) * 4] = table[(1, 0) * 4] = 0.5
    x = sample(keys(4, n), noise, ORDERS[name], oracles.joint(noise, table), (8,), grid=grids.at_a_time(noise, 8, k))
    whole = np.all(np.diff(x, axis=1) != 0, axis=1)
    assert abs(np.mean(whole) - share) <= 4.5 * (share * (1 - share) / n) ** 0.5
    assert abs(np.mean(np.asarray(x)[whole, 0]) - 0.5) < 4.5 * (0.25 / np.sum(whole)) ** 0.5


@pytest.mark.parametrize(
    ("nats", "calls"),
    [(12.0, 1), pytest.param(16.5, 50, marks=pytest.mark.long)],
)
def test_rare_tokens_are_drawn_at_their_rate(nats, calls) -> None:
    """Of 16,384 tokens of probability e^-nats each as many come as should (vllm#43150; false alarm 1e-3): some 51 of
    512 draws, and 29 of 25,600, of which uniform numbers of 23 bits would leave 11."""
    count, n = 2**14, 64
    p = count * np.exp(-nats)
    logits = np.full(count + 1, -nats, np.float32)
    logits[0] = np.log1p(-p)
    denoise = Partial(lambda logits, x, t, cond: jnp.broadcast_to(logits[None, None], (*x.shape, count + 1)), logits)

    def rare(some):
        return jnp.sum(sample(some, Masking(count + 1), order.together, denoise, (n,), steps=1) > 0)

    quickly = jax.jit(rare, compiler_options={"xla_backend_optimization_level": 3})
    found = sum(int(quickly(keys(5, 8, start=8 * call))) for call in range(calls))
    assert stats.binomtest(found, 8 * n * calls, p).pvalue > 1e-3, found


@pytest.mark.parametrize("name", ORDERS)
def test_the_bound_of_one_position_a_step_is_the_entropy(name) -> None:
    n = 4_000
    x0, some = drawn(n, seed=2), keys(2, n)
    rank = order.ranks(ORDERS[name], some, (3,), 0)
    total = jnp.zeros(n)
    for k, (u, v) in enumerate([(1.0, 2 / 3), (2 / 3, 1 / 3), (1 / 3, 0.0)]):
        t, s = (order.levels(ORDERS[name], jnp.full(n, clock), rank) for clock in (u, v))
        x_t, _ = jax.vmap(NOISE.corrupt)(fold(some, k), x0, t)
        total += jnp.sum(NOISE.bound(x0, DENOISE(x_t, t, None), x_t, t, s), axis=1)
    assert abs(float(jnp.mean(total)) - ENTROPY) < 4.5 * float(jnp.std(total)) / n**0.5


def test_what_is_shown_stays_and_what_does_not_move_is_not_drawn() -> None:
    x_t = jnp.array([0, 3, 2])
    pred = jnp.zeros((3, 3))
    for t, s in ((0.7, 0.7), (0.0, 0.0), (1.0, 1.0)):
        same = NOISE.posterior(jax.random.key(0), x_t, pred, jnp.array([t]), jnp.array([s]))
        np.testing.assert_array_equal(same, x_t)
    shown = NOISE.posterior(jax.random.key(0), x_t, pred, jnp.array([0.7]), jnp.array([0.0]))
    np.testing.assert_array_equal(shown[::2], x_t[::2])
    assert int(shown[1]) < 3


def test_ends_are_finite_and_the_clock_can_be_asked_for() -> None:
    t = jnp.array([0.0, 0.25, 0.9, 1.0])
    assert bool(jnp.all(jnp.isfinite(NOISE.log_snr(t))))
    np.testing.assert_allclose(NOISE.time(NOISE.log_snr(t)), t, atol=1e-4)
    np.testing.assert_allclose(NOISE.level(t), t, atol=1e-7)
