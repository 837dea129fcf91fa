"""What a schedule, a share of shown tokens and their numbers must be: everything else is refused by its name."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax import predict, schedule
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking

pytestmark = pytest.mark.usefixtures("untyped")
FAULTS = {
    "alpha(0)": lambda t: (0.9 * (1 - t), t),
    "sigma(0)": lambda t: (1 - t, 0.1 + 0.9 * t),
    "sigma(1)": lambda t: (jnp.ones_like(t), jnp.zeros_like(t)),
    "sigma/alpha": lambda t: (1 - t * (1 - t), t * (2 - 1.5 * t)),
    "alpha and sigma": lambda t: (1 - 2 * t, t),
    "sigma is": lambda t: (1 - t, 1 / (1 - t) - 1),
    "shape": lambda t: (jnp.ones(()), t),
    "(alpha, sigma)": lambda t: jnp.sin(t),
    "not defined here": lambda t: (1 - t, t, t),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_schedule_that_is_unsound_is_refused_by_the_name_of_its_fault(fault) -> None:
    """(1, 0) at t = 0, noise at t = 1, finite, of one shape with t, sigma/alpha growing."""
    wanted = "alpha, sigma" if fault == "not defined here" else re.escape(fault)
    with pytest.raises(UserError, match=wanted):
        Gaussian(FAULTS[fault], predict.x0)


KEEP_FAULTS = {
    "keep(0)": lambda t: 0.9 * (1 - t),
    "keep(1)": lambda t: 1 - 0.8 * t,
    "keep": lambda t: 1 - t + 0.5 * jnp.sin(2 * jnp.pi * t) ** 2,
    "not finite": lambda t: 1 - t + 0 / t,
    "shape": lambda t: jnp.ones(()),
}


@pytest.mark.parametrize("fault", KEEP_FAULTS)
def test_a_share_of_shown_tokens_falls_from_one_to_zero(fault) -> None:
    """Else masks are left in samples, and a bound is below the entropy."""
    with pytest.raises(UserError, match=re.escape(fault)):
        Masking(4, KEEP_FAULTS[fault])


def test_a_keep_that_ends_within_rounding_leaves_no_mask() -> None:
    noise = Masking(4, lambda t: jnp.cos(jnp.pi / 2 * t) + 1e-6 * (1 - 2 * t))
    np.testing.assert_array_equal(noise.level(jnp.array([0.0, 1.0])), [0, 1])
    x = dj.sample(dj.keys(0, 64), noise, dj.order.together, lambda x, t, c: jnp.zeros((*x.shape, 4)), (64,), steps=3)
    assert int(jnp.max(x)) < 4


@pytest.mark.parametrize("data_std", [0.0, -1.0, float("inf"), float("nan"), "1", None, True])
def test_a_deviation_of_data_is_a_positive_finite_number(data_std) -> None:
    with pytest.raises(UserError, match="data_std"):
        Gaussian(schedule.cosine, predict.v, data_std=data_std)


def test_what_the_prior_leaves_out_is_held_to_the_data() -> None:
    """edm up to sigma 80 begins at deviation 80 where the data have 300: their own signal would be lost."""
    far = Gaussian(schedule.edm, predict.v, data_std=300.0)
    for use in (
        lambda: dj.sample(dj.keys(0, 2), far, dj.order.together, lambda x, t, c: x, (1,), steps=2),
        lambda: dj.loss.regression(far, dj.order.together),
        lambda: dj.loss.bound(far, dj.order.together),
    ):
        with pytest.raises(UserError, match="data_std=300"):
            use()
    near = Gaussian(schedule.edm_of(sigma_max=80.0 * 300), predict.v, data_std=300.0)

    def exact(x, t, cond):
        m = near.coefficients(t)
        return x * m.alpha * 300.0**2 / (m.alpha**2 * 300.0**2 + m.sigma**2)

    x = dj.sample(dj.keys(0, 4000), near, dj.order.together, exact, (1,), steps=50, step=dj.steps.heun())
    assert abs(float(jnp.std(x)) / 300 - 1) < 0.06


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedule.edm_of(sigma_min=0.0),
        lambda: schedule.edm_of(rho=0.0),
        lambda: schedule.edm_of(sigma_max=float("inf")),
        lambda: schedule.edm_of(sigma_max=-1.0),
        lambda: schedule.linear_beta_of(-1.0, -2.0),
        lambda: schedule.linear_beta_of(0.0, 0.0),
        lambda: schedule.linear_beta_of(0.1, float("nan")),
        lambda: schedule.shift(schedule.flow, float("inf")),
    ],
)
def test_numbers_that_make_no_schedule_are_refused_by_their_name(make) -> None:
    with pytest.raises(UserError, match=r"sigma_min|rho|sigma_max|beta_min|beta_max|factor"):
        make()
