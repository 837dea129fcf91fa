"""The sampler: the right distribution, the same pictures alone, in a batch, scanned, stepped and on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_rule import DETERMINISTIC, STOCHASTIC
from every_schedule import SCHEDULES
from jax.sharding import NamedSharding, PartitionSpec
from jax.tree_util import Partial
from quickly import few

from diffjax import grids, oracles, order, predict, schedule, steps
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.nets import MLP
from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.sampling.loop import invert, sample, stepwise
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
MEAN, COV = np.array([0.5, -1.0]), np.array([[1.0, 0.6], [0.6, 0.5]])
SIMPLE = ("posterior", "ddim", "ddim_half", "euler", "heun", "dpmpp_2m")
RULES = {name: (DETERMINISTIC | STOCHASTIC)[name] for name in SIMPLE}
# Where the end is hardest: of edm every rule; of the others one with memory and one with noise.
FINITE = {(make, rule) for make in ("cosine", "linear_beta") for rule in ("dpmpp_2m", "posterior")}
NET = MLP(width=16, depth=1, classes=3)


def tiny(weight, x_t, t, cond):
    """Anything that depends on all it is given, and compiles at once."""
    return jnp.tanh(weight * x_t + 0.1 * cond.reshape(-1, 1, 1, 1)) - 0.2 * t


DENOISE = Partial(tiny, 1.1)


def draw(keys_, rule: str, cond=None, driver=sample, denoise=DENOISE, **options):
    cond = jnp.arange(len(keys_)) % 3 if cond is None else cond
    return driver(keys_, NOISE, order.together, denoise, (4, 4, 1), cond=cond, steps=6, step=RULES[rule], **options)


@pytest.mark.parametrize("rule", few(RULES, "posterior", "ddim_half", "dpmpp_2m"))
def test_a_gaussian_is_sampled_with_its_mean_and_covariance(rule) -> None:
    n = 10_000
    count = 400 if rule in ("posterior", "ddim", "ddim_half", "euler") else 60
    x = sample(
        keys(0, n), NOISE, order.together, oracles.gaussian(NOISE, MEAN, COV), (2,), steps=count, step=RULES[rule]
    )
    # 4.5 standard errors (false alarm 7e-6 each) and 0.015 for the steps that first-order rules leave
    np.testing.assert_allclose(np.mean(x, axis=0), MEAN, atol=4.5 / n**0.5 + 0.005)
    np.testing.assert_allclose(np.cov(np.asarray(x).T), COV, atol=4.5 * (2 / n) ** 0.5 + 0.015)


@pytest.mark.parametrize("rule", few(RULES, "ddim_half", "heun", "dpmpp_2m"))
def test_scan_and_host_loop_agree(rule) -> None:
    *_, last = draw(keys(0, 4), rule, driver=stepwise)
    np.testing.assert_allclose(draw(keys(0, 4), rule), last, atol=1e-5)


@pytest.mark.parametrize("rule", few(RULES, "ddim_half", "euler", "dpmpp_2m"))
def test_an_example_does_not_know_its_batch(rule) -> None:
    whole = draw(keys(0, 8), rule)
    alone = draw(keys(0, 1, start=5), rule, cond=jnp.array([5 % 3]))
    np.testing.assert_allclose(alone[0], whole[5], atol=1e-5)


@pytest.fixture(scope="module")
def learned():
    """A real net with random weights."""
    shapes = jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 1, 1, 1)), jnp.zeros(1, jnp.int32)
    variables = jax.jit(NET.init)(jax.random.key(0), *shapes)
    return denoiser(NOISE, NET, jax.tree.map(lambda leaf: leaf + 0.05, variables))


@pytest.mark.parametrize("count", [2, 8])
def test_noise_is_bit_equal_and_pictures_equal_on_any_number_of_devices(count, learned) -> None:
    mesh = jax.make_mesh((count,), ("batch",), devices=jax.devices()[:count], axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(keys(0, 8), NamedSharding(mesh, PartitionSpec("batch")))
    first, last = ([*draw(k, "posterior", driver=stepwise, denoise=learned)] for k in (spread, keys(0, 8)))
    np.testing.assert_array_equal(first[0], last[0])
    np.testing.assert_allclose(first[-1], last[-1], atol=1e-5)
    assert len(first[-1].sharding.device_set) == count
    scanned = draw(spread, "dpmpp_2m", denoise=learned)
    np.testing.assert_allclose(scanned, draw(keys(0, 8), "dpmpp_2m", denoise=learned), atol=1e-5)


def test_noise_is_bit_equal_alone_and_in_a_batch() -> None:
    whole = next(draw(keys(0, 64), "posterior", driver=stepwise))
    for i in (0, 17, 63):
        np.testing.assert_array_equal(next(draw(keys(0, 1, start=i), "posterior", driver=stepwise))[0], whole[i])


@pytest.mark.parametrize("rule", few(RULES, "posterior", "heun", "dpmpp_2m"))
def test_runs_under_jit_vmap_and_grad(rule) -> None:
    some, cond = keys(0, 2), jnp.zeros(2, jnp.int32)

    @jax.jit
    def total(weight):
        denoise = Partial(tiny, weight)
        return jnp.sum(
            sample(some, NOISE, order.together, denoise, (4, 4, 1), cond=cond, steps=3, step=RULES[rule]) ** 2
        )

    value, slope = jax.value_and_grad(total)(1.0)
    h = 1e-2
    np.testing.assert_allclose(slope, (total(1 + h) - total(1 - h)) / (2 * h), rtol=0.05)
    np.testing.assert_allclose(jax.vmap(total)(jnp.array([1.0, 1.1]))[0], value, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        pytest.param(make, rule, marks=[] if make == "edm" or (make, rule) in FINITE else pytest.mark.long)
        for make in SCHEDULES
        for rule in RULES
    ],
)
def test_finite_at_every_number_of_steps(rule, make) -> None:
    noise = Gaussian(SCHEDULES[make], predict.v)
    denoise = oracles.gaussian(noise, MEAN, COV)
    for count in (1, 2, 3, 10, 37):
        *_, x = stepwise(keys(0, 4), noise, order.together, denoise, (2,), steps=count, step=RULES[rule])
        assert bool(jnp.all(jnp.isfinite(x)))


@pytest.mark.parametrize(
    "which",
    [order.raster, order.shuffled, order.rolling(0.3), order.blocks(4), order.blocks(16, shuffled=True)],
    ids=["raster", "shuffled", "rolling", "blocks", "blocks, shuffled"],
)
@pytest.mark.parametrize("rule", few(["posterior", "ddim", "dpmpp_2m"], "posterior", "dpmpp_2m"))
def test_rules_serve_every_order(which, rule) -> None:
    """Independent pixels N(0.3, 0.6²): whatever the order, each pixel keeps its own law (the mean only, at width 0)."""

    def denoise(x_t, t, cond):
        m = NOISE.coefficients(t)
        return 0.3 + m.alpha * 0.36 / (m.alpha**2 * 0.36 + m.sigma**2) * (x_t - m.alpha * 0.3)

    count = 16 if which.width == 0 else 30 * which.blocks or 120
    x = np.asarray(sample(keys(0, 512), NOISE, which, Partial(denoise), (4, 4, 1), steps=count, step=RULES[rule]))
    np.testing.assert_allclose(x.mean(axis=0), 0.3, atol=4.5 * 0.6 / 512**0.5)
    np.testing.assert_allclose(x.std(axis=0), 0 if which.width == 0 else 0.6, atol=4.5 * 0.6 / 1024**0.5)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_gaussian_keeps_its_covariance_position_after_position(shuffled) -> None:
    """Each is diffused given those before it: an exact denoiser of levels apart makes the law a chain of its parts."""
    n, mean = 4_096, np.array([0.5, -1.0, 0.2])
    cov = np.array([[1.0, 0.6, -0.5], [0.6, 0.5, -0.2], [-0.5, -0.2, 0.8]])
    grid = grids.repeat_per_block(grids.karras(NOISE, 30, sigma_min=0.02), 3)
    denoise = oracles.gaussian(NOISE, mean, cov)
    which = order.blocks(3, shuffled=shuffled)
    x = sample(keys(0, n), NOISE, which, denoise, (3, 1), grid=grid, step=steps.dpmpp_2m())[:, :, 0]
    # 4.5 standard errors (false alarm 7e-6 each) and 0.01 for the steps
    np.testing.assert_allclose(np.mean(x, axis=0), mean, atol=4.5 / n**0.5 + 0.01)
    np.testing.assert_allclose(np.cov(np.asarray(x).T), cov, atol=4.5 * (2 / n) ** 0.5 + 0.01)


def test_together_only_rules_say_so() -> None:
    with pytest.raises(UserError, match=r"order.*width"):
        sample(keys(0, 1), NOISE, order.raster, DENOISE, (4, 4, 1), step=steps.heun())


def test_invert_starts_from_clean_data() -> None:
    denoise = oracles.gaussian(NOISE, MEAN, COV)
    x0 = jnp.array([[0.7, -1.4]])
    latent = invert(keys(0, 1), NOISE, order.together, denoise, x0, steps=400)
    whitened = np.linalg.inv(np.linalg.cholesky(COV)) @ (np.asarray(x0[0]) - MEAN)
    np.testing.assert_allclose(
        np.linalg.norm(latent), np.linalg.norm(whitened), rtol=0.02
    )  # the ODE is a rotation of z


@pytest.mark.parametrize("rule", ["ddim", "euler", "heun"])
@pytest.mark.parametrize("make", few(SCHEDULES, "cosine", "edm", "linear_beta"))
def test_invert_is_finite_from_clean_data_under_every_schedule(rule, make) -> None:
    noise = Gaussian(SCHEDULES[make], predict.v)
    latent = invert(
        keys(0, 1), noise, order.together, oracles.gaussian(noise, MEAN, COV), jnp.ones((1, 2)), step=RULES[rule]
    )
    assert bool(jnp.all(jnp.isfinite(latent)))


def test_hooks_see_each_step_and_its_prediction() -> None:
    def pin(value, keys, x, pred, t, s):
        return jnp.where(s == 0, value + 0 * pred, x)

    x = draw(keys(0, 2), "ddim", hook=Partial(pin, 7.0))
    np.testing.assert_array_equal(x, 7)


def test_equal_arguments_are_one_rule() -> None:
    assert steps.ddim() is steps.ddim(0) is steps.ddim(eta=0.0)
    assert schedule.shift(schedule.flow, 3) is schedule.shift(schedule.flow, factor=3.0)
    assert schedule.linear_beta_of() is schedule.linear_beta
    assert order.rolling(0.5) is order.rolling(width=0.5)


def test_new_weights_compile_nothing() -> None:
    calls = 0

    def counted(weight, x_t, t, cond):
        nonlocal calls
        calls += 1
        return weight * x_t

    for weight in (0.1, 0.2, 0.3):
        sample(
            keys(0, 2),
            NOISE,
            order.together,
            Partial(counted, weight),
            (3,),
            steps=4 + int(10 * weight > 9),
            step=steps.ddim(),
        )
    assert calls == 1


def planning(noise, grid):
    """What a step may know of the whole grid: its own place from both ends, and a difference that cancels."""
    return {
        "left": grid[:-1] - grid[-1],
        "h": jnp.diff(noise.log_snr(grid)) / 2,
        "wide": jnp.full(len(grid) - 1, grid.dtype == jnp.float64),
    }


def moves_by_its_row(keys, noise, denoise, x, t, s, carry, row):
    """Euler's idea of a rule: it tells what it was given."""
    return jnp.stack([row["left"], row["h"], row["wide"].astype(x.dtype)])[None] + 0 * x + 0 * denoise(x, t), carry


