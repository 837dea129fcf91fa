"""The laboratory measures the orders and distributions that theory gives, and finds the faults of wrong step rules."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES
from quickly import few

import diffjax as dj
from diffjax import lab, oracles, order, predict, schedule, steps
from diffjax.errors import UserError
from diffjax.lab.convergence import POINTS
from diffjax.lab.distribution_checks import exact_quantiles
from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys

COSINE = Gaussian(schedule.cosine, predict.v)
SMALL = lab.ReportPlan(
    schedules={"cosine": schedule.cosine}, rounds=0, budgets=(10,), step_counts=(1, 2, 7), draws=4000
)
SMALLER = replace(SMALL, counts=(50, 100, 200))


def slope_of(noise, denoise, x, t):
    m, x0 = noise.coefficients(t), denoise(x, t)
    return m.d_alpha * x0 + m.d_sigma * noise.eps(x, x0, t)


def ode(update, claimed: int, evaluations: int = 1) -> Step:
    """A rule from outside the package: (noise, denoise, x, t, s) -> x."""
    return Step(
        init=lambda x: None,
        update=lambda keys, noise, denoise, x, t, s, carry: (update(noise, denoise, x, t, s), carry),
        evaluations=evaluations,
        order=claimed,
    )


def midpoint(noise, denoise, x, t, s):
    half = (t + s) / 2
    return x + (s - t) * slope_of(noise, denoise, x + (half - t) * slope_of(noise, denoise, x, t), half)


def heun_with_one_level(noise, denoise, x, t, s):
    first = slope_of(noise, denoise, x, t)
    return x + (s - t) * (first + slope_of(noise, denoise, x + (s - t) * first, t)) / 2


def half_way(noise, denoise, x, t, s):
    return x + 0.9 * (s - t) * slope_of(noise, denoise, x, t)


def dpmpp_without_an_end(noise, denoise, x, t, s):
    at_s, at_t, x0 = noise.coefficients(s), noise.coefficients(t), denoise(x, t)
    h = jnp.log(at_s.alpha / at_s.sigma) - jnp.log(at_t.alpha / at_t.sigma)
    return at_s.sigma / at_t.sigma * x + at_s.alpha * x0 - at_s.alpha * jnp.exp(-h) * x0 + 0 * h


RIGHT = {
    "euler": (steps.euler(), 1),
    "ddim": (steps.ddim(), 1),
    "heun": (steps.heun(), 2),
    "dpmpp_2m": (steps.dpmpp_2m(), 2),
    "midpoint": (ode(midpoint, 2, 2), 2),
}


@pytest.mark.parametrize("name", few(RIGHT, "ddim", "dpmpp_2m"))
def test_a_right_rule_has_its_order(name) -> None:
    rule, expected = RIGHT[name]
    report = lab.report(rule, COSINE, SMALL)
    assert report.passed, report
    assert report.step.order == expected
    assert abs(report.order - expected) < 0.15
    assert "none" in str(report)


@pytest.mark.parametrize(
    ("rule", "low", "high", "message"),
    [
        (ode(heun_with_one_level, 2, 2), 0.8, 1.2, r"order 1\.\d\d, and 2 is claimed"),
        (ode(half_way, 1), -0.2, 0.2, r"order -?0\.\d\d, and 1 is claimed"),
    ],
    ids=["one level for both slopes", "steps too short"],
)
def test_a_wrong_rule_has_a_lower_order(rule, low, high, message) -> None:
    report = lab.report(rule, COSINE, SMALLER)
    assert low < report.order < high
    (problem,) = report.problems
    assert problem in str(report)
    assert re.search(message, problem)


def test_a_rule_that_claims_nothing_must_still_converge() -> None:
    unclaimed = Step(init=lambda x: None, update=ode(half_way, 1).update)
    (problem,) = lab.report(unclaimed, COSINE, SMALLER).problems
    assert "does not converge" in problem


def test_a_rule_that_is_not_finite_is_found() -> None:
    report = lab.report(ode(dpmpp_without_an_end, 1), COSINE, SMALLER)
    assert report.nonfinite == {"cosine": (1, 2, 7)}
    assert "N = 1, 2, 7" in report.problems[-1]
    assert "not under cosine at N = 1, 2, 7" in str(report)


def scaled_noise(factor: float) -> Step:
    """The posterior with its noise times `factor`."""

    def update(keys, noise, denoise, x, t, s, carry):
        x0 = denoise(x, t)
        mean = noise.coefficients(s).alpha * x0 + noise.coefficients(s).sigma * noise.noise_correlation(
            t, s
        ) * noise.eps(x, x0, t)
        drawn = jax.vmap(noise.posterior)(keys, x, x0, t, s)
        return mean + factor * (drawn - mean), carry

    return Step(init=lambda x: None, update=update, stochastic=True)


def test_exact_noise_passes_and_scaled_noise_is_found() -> None:
    right, wrong = (lab.compare_distribution(scaled_noise(factor), COSINE, draws=4000) for factor in (1.0, 1.1))
    assert right.passed, right
    assert not wrong.passed
    assert wrong.wasserstein > wrong.allowed
    assert wrong.deviation > 0.05


def test_a_stochastic_rule_has_a_distribution_and_no_order() -> None:
    report = lab.report(steps.posterior(), COSINE, SMALL)
    assert report.passed, report
    assert report.order is None
    assert report.distribution is not None
    assert "Wasserstein" in str(report)


def test_exact_draws_are_within_the_critical_distance() -> None:
    """And come within a third of it."""
    n, (mean, std) = 2000, lab.SMOOTH.moments()
    x = np.asarray(oracles.draws(keys(3, 40 * n), *lab.SMOOTH.normals())).reshape(40, n)
    np.testing.assert_allclose((x.mean(), x.std()), (mean, std), atol=4.5 / (40 * n) ** 0.5)
    distances = np.abs(np.sort(x, axis=1) - exact_quantiles(lab.SMOOTH, n)).mean(axis=1) / std
    assert np.all(distances < lab.critical_distance(lab.SMOOTH, n))
    assert distances.max() > lab.critical_distance(lab.SMOOTH, n) / 3


@pytest.mark.parametrize("name", ["x0", "eps", "v", "velocity", "score", "edm"])
def test_the_exact_denoiser_is_exact_in_every_parameterization(name) -> None:
    with jax.enable_x64(True):
        x, t = jnp.array([[-1.0], [0.3], [2.0], [0.1]]), jnp.array([[1.0], [0.7], [0.1], [0.001]])
        for make in (schedule.linear_beta, schedule.edm):
            noise = Gaussian(make, getattr(predict, name))
            exact = oracles.mixture(noise, *lab.HARD.normals())(x, t, None)
            np.testing.assert_allclose(lab.exact_denoiser(noise, lab.HARD)(x, t, None), exact, rtol=1e-6)


def test_errors_are_those_of_the_sampler() -> None:
    with jax.enable_x64(True):
        quantile = oracles.quantile(COSINE, *lab.HARD.arrays())
        p = ((jnp.arange(POINTS) + 0.5) / POINTS)[:, None]
        start, end = quantile(p, 1.0), quantile(p, 0.0)
        denoise = oracles.mixture(COSINE, *lab.HARD.normals())
        at = {"steps": 5, "step": steps.heun(), "start": start}
        x = sample(keys(0, POINTS), COSINE, order.together, denoise, (1,), **at)
        error = jnp.sqrt(jnp.mean((x - end) ** 2)) / lab.HARD.moments()[1]
    np.testing.assert_allclose(lab.error_by_nfe(steps.heun(), COSINE, budgets=(10, 11))[10], error, rtol=1e-6)


@pytest.mark.parametrize("make", ["edm"])
def test_orders_hold_under_other_schedules(make) -> None:
    assert abs(lab.slope(steps.heun(), Gaussian(SCHEDULES[make], predict.v)) - 2) < 0.15


def test_an_extra_call_has_overhead() -> None:
    def update(keys, noise, denoise, x, t, s, carry):
        return denoise(denoise(x, t), s), carry

    twice = Step(init=lambda x: None, update=update)
    assert lab.overhead(twice, COSINE, rounds=3) > 1.4


def test_rules_for_tokens_are_refused() -> None:
    with pytest.raises(UserError, match=r"step .*unmask"):
        dj.lab.report(steps.unmask())
