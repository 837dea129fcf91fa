"""Padded grids: a clock that stands still changes no bit, so one compilation serves every number of steps."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_rule import DETERMINISTIC, STOCHASTIC
from every_schedule import SCHEDULES
from jax.tree_util import Partial
from quickly import few

from diffjax import grids, order, predict, schedule
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.sampling.loop import invert, sample, stepwise
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
POINT = Partial(lambda x, t, cond: 0 * x + 0.3)  # the denoiser of data at 0.3 alone
RULES = {**STOCHASTIC, **{name: DETERMINISTIC[name] for name in ("ddim", "euler", "heun", "dpmpp_2m")}}


def test_padding_repeats_the_last_stop() -> None:
    np.testing.assert_array_equal(grids.pad_grid(jnp.array([1.0, 0.5, 0.25]), 4), [1, 0.5, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(grids.pad_grid(jnp.array([1.0, 0.0]), 1), [1, 0])


@pytest.mark.parametrize("grid", [[1.0, 0.5, 0.5, 0.0], [1.0, 1.0, 0.0], [0.5, 0.5], [1.0, 0.0, 0.0, 0.5]])
def test_a_clock_may_stand_still_only_at_the_end(grid) -> None:
    with pytest.raises(UserError, match=r"^grid: "):
        sample(keys(0, 1), NOISE, order.together, POINT, (2,), grid=jnp.array(grid))


def bent(weight, x_t, t, cond):
    """Anything that depends on all it is given."""
    return jnp.tanh(weight * x_t) - 0.2 * t


def moves(keys, x, pred, t, s):
    """A hook that would be seen if it were called once more."""
    return 0.9 * x + 0.1 * jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)


def padded_is_plain(rule: str, noise: Gaussian, counts: Iterable[int]) -> None:
    """Finite in these numbers of steps by one compilation, and the picture to the last bit.

    Of one step to rounding: XLA unrolls a loop of one step, and then fuses it otherwise.
    """
    compiled = []

    def counted(weight, x_t, t, cond):
        compiled.append(1)
        return bent(weight, x_t, t, cond)

    def draw(grid, denoise, hook=None):
        grid = jnp.asarray(grid, jnp.float32)
        return sample(keys(0, 3), noise, order.together, denoise, (2,), grid=grid, step=RULES[rule], hook=hook)

    drawn = {}
    for count in counts:
        grid = np.linspace(1, 0, count + 1)
        drawn[count] = draw(np.pad(grid, (0, 60 - count), mode="edge"), Partial(counted, 1.1))  # grids.padded
        assert np.all(np.isfinite(drawn[count])), count
    assert len(compiled) == RULES[rule].evaluations
    np.testing.assert_array_equal(drawn[2], draw([1, 0.5, 0], Partial(bent, 1.1)))
    np.testing.assert_allclose(drawn[1], draw([1, 0], Partial(bent, 1.1)), rtol=1e-5, atol=1e-6)
    grid = [1, 0.6, 0.5, 0.1]
    hooked = (draw(g, Partial(bent, 1.1), Partial(moves)) for g in (grid, [*grid, 0.1, 0.1]))
    np.testing.assert_array_equal(*hooked)


@pytest.mark.parametrize("rule", few(RULES, "dpmpp_2m", "edm_stochastic"))
def test_padding_changes_no_bit_and_compiles_once(rule) -> None:
    padded_is_plain(rule, NOISE, (1, 2, 13, 60))


@pytest.mark.long
@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("rule", RULES)
def test_padding_changes_no_bit_under_every_schedule(rule, make) -> None:
    padded_is_plain(rule, Gaussian(make, predict.v), range(1, 61))


@pytest.mark.parametrize("rule", ["ddim", "euler", "heun", "dpmpp_2m"])
def test_padding_changes_no_bit_of_an_inversion_and_of_a_host_loop(rule) -> None:
    grid = jnp.linspace(1.0, 0.0, 6)
    given = (keys(0, 3), NOISE, order.together, Partial(bent, 1.1))
    back = [invert(*given, jnp.ones((3, 2)), grid=g, step=RULES[rule]) for g in (grid, grids.pad_grid(grid, 9))]
    np.testing.assert_array_equal(*back)
    *_, five, six = stepwise(*given, (2,), grid=grids.pad_grid(grid, 6), step=RULES[rule])
    np.testing.assert_array_equal(five, six)


@pytest.mark.parametrize("rule", few(RULES, "ddim", "dpmpp_2m", "edm_stochastic", "dpmpp_2m_sde"))
def test_a_step_that_stays_returns_its_state(rule) -> None:
    """At both ends of time and between, and with whatever memory it has."""
    step, x = RULES[rule], jnp.array([[0.3], [-1.0], [2.0]])
    for make in (schedule.cosine, schedule.linear_beta, schedule.edm):
        noise = Gaussian(make, predict.v)
        for same in (0.0, 0.5, 1.0):
            t, carry = jnp.full((3, 1), same), step.init(x)
            row = (
                ()
                if step.plan is None
                else (jax.tree.map(lambda a: a[1], step.plan(noise, jnp.array([1.0, same, same]))),)
            )
            after, left = step.update(keys(0, 3), noise, lambda x, t: 0.1 * x, x, t, t, carry, *row)
            np.testing.assert_array_equal(after, x)
            for leaf, before in zip(jax.tree.leaves(left), jax.tree.leaves(carry), strict=True):
                np.testing.assert_array_equal(leaf, before)
