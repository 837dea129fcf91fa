"""Grids: each is what was published, falls strictly under every schedule, and ends where it says."""

import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES
from jax.tree_util import Partial

from diffjax import grids, order, predict, schedule, steps
from diffjax.errors import UserError
from diffjax.experiment import build
from diffjax.noise import Gaussian, Masking
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
EDM = Gaussian(schedule.edm_of(rho=1.0), predict.edm)  # sigma = 80 t
POINT = Partial(lambda x, t, cond: 0 * x + 0.3)  # the denoiser of data at 0.3 alone
FROM_ONE = {
    "uniform": grids.uniform,
    "quadratic": grids.quadratic,
    "cosine": grids.cosine,
    "beta": grids.beta,
    "trailing": grids.trailing,
    "linspace": grids.linspace,
    "karras_chain": grids.karras_chain,
    "karras": grids.karras,
    "exponential": grids.exponential,
    "log_snr": grids.log_snr,
    "at_a_time": grids.at_a_time,
}
WITH_LAST = ("karras", "exponential", "log_snr")


def ratio(noise: Gaussian, grid) -> np.ndarray:
    """sigma/alpha at each stop."""
    alpha, sigma = noise.schedule(grid)
    return np.asarray(sigma / alpha)


def falls_from_one_to_zero(name: str, noise: Gaussian, count: int) -> None:
    stops = np.asarray(FROM_ONE[name](noise, count))
    assert stops.shape == (count + 1,)
    assert (stops[0], stops[-1]) == (1, 0)
    assert np.all(np.diff(stops) < 0), count


@pytest.mark.parametrize("name", FROM_ONE)
def test_grids_fall_strictly_from_one_to_zero(name) -> None:
    for count in (1, 2, 60):
        for make in SCHEDULES.values() if name in WITH_LAST else [schedule.cosine]:  # others know the clock alone
            falls_from_one_to_zero(name, Gaussian(make, predict.v), count)


@pytest.mark.long
@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("name", FROM_ONE)
def test_grids_fall_strictly_in_every_number_of_steps(name, make) -> None:
    for count in range(1, 61):
        falls_from_one_to_zero(name, Gaussian(make, predict.v), count)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("name", WITH_LAST)
def test_the_last_stop_is_sigma_min_where_that_is_asked(name, make) -> None:
    noise = Gaussian(make, predict.v)
    least = np.exp(-5.0) if name == "log_snr" else 0.002
    for count in (1, 2, 59):
        stops = FROM_ONE[name](noise, count, last="sigma_min")
        assert len(stops) == count + 1
        assert stops[0] == 1
        assert np.all(np.diff(stops) < 0)
        np.testing.assert_allclose(ratio(noise, stops)[-1], least, rtol=1e-3)
        clean = FROM_ONE[name](noise, count + 1)
        np.testing.assert_array_equal(clean, np.append(stops, 0))  # one step less is all that differs


@pytest.mark.parametrize("name", WITH_LAST)
def test_ending_at_sigma_min_leaves_exactly_that_noise(name) -> None:
    """Of data at one point: what is left of x is that point and noise of sigma_min/alpha; clean, the point alone."""
    grid = FROM_ONE[name]
    options = {"high": -2 * np.log(0.05)} if name == "log_snr" else {"sigma_min": 0.05}

    def draw(noise, last, step):
        stops = grid(noise, 12, **options, last=last)
        return sample(keys(0, 4000), noise, order.together, POINT, (1,), grid=stops, step=step)

    for noise in (NOISE, Gaussian(schedule.edm, predict.edm)):
        for step in (steps.ddim(), steps.posterior(), steps.dpmpp_2m_sde()):
            np.testing.assert_allclose(draw(noise, "clean", step), 0.3, atol=1e-5)
            stop = grid(noise, 12, **options, last="sigma_min")[-1]
            left = np.asarray(draw(noise, "sigma_min", step)) / noise.schedule(stop)[0] - 0.3
            np.testing.assert_allclose(np.std(left), 0.05, rtol=4.5 / 8000**0.5)
            np.testing.assert_allclose(np.mean(left), 0, atol=4.5 * 0.05 / 4000**0.5)


