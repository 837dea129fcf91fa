"""What is said of a model at each noise level, held against models of which it is known in closed form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import grids, loss, oracles, order, predict, schedule, steps, times, weights
from diffjax.diagnostics import by_noise_level, linear_denoiser, loss_shares
from diffjax.diagnostics.by_noise_level import Examples, SamplerRun
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
SPREADS = np.array([[0.25, 1.0, 4.0]])  # variances of independent numbers
EXACT = oracles.gaussian(NOISE, np.zeros(3), np.diag(SPREADS[0]))
COUNT = 2**17
X0 = jax.random.normal(jax.random.key(7), (COUNT, 3)) * np.sqrt(SPREADS)
KEYS = keys(3, COUNT)
T = by_noise_level.log_snr_grid(NOISE, 5, -4.0, 4.0)


def exact(x_t, t, cond):
    """The oracle of independent numbers, cheap enough for many."""
    m = NOISE.coefficients(t)
    return m.alpha * SPREADS / (m.alpha**2 * SPREADS + m.sigma**2) * x_t


def least(t) -> np.ndarray:
    """The posterior variance, per number, at each level."""
    m = NOISE.coefficients(jnp.asarray(t)[:, None])
    return np.asarray(jnp.mean(SPREADS * m.sigma**2 / (m.alpha**2 * SPREADS + m.sigma**2), axis=1))


def within(found, right, scale: Any = 1.0) -> None:
    """The mean over examples is right, within four standard errors, themselves small on the scale of what is there."""
    mean, error = np.mean(found, 1), np.std(found, 1) / np.sqrt(found.shape[1])
    assert np.all(error < 5e-3 * np.maximum(scale, np.abs(right))), error
    assert np.all(np.abs(mean - right) <= 4 * error), (mean, right, error)


def test_the_cheap_oracle_is_the_oracle() -> None:
    few, at = X0[:8], jnp.full((8, 1), 0.4)
    np.testing.assert_allclose(exact(few, at, None), EXACT(few, at, None), rtol=1e-5, atol=1e-6)


def test_an_exact_denoiser_misses_the_posterior_variance() -> None:
    within(np.asarray(by_noise_level.denoising_error(KEYS, NOISE, exact, X0, None, T)), least(T))


def test_the_best_linear_denoiser_of_a_normal_law_is_the_exact_one() -> None:
    np.testing.assert_allclose(linear_denoiser.linear_error(NOISE, X0, T).error, least(T), rtol=0.01)


def unshrunk(x: np.ndarray) -> np.ndarray:
    """By the eigenvalues of the sample covariance alone."""
    m, spread = NOISE.coefficients(T[:, None]), np.linalg.eigvalsh(np.cov(x, rowvar=False))[None]
    return np.asarray((spread * m.sigma**2 / (m.alpha**2 * spread + m.sigma**2)).mean(1))


@pytest.mark.parametrize(("count", "dim"), [(20, 300), (100, 300), (300, 300), (600, 300)])
def test_of_white_noise_no_linear_denoiser_looks_better_than_is_possible(count, dim) -> None:
    """The best error is v sigma² / (alpha² v + sigma²). What is estimated is v from n d numbers, at relative error
    √(2/nd): five of those, and the share of the directions that shrinkage leaves apart, bound the distance from it."""
    variance = 0.7
    x = np.random.default_rng(count).normal(0.3, variance**0.5, (count, dim))
    m = NOISE.coefficients(T)
    right = np.asarray(variance * m.sigma**2 / (m.alpha**2 * variance + m.sigma**2))
    found = linear_denoiser.linear_error(NOISE, x, T)
    statistical = 5 * (2 / (count * dim)) ** 0.5
    assert (np.asarray(found.error) >= right * (1 - statistical)).all()
    np.testing.assert_allclose(found.error, right, rtol=statistical)
    assert found.shrinkage > 0.9
    assert unshrunk(x)[-1] < right[-1] * (1 - statistical)  # as the sample covariance alone has it
    assert (found.examples, found.dim) == (count, dim)


def test_of_a_spread_out_law_few_examples_do_not_make_the_linear_denoiser_better() -> None:
    """Variances 1/k, 50 examples of 200 numbers: what is estimated is at most 5 % below the least that is possible, as
    the mean of twenty sets; the sample covariance is up to 56 % below it."""
    spread = 1 / np.arange(1.0, 201)[None]
    m = NOISE.coefficients(T[:, None])
    right = np.asarray((spread * m.sigma**2 / (m.alpha**2 * spread + m.sigma**2)).mean(1))
    rng = np.random.default_rng(0)
    sets = [rng.normal(0, spread**0.5, (50, 200)) for _ in range(20)]
    found = np.mean([linear_denoiser.linear_error(NOISE, x, T).error for x in sets], axis=0)
    assert (found > 0.95 * right).all(), found / right
    assert np.mean([unshrunk(x)[-1] for x in sets]) < 0.5 * right[-1]


def test_of_many_examples_the_linear_denoiser_is_that_of_their_covariance() -> None:
    """At 2,000 examples a value the shrinkage moves no error by more than half a per cent."""
    mix = np.random.default_rng(1).standard_normal((8, 8))
    x = np.random.default_rng(0).standard_normal((16_000, 8)) @ mix
    np.testing.assert_allclose(linear_denoiser.linear_error(NOISE, x, T).error, unshrunk(x), rtol=5e-3)


def test_what_a_denoiser_misses_more_is_seen_where_it_is() -> None:
    """Off by a constant in one band of log-SNRs."""

    def broken(x_t, t, cond):
        inside = jnp.abs(NOISE.log_snr(t)) < 1
        return exact(x_t, t, cond) + jnp.where(inside, 0.5, 0.0)

    more = by_noise_level.denoising_error(KEYS, NOISE, broken, X0, None, T) - by_noise_level.denoising_error(
        KEYS, NOISE, exact, X0, None, T
    )
    within(np.asarray(more), np.array([0, 0, 0.25, 0, 0]))


def test_an_exact_denoiser_moves_by_what_its_error_falls_by() -> None:
    found = by_noise_level.martingale_gap(KEYS, NOISE, exact, X0, None, T)
    within(np.asarray(found.change), -np.diff(least(T)))
    within(np.asarray(found.excess), np.zeros(4))


def test_a_denoiser_that_repeats_its_input_moves_by_what_the_noise_loses() -> None:
    """D = x_t / alpha: what changes is noise alone, and the error falls by as much."""
    found = by_noise_level.martingale_gap(
        KEYS, NOISE, lambda x_t, t, cond: x_t / NOISE.coefficients(t).alpha, X0, None, T
    )
    m = NOISE.coefficients(T)
    lost = np.asarray(-jnp.diff((m.sigma / m.alpha) ** 2))
    within(np.asarray(found.change), lost)
    within(np.asarray(found.excess), 0 * lost, 2 * lost)


def test_bins_of_the_loss_and_of_its_gradient_make_up_the_whole() -> None:
    """A linear model of one number, whose loss and gradient are integrals over the levels."""
    count, bins = 2**15, 4
    x0, few = X0[:count, :1], keys(1, count)

    def scaled_loss(gain, quantile, examples):
        one = loss.regression(NOISE, order.together, weight=weights.snr(), times=quantile)
        return one(examples.keys, lambda x, level, cond, keys: gain * x, examples.x, examples.cond)

    examples = Examples(few, x0, None)
    shares = loss_shares.gradients(examples, NOISE, scaled_loss, jnp.asarray(-1.0), bins)
    value, slope = jax.value_and_grad(lambda gain: jnp.mean(scaled_loss(gain, times.uniform(), examples)))(-1.0)
    np.testing.assert_allclose(np.mean([share.loss for share in shares]), value, rtol=0.02)
    signed = [share.gradient * np.sign(share.cosine) for share in shares]
    np.testing.assert_allclose(abs(np.mean(signed)), abs(slope), rtol=0.02)
    assert all(abs(share.cosine) == pytest.approx(1) for share in shares)
    assert [share.log_snr[1] for share in shares[:-1]] == [share.log_snr[0] for share in shares[1:]]
    assert shares[0].log_snr[0] < shares[-1].log_snr[1]


def test_the_local_error_of_euler_falls_with_the_square_of_its_step_and_heuns_with_the_cube() -> None:
    few, shape = keys(0, 64), (3,)
    sizes = {}
    for rule in (steps.euler(), steps.heun()):
        coarse, fine = (
            by_noise_level.local_error(
                SamplerRun(few, NOISE, order.together, exact, shape, jnp.linspace(1.0, 0.2, n + 1), step=rule)
            )
            for n in (8, 16)
        )
        sizes[rule.evaluations] = float(jnp.mean(coarse[4]) / jnp.mean(fine[9]))
    assert sizes[1] == pytest.approx(4, rel=0.15)
    assert sizes[2] == pytest.approx(8, rel=0.25)


def test_a_sampler_of_an_exact_model_believes_in_what_it_draws() -> None:
    """At every stop the predictions have the variance of E[x0 | x_t]; at the end they are the samples."""
    grid = grids.log_snr(NOISE, 256, -6.0, 6.0)
    run = SamplerRun(keys(0, 2**13), NOISE, order.together, exact, (3,), grid, step=steps.posterior())
    found = np.asarray(by_noise_level.predictions(run))
    m = NOISE.coefficients(grid[:-1, None])
    right = m.alpha**2 * SPREADS**2 / (m.alpha**2 * SPREADS + m.sigma**2)
    np.testing.assert_allclose(found.var(1)[80:], right[80:], rtol=0.08)


def test_a_denoiser_that_changes_its_mind_moves_by_more() -> None:
    """Off by a constant below one level: it gets worse as it moves there, and better in nothing when it moves on."""

    def broken(x_t, t, cond):
        return exact(x_t, t, cond) + jnp.where(NOISE.log_snr(t) > 1, 0.5, 0.0)

    found = by_noise_level.martingale_gap(KEYS, NOISE, broken, X0, None, T)
    within(np.asarray(found.excess), np.array([0, 0, 2 * 0.25, 0]))


def test_levels_are_even_and_what_cannot_be_is_refused() -> None:
    np.testing.assert_allclose(NOISE.log_snr(T), [-4, -2, 0, 2, 4], atol=1e-4)
    some, grid = keys(0, 2), jnp.linspace(1.0, 0.0, 3)
    with pytest.raises(UserError, match="levels"):
        by_noise_level.log_snr_grid(NOISE, 1)
    with pytest.raises(UserError, match="Gaussian"):
        by_noise_level.denoising_error(some, Masking(3), exact, X0[:2], None, T)
    with pytest.raises(UserError, match=r"\bt\b"):
        by_noise_level.martingale_gap(some, NOISE, exact, X0[:2], None, T[:1])
    with pytest.raises(UserError, match="deterministic"):
        by_noise_level.local_error(SamplerRun(some, NOISE, order.together, exact, (3,), grid, step=steps.posterior()))


def test_all_of_it_runs_under_jit() -> None:
    few, x0 = keys(0, 4), X0[:4]
    for measure in (by_noise_level.denoising_error, by_noise_level.martingale_gap):
        eager = measure(few, NOISE, exact, x0, None, T)
        compiled = jax.jit(lambda x0, measure=measure: measure(few, NOISE, exact, x0, None, T))(x0)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), eager, compiled)
