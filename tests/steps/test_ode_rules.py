"""What every deterministic rule keeps: exact no-ops, finite ends, one answer however it is run, and the way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_rule import DETERMINISTIC as RULES
from every_schedule import SCHEDULES
from jax.tree_util import Partial
from quickly import few

from diffjax import grids, oracles, order, predict, schedule, steps
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.sampling.loop import invert, sample, step_coefficients, stepwise
from diffjax.steps.multistep_weights import polynomial_averages
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
MEAN, COV = np.array([0.5, -1.0]), np.array([[1.0, 0.6], [0.6, 0.5]])


def away(weight, x_t, t, cond):
    """A denoiser that does not give x back where nothing is hidden."""
    return jnp.tanh(weight * x_t) - 0.2 * t


def draw(rule: str, grid, weight=1.1, noise=NOISE):
    start = 0.3 * jnp.arange(6.0).reshape(2, 3) - 0.5
    return sample(
        keys(0, 2), noise, order.together, Partial(away, weight), (3,), grid=grid, step=RULES[rule], start=start
    )


@pytest.mark.parametrize("rule", few(RULES, "heun", "dpmpp_2m", "unipc", "adams_rk4"))
def test_steps_that_go_nowhere_change_nothing(rule) -> None:
    """Neither x nor the memory: with stops repeated anywhere, the ends of time included, the sample is the same."""
    noise = Gaussian(schedule.flow, predict.v)
    plain = jnp.array([1.0, 0.7, 0.5, 0.35, 0.2, 0.1, 0.0])
    full = jnp.array([1.0, 1.0, 0.7, 0.5, 0.5, 0.5, 0.35, 0.2, 0.2, 0.1, 0.0, 0.0, 0.0])
    run = jax.jit(lambda grid: draw(rule, grid, noise=noise))
    with jax.enable_x64(True):
        np.testing.assert_allclose(run(full.astype(float)), run(plain.astype(float)), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_a_step_that_goes_nowhere_is_exact(rule, level) -> None:
    step, x = RULES[rule], jnp.array([[0.3, -0.7, 1e-4]])
    t, carry = jnp.full((1, 1), level), jax.tree.map(lambda a: a + 0.5, step.init(x))
    rows = step_coefficients(step, NOISE, jnp.array([level, level]))
    row = () if step.plan is None else (jax.tree.map(lambda a: a[0], rows),)
    denoise = lambda x, t: away(1.1, x, t, None)  # noqa: E731
    moved, kept = step.update(keys(0, 1), NOISE, denoise, x, t, t, carry, *row)
    np.testing.assert_array_equal(moved, x)
    jax.tree.map(np.testing.assert_array_equal, kept, carry)


def finite(rule: str, make: str, counts) -> None:
    noise = Gaussian(SCHEDULES[make], predict.v)
    denoise = oracles.gaussian(noise, MEAN, COV)
    longest = max(counts)

    @jax.jit
    def ends(grid):
        return sample(keys(0, 2), noise, order.together, denoise, (2,), grid=grid, step=RULES[rule], start=START)

    for count in counts:
        grid = jnp.concatenate([jnp.linspace(1.0, 0.0, count + 1), jnp.zeros(longest - count)])
        assert bool(jnp.all(jnp.isfinite(ends(grid)))), count


START = jnp.array([[0.4, -1.1], [2.0, 0.3]])


@pytest.mark.parametrize("rule", few(RULES, "heun", "dpmpp_2m", "unipc", "adams_rk4"))
def test_finite_at_some_numbers_of_steps(rule) -> None:
    finite(rule, "shifted_linear_beta", (1, 2, 3, 4, 7))


@pytest.mark.long
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make", SCHEDULES)
def test_finite_at_every_number_of_steps(rule, make) -> None:
    finite(rule, make, range(1, 61))


@pytest.mark.long
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make", SCHEDULES)
def test_finite_on_planned_grids_and_back(rule, make) -> None:
    """The plan made on the host, and the climb from clean data."""
    noise = Gaussian(SCHEDULES[make], predict.v)
    denoise, given = oracles.gaussian(noise, MEAN, COV), {"step": RULES[rule]}
    for grid in (grids.uniform(noise, 9), grids.karras(noise, 9), grids.log_snr(noise, 9)):
        *_, x = stepwise(keys(0, 2), noise, order.together, denoise, (2,), grid=grid, **given)
        back = invert(keys(0, 2), noise, order.together, denoise, x, grid=grid, **given)
        assert bool(jnp.all(jnp.isfinite(x)) & jnp.all(jnp.isfinite(back)))


@pytest.mark.parametrize(
    "rule",
    few(["midpoint", "rk4", "unipc", "adams_rk4", "heun", "dpmpp_2s", "adams", "dpmpp_3m", "deis"], "unipc"),
)
def test_jit_eager_and_vmap_agree_and_slopes_are_right(rule) -> None:
    grid = jnp.linspace(1.0, 0.0, 7)
    with jax.enable_x64(True):
        grid = grid.astype(float)
        total = jax.jit(lambda weight: jnp.sum(draw(rule, grid, weight) ** 2))
        value, slope = jax.value_and_grad(total)(1.1)
        np.testing.assert_allclose(jnp.sum(draw(rule, grid) ** 2), value, rtol=1e-12)
        np.testing.assert_allclose(jax.vmap(total)(jnp.array([1.1, 0.9]))[0], value, rtol=1e-12)
        near = (total(1.1 + 1e-5) - total(1.1 - 1e-5)) / 2e-5
        np.testing.assert_allclose(slope, near, rtol=1e-6)
        traced = jax.jit(lambda grid: jnp.sum(draw(rule, grid) ** 2))
        np.testing.assert_allclose(traced(grid), value, rtol=1e-10)
        assert bool(jnp.all(jnp.isfinite(jax.grad(traced)(grid[1:-1]))))


@pytest.mark.parametrize("rule", ["heun", "midpoint", "dpmpp_2s", "rk4"])
def test_invert_undoes_sample(rule) -> None:
    with jax.enable_x64(True):
        denoise = oracles.gaussian(NOISE, MEAN, COV)
        x0 = jnp.array([[0.7, -1.4], [1.5, -0.2], [-0.6, -2.0]])
        at = {"grid": jnp.linspace(0.98, 0.02, 1001), "step": RULES[rule]}
        latent = invert(keys(0, 3), NOISE, order.together, denoise, x0, **at)
        back = sample(keys(0, 3), NOISE, order.together, denoise, (2,), start=latent, **at)
        np.testing.assert_allclose(back, x0, atol=1e-6)


def test_weights_are_the_known_ones() -> None:
    """Adams-Bashforth of order 4, and 2M's exact integral: (1 - h - e^-h)/(1 - e^-h) h_before of the difference."""
    with jax.enable_x64(True):
        every = jnp.ones(4, bool)
        even = polynomial_averages(jnp.array(0.3), -0.3 * jnp.arange(4), every)
        np.testing.assert_allclose(even, np.array([55, -59, 37, -9]) / 24, rtol=1e-12)
        for h in (1e-3, 0.7, 20.0):
            last = polynomial_averages(jnp.array(h), jnp.array([0.0, -0.4]), every[:2], 1)[1]
            np.testing.assert_allclose(last, (1 - h - np.exp(-h)) / (-np.expm1(-h) * 0.4), rtol=1e-9)


def test_the_order_drops_where_the_polynomial_reaches_too_far() -> None:
    """In two steps of a log-SNR from 0.4 on, the third jumps by 4: one level serves; by 0.4 three do."""
    with jax.enable_x64(True):
        for jump, nodes in ((0.4, 3), (4.0, 1)):
            grid = NOISE.time(2 * jnp.array([0.0, 0.4, 0.8, 0.8 + jump]))
            extra = steps.dpmpp_3m().plan(NOISE, grid).extra
            assert np.count_nonzero(np.abs(extra[2]) > 1e-12) == (nodes if nodes > 1 else 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: steps.adams(5), "^adams: order .*5"),
        (lambda: steps.deis(0), "^deis: order .*0"),
        (lambda: steps.dpmpp_3m(start=steps.adams(2)), "^dpmpp_3m: start .*adams"),
        (lambda: steps.adams(3, start=steps.posterior()), "^adams: start .*posterior"),
    ],
)
def test_orders_variants_and_starts_that_are_not_there(make, message) -> None:
    with pytest.raises(UserError, match=message):
        make()