def test_the_published_chains() -> None:
    """Lin et al. 2024, table 2: T = 1000 in 10 steps; and a number of steps that does not divide."""
    np.testing.assert_allclose(grids.trailing(NOISE, 10), np.arange(1000, -1, -100) / 1000)
    np.testing.assert_allclose(grids.leading(NOISE, 10), np.append(np.arange(901, 0, -100), 0) / 1000)
    np.testing.assert_allclose(grids.trailing(NOISE, 3, train_steps=10), np.array([10, 7, 3, 0]) / 10)
    np.testing.assert_allclose(grids.leading(NOISE, 3, train_steps=10), np.array([7, 4, 1, 0]) / 10)
    for grid in (grids.trailing, grids.leading):  # all steps of the chain
        np.testing.assert_allclose(grid(NOISE, 60, train_steps=60), np.arange(60, -1, -1) / 60, rtol=1e-6)
    for count in range(1, 61):
        for train_steps in (60, 61, 1000):
            assert np.all(np.diff(np.asarray(grids.leading(NOISE, count, train_steps))) < 0)
            assert np.all(np.diff(np.asarray(grids.trailing(NOISE, count, train_steps))) < 0)


def test_chains_as_a_scheduler_counts_them() -> None:
    """Worked out by hand for T = 10; a scheduler's step n is n + 1 here."""
    ten = {"train_steps": 10}
    chains = {
        (9, 6, 3, 1): grids.leading(NOISE, 3, offset=2, last="sigma_min", **ten),
        (8, 6, 4, 0): grids.leading(NOISE, 3, offset=1, endpoint=False, **ten),
        (10, 5, 1, 0): grids.linspace(NOISE, 3, **ten),  # 4.5 is rounded to 4
        (10, 5.5, 1, 1): grids.linspace(NOISE, 3, rounded=False, last="sigma_min", **ten),
        (10, 7, 4, 1): grids.linspace(NOISE, 3, endpoint=False, last="sigma_min", **ten),
        (10, 5, 1): grids.trailing(NOISE, 2, last="sigma_min", **ten),
        (10, 0): grids.linspace(NOISE, 1, **ten),
    }
    for chain, grid in chains.items():
        np.testing.assert_allclose(grid, np.array(chain) / 10, rtol=1e-6)


def test_the_karras_ramp_of_a_chain_is_that_between_its_ends() -> None:
    """As in `karras`, whose first stop is t = 1 whatever sigma_max is; and where no signal is left, from 2^12."""
    noise = Gaussian(schedule.discrete_linear(), predict.eps)
    for spacing in ("leading", "linspace", "trailing"):
        chain = getattr(grids, spacing)(noise, 8)
        high, low = ratio(noise, chain[np.array([0, -2])])
        grid = grids.karras_chain(noise, 8, spacing)
        np.testing.assert_array_equal(np.asarray(grid)[[0, -2, -1]], np.asarray(chain)[[0, -2, -1]])
        np.testing.assert_allclose(grid[1:], grids.karras(noise, 8, low, high)[1:], rtol=1e-4)
    without_signal = grids.karras_chain(NOISE, 8)
    high, low = 2.0**12, ratio(NOISE, without_signal[-2:-1])[0]
    ramp = np.linspace(high ** (1 / 7), low ** (1 / 7), 8) ** 7
    np.testing.assert_allclose(ratio(NOISE, without_signal)[1:-1], ramp[1:], rtol=1e-3)


def test_leading_needs_the_state_at_its_start() -> None:
    grid = grids.leading(NOISE, 4)
    with pytest.raises(UserError, match=r"^grid: .*0\.751.*start="):
        sample(keys(0, 1), NOISE, order.together, POINT, (2,), grid=grid)
    sample(keys(0, 1), NOISE, order.together, POINT, (2,), grid=grid, start=jnp.ones((1, 2)))


