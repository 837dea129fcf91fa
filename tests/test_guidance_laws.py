"""What each guidance does, against what is known of it where p(x) and p(x|c) are normal."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import normal_pair
import numpy as np
import pytest
from every_schedule import SCHEDULES
from normal_pair import NULL, D
from quickly import few

from diffjax import guidance, oracles, order, predict, schedule, steps
from diffjax.noise import Gaussian
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys

W, N = 2.5, 3
FLOW = Gaussian(schedule.flow, predict.velocity)
START = np.random.default_rng(1).normal(size=(N, D))
COND = jnp.zeros(N, jnp.int32)


def linear(without, given, y, sigma):
    return without + W * (given - without)


def rescaled(without, given, y, sigma):
    """Lin et al. 2024, eq. 15 and 16, as printed."""
    x0 = linear(without, given, y, sigma)
    return 0.7 * (x0 * given.std() / x0.std()) + 0.3 * x0


def thresholded(without, given, y, sigma):
    """Saharia et al. 2022, section 2.3, with data in [-0.5, 0.5]."""
    x0 = linear(without, given, y, sigma)
    s = max(np.percentile(np.abs(x0), 80.0), 0.5)
    return np.clip(x0, -s, s) / s * 0.5


def apg(without, given, y, sigma):
    """Sadat et al. 2024, algorithm 1."""
    difference = given - without
    difference = difference * min(1, 0.4 / np.linalg.norm(difference))
    towards = given / np.linalg.norm(given)
    along = (difference @ towards) * towards
    return given + (W - 1) * (difference - along + 0.3 * along)


def zero_star(without, given, y, sigma):
    """Fan et al. 2025, algorithm 1: of flow's velocities at t = sigma / (1 + sigma), v = (x - x0)/t."""
    t = sigma / (1 + sigma)
    x = y * (1 - t)
    v_without, v_given = (x - without) / t, (x - given) / t
    s = (v_given @ v_without) / (v_without @ v_without)
    v = np.zeros(D) if t > 0.85 else (1 - W) * s * v_without + W * v_given
    return x - t * v


def interval(without, given, y, sigma):
    """Kynkäänniemi et al. 2024, the clock being flow's."""
    return linear(without, given, y, sigma) if 0.3 <= sigma / (1 + sigma) <= 0.6 else given


