"""Losses: weights are carried between rows by algebra, times have the law they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quickly import few
from scipy import stats

from diffjax import loss, order, predict, schedule, times, weights
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import ConditionPart
from diffjax.utils.prng import keys

ROWS = [predict.x0, predict.eps, predict.v, predict.velocity, predict.score, predict.edm]
WEIGHTS = {
    "snr": weights.snr(),
    "min_snr": weights.min_snr(5.0),
    "edm": weights.edm(0.5),
    "sigmoid": weights.sigmoid(-1.0),
    "p2": weights.p2(),
}


END_WEIGHTS = {"x0": ("snr", None), "v": ("edm", None), "velocity": ("snr",), "edm": ("edm",)}  # tried when quick


def at(t: float):
    """A distribution of times that is one time."""
    return lambda noise, quantile: jnp.full_like(quantile, t)


def predicting(noise: Gaussian, x0_hat: jax.Array, t: float):
    """A net that says x0_hat, in the noise's own row."""

    def apply(x_in, level, cond, keys):
        m = noise.coefficients(jnp.full((1, 1), t))
        x_t = x_in * jnp.sqrt(m.alpha**2 * noise.data_std**2 + m.sigma**2)  # feed, undone
        skip, scale = noise.parameterization.solution(m, noise.data_std)
        return (x0_hat - skip * x_t) / scale

    return apply


@pytest.mark.parametrize("weight", few(WEIGHTS, "snr", "min_snr"))
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_weight_means_the_same_in_every_row(row, weight) -> None:
    """w(log-SNR) |x0 - x̂0|², whatever the net predicts, in float64."""
    with jax.enable_x64(True):
        noise, t = Gaussian(schedule.linear_beta, row, data_std=0.6), 0.37
        x0, x0_hat = jnp.array([[0.5, -1.0], [0.1, 0.9]]), jnp.array([[0.4, -0.7], [0.0, 1.0]])
        got = loss.regression(noise, order.together, weight=WEIGHTS[weight], times=at(t))(
            keys(0, 2), predicting(noise, x0_hat, t), x0, None
        )
        log_snr = schedule.log_snr(noise.schedule, jnp.asarray(t))
        expected = jnp.exp(WEIGHTS[weight](log_snr)) * jnp.mean((x0 - x0_hat) ** 2, axis=1)
        np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("which", "options"),
    [(order.together, {}), (order.together, {"independent": True}), (order.rolling(0.5), {})],
    ids=["together", "independent", "rolling"],
)
@pytest.mark.parametrize("weight", few(WEIGHTS, "edm"))
def test_a_weight_is_that_of_the_levels_that_the_net_is_told(weight, which, options) -> None:
    """Example by example, and position by position, in a batch of as many examples as positions (bayesflow#787)."""
    noise, x0, told = Gaussian(schedule.cosine, predict.x0), 1.0 + jnp.arange(64.0).reshape(8, 8, 1), []

    def silent(x_in, level, cond, keys):
        told.append(jnp.broadcast_to(level, x0.shape))
        return jnp.zeros_like(x0)

    found = loss.regression(noise, which, weight=WEIGHTS[weight], **options)(keys(0, 8), silent, x0, None)
    hidden = told[0] > 0
    log_snr = -2 * jnp.log(jnp.tan(jnp.pi / 2 * jnp.clip(told[0], 1e-6, 1 - 1e-6)))
    missed = jnp.where(hidden, jnp.exp(WEIGHTS[weight](log_snr)) * x0**2, 0)
    np.testing.assert_allclose(found, jnp.mean(missed, axis=(1, 2)), rtol=1e-4)
    assert len(np.unique(told[0])) >= 8


def test_published_weights_at_one_snr() -> None:
    """Each paper's formula evaluated by hand at SNR = 20, sigma_data = 0.5."""
    at_20 = {name: float(jnp.exp(weight(jnp.log(20.0)))) for name, weight in WEIGHTS.items()}
    np.testing.assert_allclose(at_20["min_snr"], 5, rtol=1e-5)
    np.testing.assert_allclose(at_20["edm"], (1 / 20 + 0.25) / (1 / 20 * 0.25), rtol=1e-5)
    np.testing.assert_allclose(at_20["sigmoid"], 20 / (1 + 20 * np.e), rtol=1e-5)
    np.testing.assert_allclose(at_20["p2"], 20 / 21, rtol=1e-5)


