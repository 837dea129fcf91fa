"""Each rule's order against the closed form: for Gaussian data the ODE keeps (x - alpha m) / √(alpha² c² + sigma²)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import oracles, order, predict, schedule, steps
from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.randomness import keys
from diffjax.sampling import sample

MEAN, STD = 0.7, 0.4
ORDERS = {"euler": 1, "ddim": 1, "heun": 2, "dpmpp_2m": 2, "midpoint": 2, "dpmpp_2s": 2, "rk4": 4}
SCHEDULES = {"cosine": schedule.cosine, "flow": schedule.flow, "linear_beta": schedule.linear_beta, "edm": schedule.edm}


def spread(noise: Gaussian, t: float) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of x_t."""
    alpha, sigma = noise.schedule(jnp.asarray(t))
    return alpha * MEAN, jnp.sqrt(alpha**2 * STD**2 + sigma**2)


def error(rule: str, make: str, count: int) -> float:
    noise = Gaussian(SCHEDULES[make], predict.v)
    (m1, c1), (m0, c0) = spread(noise, 0.9), spread(noise, 0.2)
    z = jnp.array([[-1.5], [-0.5], [0.3], [2.0]])
    denoise = oracles.gaussian(noise, np.array([MEAN]), np.array([[STD**2]]))
    x = sample(
        keys(0, 4),
        noise,
        order.together,
        denoise,
        (1,),
        grid=jnp.linspace(0.9, 0.2, count + 1),
        step=getattr(steps, rule)(),
        start=m1 + c1 * z,
    )
    return float(jnp.max(jnp.abs(x - (m0 + c0 * z))))


@pytest.mark.parametrize("make", SCHEDULES)
@pytest.mark.parametrize("rule", ORDERS)
def test_order(rule, make) -> None:
    with jax.enable_x64(True):
        counts = (100, 200, 400)
        errors = [error(rule, make, count) for count in counts]
        slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(slope - ORDERS[rule]) < 0.15, (slope, errors)


def moved(rule: Step, seed: int = 0) -> jax.Array:
    """One step of the rule from a random state on cosine."""
    noise = Gaussian(schedule.cosine, predict.v)
    x = jax.random.normal(jax.random.key(seed), (4, 2))
    t, s = jnp.full((4, 1), 0.8), jnp.full((4, 1), 0.55)
    denoise = oracles.gaussian(noise, np.array([0.5, -1.0]), np.array([[1.0, 0.6], [0.6, 0.5]]))
    return rule.update(keys(0, 4), noise, lambda x, t: denoise(x, t, None), x, t, s, rule.init(x))[0]


def test_ddim_with_eta_one_is_the_posterior() -> None:
    with jax.enable_x64(True):
        np.testing.assert_allclose(moved(steps.ddim(1.0)), moved(steps.posterior()), rtol=1e-12)


def test_euler_in_sigma_over_alpha_is_ddim() -> None:
    """Song et al. 2021 (DDIM), eq. 14: d(x/alpha) = eps d(sigma/alpha), here with edm's clock running in sigma."""
    with jax.enable_x64(True):
        noise = Gaussian(schedule.edm_of(rho=1.0), predict.edm)
        denoise = oracles.gaussian(noise, np.array([0.5]), np.array([[0.3]]))
        options = {"grid": jnp.linspace(1.0, 0.0, 9), "start": jnp.array([[80.0], [-17.0]])}
        euler, ddim = (
            sample(keys(0, 2), noise, order.together, denoise, (1,), step=rule, **options)
            for rule in (steps.euler(), steps.ddim())
        )
        np.testing.assert_allclose(euler, ddim, rtol=1e-10)


def test_dpmpp_2m_starts_and_ends_with_ddim() -> None:
    noise = Gaussian(schedule.flow, predict.v)
    denoise = oracles.gaussian(noise, np.array([0.5]), np.array([[0.3]]))
    for count in (1, 2):  # from alpha = 0, then to sigma = 0: both of first order
        one, other = (
            sample(keys(0, 3), noise, order.together, denoise, (1,), steps=count, step=rule)
            for rule in (steps.dpmpp_2m(), steps.ddim())
        )
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", [steps.posterior(), steps.ddim(), steps.ddim(1.0), steps.dpmpp_2m()])
def test_per_position_rules_do_nothing_where_the_level_stays(rule) -> None:
    assert rule.per_position
    noise, x = Gaussian(schedule.cosine, predict.v), jnp.array([[0.3], [-1.0], [2.0]])
    for same in (0.0, 0.5, 1.0):
        t = jnp.array([[same], [0.9], [same]])
        s = jnp.array([[same], [0.4], [same]])
        carry = rule.init(x)
        after, carry = rule.update(keys(0, 3), noise, lambda x, t: 0.1 * x, x, t, s, carry)
        np.testing.assert_array_equal(after[::2], x[::2])
        assert after[1] != x[1]
        for leaf, fresh in zip(jax.tree.leaves(carry), jax.tree.leaves(rule.init(x)), strict=True):
            np.testing.assert_array_equal(leaf[::2], fresh[::2])
