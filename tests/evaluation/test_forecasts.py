"""Scores of forecasts against closed forms, and what a right forecast has on average."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from diffjax.errors import UserError
from diffjax.evaluation.forecasts import crps_of_normal, crps_of_samples, interval_contains

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("mean", "std", "outcome"), [(0.0, 1.0, 0.3), (2.0, 0.5, -1.0), (-1.0, 3.0, -1.0)])
def test_the_crps_is_the_integral_of_squared_errors_of_probabilities(mean, std, outcome) -> None:
    """∫ (F(x) - [x >= y])² dx (Gneiting & Raftery 2007, eq. 20)."""
    below = quad(lambda x: norm.cdf(x, mean, std) ** 2, mean - 12 * std, outcome)[0]
    above = quad(lambda x: norm.sf(x, mean, std) ** 2, outcome, max(mean, outcome) + 12 * std)[0]
    exact = crps_of_normal(*(np.array([value]) for value in (mean, std, outcome)))
    np.testing.assert_allclose(exact, below + above, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_samples_of_any_number_have_the_crps_of_their_distribution_on_average(count) -> None:
    """Within five standard errors over 20,000 forecasts of one outcome."""
    scores = crps_of_samples(RNG.normal(1.0, 2.0, (count, 20_000)), np.full(20_000, 0.5))
    exact = crps_of_normal(np.array([1.0]), np.array([2.0]), np.array([0.5]))
    assert abs(scores.mean() - exact) < 5 * scores.std() / 20_000**0.5


@pytest.mark.parametrize(("count", "share"), [(19, 0.9), (59, 0.9), (3, 0.5)])
def test_a_right_forecast_has_its_coverage(count, share) -> None:
    """Within five standard errors."""
    inside = interval_contains(RNG.normal(size=(count, 20_000)), RNG.normal(size=20_000), share)
    assert abs(inside.mean() - share) < 5 * (share * (1 - share) / 20_000) ** 0.5


def test_what_has_no_score_is_refused() -> None:
    with pytest.raises(UserError, match="2 samples"):
        crps_of_samples(np.zeros((1, 3)), np.zeros(3))
    with pytest.raises(UserError, match=r"60 samples .*0\.9"):
        interval_contains(np.zeros((60, 3)), np.zeros(3))