@pytest.mark.parametrize("driver", [sample, lambda *given, **more: [*stepwise(*given, **more)][-1]])
def test_a_plan_is_made_once_in_float64_and_each_step_gets_its_row(driver) -> None:
    step = Step(lambda x: None, moves_by_its_row, plan=planning)
    grid = jnp.linspace(0.5, 0.5 - 2e-4, 3)
    given = {"grid": grid, "step": step, "start": jnp.zeros((2, 3))}
    end = driver(keys(0, 2), NOISE, order.together, lambda x, t, cond: x, (3,), **given)
    exact = np.asarray(grid, np.float64)
    log_snr = -2 * np.log(np.tan(np.pi / 2 * exact))
    right = [exact[1] - exact[2], (log_snr[2] - log_snr[1]) / 2, 1]
    np.testing.assert_allclose(end[0], np.float32(right), rtol=1e-6)  # float32 alone would be 1e-3 off in h

    def traced(grid):
        return sample(keys(0, 2), NOISE, order.together, lambda x, t, cond: x, (3,), **{**given, "grid": grid})

    np.testing.assert_allclose(jax.jit(traced)(grid)[0, 0], np.float32(right[0]), rtol=1e-2)
    concrete = jax.jit(lambda: sample(keys(0, 2), NOISE, order.together, lambda x, t, cond: x, (3,), **given))()
    np.testing.assert_array_equal(concrete, end)


def test_a_plan_of_the_same_grid_is_made_once() -> None:
    plans = []

    def counted(noise, grid):
        plans.append(grid)
        return planning(noise, grid)

    step = Step(lambda x: None, moves_by_its_row, plan=counted)
    for count in (2, 2, 3):
        sample(keys(0, 2), NOISE, order.together, lambda x, t, cond: x, (3,), steps=count, step=step)
    assert [len(grid) for grid in plans] == [3, 4]


def test_a_host_loop_may_be_a_part_of_another_program() -> None:
    """The grid is a constant of that program, and what is computed of it is not."""
    *_, alone = draw(keys(0, 2), "ddim", driver=stepwise)
    inside = jax.jit(lambda given: [*draw(given, "ddim", driver=stepwise)][-1])(keys(0, 2))
    np.testing.assert_allclose(inside, alone, rtol=1e-5, atol=1e-6)