@pytest.mark.parametrize(
    ("t", "row", "weight"),
    [
        pytest.param(t, row, weight, marks=[] if weight in END_WEIGHTS[row.name] else pytest.mark.long)
        for t in (0.0, 1.0)
        for row in (predict.x0, predict.v, predict.velocity, predict.edm)
        for weight in (*WEIGHTS, None)
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_loss_and_gradient_are_finite_at_both_ends(row, weight, t) -> None:
    noise = Gaussian(schedule.cosine, row)
    run = loss.regression(noise, order.together, weight=None if weight is None else WEIGHTS[weight], times=at(t))

    def total(w):
        return jnp.sum(run(keys(0, 4), lambda x, level, cond, keys: w * x, jnp.ones((4, 3)), None))

    value, slope = jax.value_and_grad(total)(jnp.asarray(0.3))
    assert bool(jnp.isfinite(value) & jnp.isfinite(slope))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("weight", [*few(WEIGHTS, "snr"), None])
def test_positions_that_are_known_cost_nothing(row, weight) -> None:
    """Under a rolling order many positions are at level 0, where some targets and weights are infinite."""
    noise = Gaussian(schedule.linear_beta, row)
    chosen = None if weight is None else WEIGHTS[weight]
    run = loss.regression(noise, order.rolling(0.3), weight=chosen, times=at(0.4))

    def total(w):
        return jnp.sum(run(keys(0, 2), lambda x, level, cond, keys: w * x, jnp.ones((2, 8, 1)), None))

    value, slope = jax.value_and_grad(total)(jnp.asarray(0.3))
    assert bool(jnp.isfinite(value) & jnp.isfinite(slope))
    assert value > 0


def test_edm_loss_is_the_plain_loss_of_the_edm_row() -> None:
    """Karras et al. 2022, eq. 8: their weight times c_out² is 1."""
    noise = Gaussian(schedule.edm, predict.edm, data_std=0.5)
    net = lambda x, level, cond, keys: 0.3 * x  # noqa: E731
    x0 = jax.random.normal(jax.random.key(0), (16, 5))
    plain, weighted = (
        loss.regression(noise, order.together, weight=weight, times=times.log_normal())(keys(0, 16), net, x0, None)
        for weight in (None, weights.edm(0.5))
    )
    np.testing.assert_allclose(weighted, plain, rtol=1e-4)


def test_one_time_alone_is_trained_at() -> None:
    """At t = 1 nothing of x0 is left in x_t, and the best prediction is the mean of the data."""
    noise = Gaussian(schedule.cosine, predict.x0)
    quantile = times.stratified(keys(0, 16))
    np.testing.assert_array_equal(times.at(0.25)(noise, quantile), np.full(16, 0.25, np.float32))
    alpha, sigma = noise.schedule(times.at()(noise, quantile))
    assert float(jnp.max(alpha / sigma)) < 1e-2
    for t in (0.0, 1.5):
        with pytest.raises(UserError, match="times: t must be"):
            times.at(t)


def test_stratified_times_are_uniform_and_evenly_spread() -> None:
    u = np.asarray(times.stratified(keys(0, 8192)))
    assert np.all((u > 0) & (u <= 1))
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    np.testing.assert_array_equal(
        np.sort(np.floor(u.reshape(-1, 8) * 8 - 1e-6), axis=1) % 8, np.tile(np.arange(8), (1024, 1))
    )


def test_stratified_times_do_not_know_the_devices() -> None:
    whole = times.stratified(keys(0, 64))
    parts = [times.stratified(keys(0, 16, start=start)) for start in range(0, 64, 16)]
    np.testing.assert_array_equal(whole, jnp.concatenate(parts))


def test_times_have_their_law() -> None:
    u, noise = times.stratified(keys(1, 4096)), Gaussian(schedule.edm, predict.edm)
    t = np.asarray(times.logit_normal(0.5, 0.8)(noise, u), np.float64)
    assert stats.kstest(np.log(t / (1 - t)), stats.norm(0.5, 0.8).cdf).pvalue > 1e-3
    sigma = noise.schedule(times.log_normal(-1.2, 1.2)(noise, u))[1]
    assert stats.kstest(np.log(sigma), stats.norm(-1.2, 1.2).cdf).pvalue > 1e-3


def test_a_share_of_the_conditions_is_dropped() -> None:
    seen = []

    def inner(keys, apply, x0, cond):
        seen.append(cond)
        return jnp.zeros(len(keys))

    labels = jnp.arange(10_000) % 10
    loss.drop_cond(inner, jnp.asarray(10), 0.2)(keys(0, 10_000), lambda *_: None, jnp.zeros((10_000, 1)), labels)
    dropped = np.asarray(seen[0] == 10)
    assert abs(dropped.mean() - 0.2) < 4.5 * (0.16 / 10_000) ** 0.5
    np.testing.assert_array_equal(np.asarray(seen[0])[~dropped], np.asarray(labels)[~dropped])
    with pytest.raises(UserError, match="rate"):
        loss.drop_cond(inner, jnp.asarray(10), 1.2)


def test_parts_are_dropped_together_and_each_by_itself() -> None:
    count, seen = 20_000, []

    def inner(keys, apply, x0, cond):
        seen.append(cond)
        return jnp.zeros(len(keys))

    null = {"label": jnp.asarray(10), "text": ConditionPart(jnp.zeros(3, jnp.int32), jnp.zeros((), bool))}
    cond = {
        "label": jnp.zeros(count, jnp.int32),
        "text": ConditionPart(jnp.ones((count, 3), jnp.int32), jnp.ones(count, bool)),
    }
    loss.drop_cond(inner, null, 0.1, {"text": 0.3})(keys(0, count), lambda *_: None, jnp.zeros((count, 1)), cond)
    no_label, no_text = np.asarray(seen[0]["label"] == 10), ~np.asarray(seen[0]["text"].present)
    for found, share in ((no_label, 0.1), (no_text, 0.1 + 0.9 * 0.3), (no_label & ~no_text, 0.0)):
        assert abs(found.mean() - share) <= 4.5 * (share * (1 - share) / count) ** 0.5
    np.testing.assert_array_equal(seen[0]["text"].value[:, 0] == 0, no_text)
    loss.drop_cond(inner, null, 0.0, {"text": 0.5, "label": 0.5})(
        keys(0, count), lambda *_: None, jnp.zeros((count, 1)), cond
    )
    both = np.asarray((seen[1]["label"] == 10) & ~seen[1]["text"].present)
    assert abs(both.mean() - 0.25) < 4.5 * (0.1875 / count) ** 0.5
    with pytest.raises(UserError, match=r"\btext\b"):
        loss.drop_cond(inner, null, 0.1, {"text": -0.1})


@pytest.mark.parametrize(
    "which", [order.together, order.shuffled, order.blocks(4)], ids=["together", "shuffled", "four blocks"]
)
def test_independent_times_are_those_of_what_the_order_hides(which) -> None:
    """Each hidden position has a time of its own, and the mean is over them: the law of a share of hidden ones."""
    noise, seen = Gaussian(schedule.flow, predict.x0), []

    def apply(x_in, level, cond, keys):
        seen.append(noise.time(2 * jnp.log(1 / jnp.tan(jnp.pi / 2 * jnp.maximum(level, 1e-6)))))
        return jnp.ones((512, 4, 4, 1))

    x0 = jnp.zeros((512, 4, 4, 1))
    mean = loss.regression(noise, which, independent=True)(keys(0, 512), apply, x0, None)
    t = np.asarray(seen[0])
    hidden = t > 1e-5
    np.testing.assert_allclose(mean, np.where(hidden.any(axis=(1, 2, 3)), 1, 0), rtol=1e-6)
    assert stats.kstest(t[hidden], "uniform").pvalue > 1e-3
    shares = hidden.mean(axis=(1, 2, 3))
    if which.width == 1:
        assert np.all(shares == 1)
    else:
        assert abs(shares.mean() - 0.5) < 0.05 + which.width / 2
        assert len(np.unique(shares)) == (17 if which.width == 0 else 4)


def test_of_a_given_share_a_part_is_known_and_the_loss_is_of_the_rest() -> None:
    noise, seen, count = Gaussian(schedule.flow, predict.x0), [], 2_000

    def apply(x_in, level, cond, keys):
        seen.append(np.broadcast_to(np.asarray(level), (count, 4, 4, 1)))
        return jnp.ones((count, 4, 4, 1))

    mean = loss.regression(noise, order.together, given=0.75)(keys(0, count), apply, jnp.zeros((count, 4, 4, 1)), None)
    hidden = seen[0][..., 0] > 0
    np.testing.assert_allclose(mean, hidden.any((1, 2)), rtol=1e-6)
    assert all(len(np.unique(level[known])) <= 1 for level, known in zip(seen[0][..., 0], hidden, strict=True))
    cut = (hidden == hidden[:, :, :1]).all((1, 2)) | (hidden == hidden[:, :1]).all((1, 2))
    whole = hidden.all((1, 2))
    assert abs(whole.mean() - (0.25 + 0.75 * (0.5 / 4 + 0.5 / 17))) < 0.04
    assert abs(cut.mean() - (0.25 + 0.75 * 0.5)) < 0.08
    assert {0.25, 0.5, 0.75, 1.0} <= set(hidden[cut].mean((1, 2)))
    assert len(np.unique(hidden[~cut].mean((1, 2)))) == 15, "every number of pixels but none and all"
    for wrong in ({"given": 1.5}, {"given": 0.5, "independent": True}):
        with pytest.raises(UserError, match=r"^regression: given "):
            loss.regression(noise, order.together, **wrong)
    with pytest.raises(UserError, match=r"^regression: given "):
        loss.regression(noise, order.together, given=0.5)(keys(0, 2), apply, jnp.zeros((2, 4)), None)