def test_karras_and_exponential_are_the_published_ramps() -> None:
    """Worked out by hand: of three stops the middle one is ((√4 + √1)/2)² = 2.25 for rho = 2, and √(4 · 1) = 2."""
    three = {"sigma_min": 1.0, "sigma_max": 4.0}
    np.testing.assert_allclose(ratio(EDM, grids.karras(EDM, 3, rho=2.0, **three))[1:], [2.25, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(ratio(EDM, grids.exponential(EDM, 3, **three))[1:], [2, 1, 0], rtol=1e-5)
    ends = {"low": -2 * np.log(4.0), "high": 0.0}
    np.testing.assert_allclose(grids.log_snr(EDM, 3, **ends), grids.exponential(EDM, 3, **three), rtol=1e-5)
    ramp = (80 ** (1 / 7) + np.arange(18) / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    edm = Gaussian(schedule.edm, predict.edm)
    np.testing.assert_allclose(ratio(edm, grids.karras(edm, 18))[:-1], ramp, rtol=1e-3)
    np.testing.assert_allclose(ratio(edm, grids.exponential(edm, 18))[:-1], np.geomspace(80, 0.002, 18), rtol=1e-3)


def test_quadratic_cosine_and_beta() -> None:
    """By hand: (3/4)², cos(π/8 k), and the arcsine law Beta(½, ½), whose quantiles are sin²(πu/2)."""
    np.testing.assert_allclose(grids.quadratic(NOISE, 4), [1, 9 / 16, 1 / 4, 1 / 16, 0], rtol=1e-6)
    np.testing.assert_allclose(grids.cosine(NOISE, 3), [1, 3**0.5 / 2, 0.5, 0], rtol=1e-6)
    u = np.linspace(1, 0, 9)
    np.testing.assert_allclose(grids.beta(NOISE, 8, 0.5, 0.5), np.sin(np.pi / 2 * u) ** 2, rtol=1e-6)
    np.testing.assert_allclose(grids.beta(NOISE, 8, 1.0, 1.0), u, rtol=1e-6)
    np.testing.assert_allclose(grids.beta(NOISE, 8, 2.0, 1.0), np.sqrt(u), rtol=1e-6)
    even = grids.beta(NOISE, 10)  # of Lee et al.: symmetric, and closest at both ends
    np.testing.assert_allclose(even + even[::-1], 1, atol=1e-6)
    assert np.argmax(-np.diff(even)) in (4, 5)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_a_repeated_grid_is_itself_in_every_block(count) -> None:
    own = grids.karras(NOISE, 7)
    stops = grids.repeat_per_block(own, count)
    assert len(stops) == 7 * count + 1
    rank = jnp.arange(count) / max(count - 1, 1)
    t = np.asarray(order.level(order.blocks(count), stops[:, None], rank[None]))
    for block in range(count):
        np.testing.assert_allclose(t[7 * block : 7 * block + 8, block], own, atol=1e-6 * count)
        assert t[7 * block, block] == 1
        assert t[7 * block + 7, block] == 0


def test_grids_of_the_clock_alone_serve_tokens() -> None:
    for grid in (grids.quadratic, grids.cosine, grids.beta, grids.trailing):
        np.testing.assert_array_equal(grid(Masking(5), 6), grid(NOISE, 6))


def test_explicit_times_are_the_grid() -> None:
    np.testing.assert_array_equal(grids.explicit(NOISE, 2, (1.0, 0.5, 0.0)), [1, 0.5, 0])


@pytest.mark.parametrize(
    ("text", "count", "stops"),
    [
        ("explicit([1.0, 0.25, 0.0])", 2, [1, 0.25, 0]),
        ("trailing(train_steps=4)", 2, [1, 0.5, 0]),
        ("beta(1.0, beta=1.0)", 2, [1, 0.5, 0]),
        ("leading(train_steps=10, offset=1, last='sigma_min')", 2, [0.7, 0.2, 0.1]),
        ("linspace(train_steps=9, endpoint=False)", 2, [1, 5 / 9, 0]),
        ("karras_chain(spacing='trailing', train_steps=4)", 2, [1, 0.5, 0]),
        ("log_snr(-3, 3, last='clean')", 1, [1, 0]),
    ],
)
def test_grids_are_found_by_name(text, count, stops) -> None:
    step, grid = build.build_sampler(NOISE, order.together, step="edm_stochastic(churn=3)", grid=text, count=count)
    np.testing.assert_allclose(grid, stops, rtol=1e-6)
    assert step is steps.edm_stochastic(3.0)


@pytest.mark.parametrize(
    ("grid", "options", "named"),
    [
        (grids.uniform, {"steps": 0}, "steps: .* 0"),
        (grids.karras, {"steps": 0}, "steps: .* 0"),
        (grids.beta, {"steps": 0}, "steps: .* 0"),
        (grids.exponential, {"sigma_min": 90.0}, "^exponential: sigma_min .*80.*90"),
        (grids.karras, {"noise": EDM, "sigma_min": 81.0, "sigma_max": 100.0}, "^karras: sigma_min .*100.*80.*81"),
        (grids.log_snr, {"low": 3.0, "high": 3.0}, "^log_snr: high .*low"),
        (grids.karras, {"last": "none"}, "^karras: last .*clean.*sigma_min.*'none'"),
        (grids.exponential, {"last": ""}, "^exponential: last"),
        (grids.log_snr, {"last": "0"}, "^log_snr: last"),
        (grids.beta, {"alpha": 0.0}, "^beta: alpha .*0.0"),
        (grids.beta, {"beta": -1.0}, "^beta: beta .*-1.0"),
        (grids.trailing, {"steps": 11, "train_steps": 10}, "^trailing: train_steps .*11.*10"),
        (grids.leading, {"steps": 11, "train_steps": 10}, "^leading: train_steps .*11.*10"),
        (grids.leading, {"steps": 10, "train_steps": 10, "endpoint": False}, "^leading: train_steps .*11.*10"),
        (grids.leading, {"offset": -1}, r"^leading: offset .*0 … 249 .*-1"),
        (grids.leading, {"offset": 250}, r"^leading: offset .*0 … 249 .*250"),
        (grids.leading, {"last": "first"}, "^leading: last"),
        (grids.linspace, {"steps": 11, "train_steps": 10}, "^linspace: train_steps .*11.*10"),
        (grids.linspace, {"last": ""}, "^linspace: last"),
        (grids.trailing, {"last": ""}, "^trailing: last"),
        (grids.karras_chain, {"spacing": "even"}, "^karras_chain: spacing .*leading.*linspace.*trailing.*'even'"),
        (grids.karras_chain, {"steps": 0}, "steps: .* 0"),
        (grids.explicit, {"steps": 0, "times": (1.0,)}, "^explicit: times"),
        (grids.explicit, {"steps": 2, "times": (1.0, 0.5, 0.5)}, "^explicit: times"),
        (grids.explicit, {"steps": 1, "times": (1.5, 0.5)}, "^explicit: times"),
        (grids.explicit, {"steps": 1, "times": (0.5, -0.5)}, "^explicit: times"),
        (grids.explicit, {"steps": 1, "times": (1.0, float("nan"))}, "^explicit: times"),
        (grids.explicit, {"steps": 50, "times": (1.0, 0.0)}, "^explicit: times .*steps.*50"),
    ],
)
def test_mistakes_name_the_argument(grid, options, named) -> None:
    with pytest.raises(UserError, match=named):
        grid(**{"noise": NOISE, "steps": 4, **options})


def test_a_grid_is_padded_to_a_greater_length() -> None:
    with pytest.raises(UserError, match=r"^pad_grid: length .*4.*3"):
        grids.pad_grid(grids.uniform(NOISE, 4), 3)
