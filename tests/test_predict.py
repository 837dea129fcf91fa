"""Every row against the numerical solution of x_t = alpha x0 + sigma eps, out = a x0 + b eps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES

from diffjax import predict, schedule
from diffjax.protocols import Coefficients

ROWS = [predict.x0, predict.eps, predict.v, predict.velocity, predict.score, predict.edm]
DATA_STD = 0.7


def named(row: predict.Parameterization) -> str:
    return row.name


def solved(row: predict.Parameterization, m: Coefficients) -> tuple[np.ndarray, np.ndarray]:
    """(skip, scale) from NumPy's solver, one 2×2 system per time and unit right-hand side."""
    a, b = row.pair(m, DATA_STD)
    system = np.stack([np.stack([m.alpha, m.sigma], -1), np.stack([a, b], -1)], -2).astype(np.float64)
    return tuple(np.linalg.inv(system)[:, 0].T)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rows_solve_the_system_in_float64(row, make) -> None:
    with jax.enable_x64(True):
        # everywhere defined, up to the conditioning of the solver itself
        m = schedule.coefficients(make, jnp.linspace(0.0, 1.0, 203)[1:-1])
        skip, scale = row.solution(m, DATA_STD)
        expected_skip, expected_scale = solved(row, m)
        np.testing.assert_allclose(skip, expected_skip, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(scale, expected_scale, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rows_solve_the_system_in_float32(row, make) -> None:
    m = schedule.coefficients(make, jnp.linspace(0.02, 0.98, 97))
    skip, scale = row.solution(m, DATA_STD)
    expected_skip, expected_scale = solved(row, m)
    np.testing.assert_allclose(skip, expected_skip, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scale, expected_scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("row", [predict.x0, predict.v, predict.velocity, predict.edm], ids=named)
def test_x0_is_finite_at_both_ends(row, make) -> None:
    m = schedule.coefficients(make, jnp.array([0.0, 1.0]))
    assert bool(jnp.all(jnp.isfinite(jnp.stack(row.solution(m, DATA_STD)))))


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("row", [predict.v, predict.velocity, predict.edm], ids=named)
def test_clean_data_is_its_own_prediction(row, make) -> None:
    skip, scale = row.solution(schedule.coefficients(make, jnp.zeros(1)), DATA_STD)
    np.testing.assert_allclose(skip, 1, rtol=1e-6)
    np.testing.assert_allclose(scale, 0, atol=1e-6)


def test_edm_row_is_the_published_preconditioning() -> None:
    """c_skip and c_out of Karras et al. 2022, table 1, at sigma_data = 0.5, computed by hand."""
    at = Coefficients(*(jnp.array([value]) for value in (1.0, 2.0, 0.0, 1.0)))
    skip, scale = predict.edm.solution(at, 0.5)
    np.testing.assert_allclose(skip, 0.25 / 4.25, rtol=1e-6)
    np.testing.assert_allclose(scale, 2 * 0.5 / 4.25**0.5, rtol=1e-6)