RULES = {
    "linear": (linear, guidance.linear, W),
    "rescaled": (rescaled, guidance.rescaled(0.7), W),
    "thresholded": (thresholded, guidance.thresholded(80.0, limit=0.5), W),
    "apg": (apg, guidance.apg(0.3, 0.4), W),
    "zero_star": (zero_star, guidance.zero_star(FLOW, 0.15), W),
    "interval": (interval, guidance.linear, guidance.interval(W, 0.3, 0.6)),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_what_its_paper_says(name) -> None:
    by_hand, rule, scale = RULES[name]
    with jax.enable_x64(True):
        guided = guidance.cfg(normal_pair.denoiser(FLOW), scale, NULL, rule=rule)
        for t in (0.98, 0.7, 0.35, 0.02):
            y, sigma = START * (0.5 + t), t / (1 - t)
            x0 = guided(jnp.asarray(y * (1 - t)), jnp.full((N, 1), t), COND)
            expected = [by_hand(*(normal_pair.mean(one, sigma, n) for n in ("null", "cond")), one, sigma) for one in y]
            np.testing.assert_allclose(x0, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", few(sorted(RULES.keys() - {"interval"}), "linear", "apg", "zero_star"))
def test_samples_end_where_the_guided_ode_does(name) -> None:
    """rk4 on the clock, and an adaptive method in sigma, which starts where zero_star's zeros end. (An
    interval's jumps are nothing for solvers of high order.)"""
    by_hand, rule, scale = RULES[name]
    first, last = 0.85, 0.05
    high, low = first / (1 - first), last / (1 - last)
    with jax.enable_x64(True):
        guided = guidance.cfg(normal_pair.denoiser(FLOW), scale, NULL, rule=rule)
        at = {"grid": jnp.linspace(first, last, 601), "step": steps.rk4(), "start": jnp.asarray(START)}
        x = sample(keys(0, N), FLOW, order.together, guided, (D,), cond=COND, **at)
    expected = [(1 - last) * normal_pair.solved(by_hand, one / (1 - first), high, low) for one in START]
    np.testing.assert_allclose(x, expected, atol=1e-5)


@pytest.mark.parametrize("name", few(SCHEDULES, "cosine"))
def test_of_equal_spread_the_tilted_law_itself_is_sampled(name) -> None:
    """N(m_0, C) and N(m_1, C): p(x|c)^w p(x)^(1-w) is N((1-w) m_0 + w m_1, C), at every level of noise too."""
    covs = dict.fromkeys(("null", "cond"), normal_pair.COVS["cond"])
    middle = (1 - W) * normal_pair.MEANS["null"] + W * normal_pair.MEANS["cond"]
    with jax.enable_x64(True):
        noise = Gaussian(SCHEDULES[name], predict.v)
        tilted = oracles.gaussian(noise, middle, covs["cond"])
        guided = guidance.cfg(normal_pair.denoiser(noise, covs=covs), W, NULL)
        x, t = jnp.asarray(START), jnp.array([[1.0], [0.5], [0.0]])
        np.testing.assert_allclose(guided(x, t, COND), tilted(x, t, None), rtol=1e-9, atol=1e-9)


def test_of_unequal_spread_it_is_not() -> None:
    """In one dimension with one mean y - mean is (s_0² + sigma²)^((1-w)/2) (s_1² + sigma²)^(w/2), all along the ODE.

    From large sigma the end has the deviation s_0^(1-w) s_1^w, and the tilted law 1/√((1-w)/s_0² + w/s_1²): less
    wherever s_1 < s_0, by the inequality of means.
    """
    means, covs = dict.fromkeys(("null", "cond"), np.full(1, 0.3)), {"null": np.eye(1), "cond": 0.25 * np.eye(1)}
    high = 200.0
    with jax.enable_x64(True):
        noise = Gaussian(schedule.edm_of(sigma_min=0.002, sigma_max=high), predict.edm)
        guided = guidance.cfg(normal_pair.denoiser(noise, means, covs), W, NULL)
        at = {"steps": 800, "step": steps.rk4(), "start": 0.3 + jnp.linspace(-1.0, 1.0, N)[:, None] * high}
        x = sample(keys(0, N), noise, order.together, guided, (1,), cond=COND, **at)
    powers = [(1 / (1 + high**2)) ** ((1 - W) / 2), (0.25 / (0.25 + high**2)) ** (W / 2)]
    stretch = np.prod(powers) * high
    np.testing.assert_allclose(x[:, 0], 0.3 + np.linspace(-1, 1, N) * stretch, atol=1e-5)
    np.testing.assert_allclose(stretch, 0.5**W, rtol=1e-3)
    assert stretch < 0.6 * (1 - W + W / 0.25) ** -0.5


def by_cfg_plus_plus(noise, grid, strength):
    """Chung et al. 2024, algorithm 2, literally: x0 of the mixed eps, and the eps of nothing for the way on."""
    with jax.enable_x64(True):
        alphas, sigmas = (np.asarray(a, float) for a in noise.schedule(jnp.asarray(grid)))
    ends = []
    for x in START:
        for alpha, sigma, alpha_s, sigma_s in zip(alphas, sigmas, alphas[1:], sigmas[1:], strict=False):
            if alpha == 0:  # then y = x/alpha is infinite, and all that is known are the means
                without, given = normal_pair.MEANS["null"], normal_pair.MEANS["cond"]
            else:
                without, given = (normal_pair.mean(x / alpha, sigma / alpha, name) for name in ("null", "cond"))
            eps = (x - alpha * without) / sigma
            x = alpha_s * (without + strength * (given - without)) + sigma_s * eps
        ends.append(x)
    return np.array(ends)


@pytest.mark.parametrize("name", few(SCHEDULES, "flow"))
@pytest.mark.parametrize("strength", [0.6, pytest.param(0.0, marks=pytest.mark.long)])
def test_plus_plus_is_ddim_with_the_eps_of_nothing(name, strength) -> None:
    noise, grid = Gaussian(SCHEDULES[name], predict.v), np.linspace(1, 0, 8) ** 1.5
    with jax.enable_x64(True):
        scale = guidance.plus_plus(strength, noise, jnp.asarray(grid))
        guided = guidance.cfg(normal_pair.denoiser(noise), scale, NULL)
        at = {"grid": jnp.asarray(grid), "step": steps.ddim(), "start": jnp.asarray(START)}
        x = sample(keys(0, N), noise, order.together, guided, (D,), cond=COND, **at)
    np.testing.assert_allclose(x, by_cfg_plus_plus(noise, grid, strength), rtol=1e-8, atol=1e-8)


def test_the_scale_of_plus_plus_is_finite_and_of_the_next_stop() -> None:
    grid = jnp.linspace(1.0, 0.0, 6)
    scale = guidance.plus_plus(0.5, FLOW, grid)
    assert bool(jnp.all(jnp.isfinite(scale(jnp.linspace(0.0, 1.0, 41)))))
    for t, s in pairwise(grid[:-1]):  # flow: alpha = 1 - t, sigma = t
        rho = (1 - t) * s / ((1 - s) * t)
        np.testing.assert_allclose(scale(t[None]), [0.5 / (1 - rho)], rtol=1e-5)
    np.testing.assert_allclose(scale(grid[-2:]), [0.5, 0.5], rtol=1e-6)


def test_momentum_is_a_sum_over_steps_that_fades() -> None:
    """D = Σ_k beta^k (given - without) of k steps before, by a loop over DDIM's steps."""
    beta, grid = -0.5, np.linspace(0.9, 0.1, 6)
    ends = []
    for x in START:
        seen = []
        for t, s in pairwise(grid):
            y, sigma = x / (1 - t), t / (1 - t)
            without, given = (normal_pair.mean(y, sigma, name) for name in ("null", "cond"))
            seen.append(given - without)
            x0 = given + (W - 1) * sum(beta**k * one for k, one in enumerate(reversed(seen)))
            x = (1 - s) * x0 + s * (x - (1 - t) * x0) / t
        ends.append(x)
    with jax.enable_x64(True):
        both = guidance.pairs(normal_pair.denoiser(FLOW), NULL)
        at = {"grid": jnp.asarray(grid), "start": jnp.asarray(START), "cond": COND}
        step = guidance.momentum(steps.ddim(), W, beta)
        x = sample(keys(0, N), FLOW, order.together, both, (D,), step=step, **at)
        np.testing.assert_allclose(x, ends, rtol=1e-9)
        none = guidance.momentum(steps.dpmpp_2m(), W, 0.0, guidance.apg(0.3, 0.4))
        x = sample(keys(0, N), FLOW, order.together, both, (D,), step=none, **at)
        plain = guidance.cfg(normal_pair.denoiser(FLOW), W, NULL, rule=guidance.apg(0.3, 0.4))
        expected = sample(keys(0, N), FLOW, order.together, plain, (D,), step=steps.dpmpp_2m(), **at)
        np.testing.assert_allclose(x, expected, rtol=1e-9)
