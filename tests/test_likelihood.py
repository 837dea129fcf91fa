"""Likelihoods against exact ones: joints by enumeration, Gaussians and mixtures by their densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from scipy.stats import t as student_t

from diffjax import edit, loss, oracles, order, predict, schedule
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.likelihood import bits_per_dim, bits_vs_context
from diffjax.nets import MAR
from diffjax.noise import Gaussian, Masking
from diffjax.utils.prng import keys

NOISE = Masking(vocab=3)
TABLE = np.random.default_rng(0).dirichlet(np.full(27, 0.4)).reshape(3, 3, 3)
STATES = jnp.asarray(np.stack(np.unravel_index(np.arange(27), TABLE.shape), axis=1), jnp.int32)
ENTROPY = oracles.entropy(TABLE)
DENOISE = oracles.joint(NOISE, TABLE)
COSINE = Gaussian(schedule.cosine, predict.v)
RNG = np.random.default_rng(1)


def nats(x, method, noise=NOISE, which=order.raster, denoise=DENOISE, seed=0, **options):
    """Of whole examples, and their standard errors."""
    bits, errors, _ = bits_per_dim(keys(seed, len(x)), noise, which, denoise, x, method=method, **options)
    scale = x[0].size * np.log(2)
    return np.asarray(bits) * scale, np.asarray(errors) * scale


def some_mixture(d: int, parts: int):
    """Weights, means and covariances, well conditioned."""
    rng = np.random.default_rng(d)
    roots = rng.normal(size=(parts, d, d)) * 0.4
    covs = roots @ roots.swapaxes(1, 2) + 0.1 * np.eye(d)
    return rng.dirichlet(np.ones(parts)), rng.normal(size=(parts, d)), covs


def samples(weights, means, covs, n: int):
    """Drawn from the mixture, and their exact negative log-densities."""
    which = RNG.choice(len(weights), n, p=weights)
    x = np.stack([RNG.multivariate_normal(means[k], covs[k]) for k in which])
    p = sum(w * multivariate_normal(m, c).pdf(x) for w, m, c in zip(weights, means, covs, strict=True))
    return jnp.asarray(x, jnp.float32), -np.log(p).reshape(-1)


def test_one_position_a_step_is_exact_for_every_state() -> None:
    found, errors = nats(STATES, "exact")
    np.testing.assert_allclose(found, -np.log(TABLE.ravel()), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(errors, 0)


def test_the_bound_of_any_order_is_the_entropy() -> None:
    """With the exact denoiser every order costs -log p(x); the error over orders says how far the estimate is."""
    found, errors = nats(jnp.tile(STATES, (8, 1)), "bound", which=order.shuffled, draws=32)
    weights = np.tile(TABLE.ravel(), 8) / 8
    spread = np.sqrt(np.sum((weights * errors) ** 2))
    assert abs(np.sum(weights * found) - ENTROPY) < 3 * spread < 0.05


def test_hidden_ones_stand_for_the_next_with_less_variance() -> None:
    same = order.Order(0.0, order.shuffled.rank)  # the same orders, not known to be exchangeable
    table = np.random.default_rng(3).dirichlet(np.full(256, 0.4)).reshape((2,) * 8)
    x = jnp.asarray(np.stack(np.unravel_index(np.arange(256), table.shape), axis=1), jnp.int32)
    tokens = Masking(vocab=2)
    (mean, errors), (plain_mean, plain_errors) = (
        nats(x, "bound", tokens, which, oracles.joint(tokens, table), draws=8) for which in (order.shuffled, same)
    )
    assert np.mean(errors**2) < 0.9 * np.mean(plain_errors**2)
    assert abs(np.mean(mean - plain_mean)) < 4 * np.sqrt(np.mean(errors**2 + plain_errors**2) / len(x))


@pytest.mark.long
def test_hidden_ones_that_are_apart_stand_for_those_of_the_block() -> None:
    """Of shuffled blocks, where a net has a head: the same bound with less variance."""
    net, which = MAR(width=8, depth=1, heads=2, head_width=8, head_depth=1), order.blocks(8, shuffled=True)
    x = jax.random.normal(jax.random.key(0), (64, 2, 4, 1))
    variables = jax.jit(net.init)(jax.random.key(0), x[:1], jnp.zeros((1, 1, 1, 1)))
    denoise = denoiser(COSINE, net, jax.tree.map(lambda leaf: leaf + 0.1, variables))
    (mean, errors), (plain_mean, plain_errors) = (
        nats(x, "bound", COSINE, which, known, draws=48, levels=17)
        for known in (denoise, lambda x_t, t, cond: denoise(x_t, t, cond))
    )
    assert np.mean(errors**2) < 0.9 * np.mean(plain_errors**2)
    assert abs(np.mean(mean - plain_mean)) < 4 * np.sqrt(np.mean(errors**2 + plain_errors**2) / len(x))


@pytest.mark.long
def test_masked_diffusion_comes_to_the_entropy_with_steps() -> None:
    x, weights = jnp.tile(STATES, (300, 1)), np.tile(TABLE.ravel(), 300) / 300
    (fine, fine_errors), (coarse, coarse_errors) = (
        nats(x, "bound", which=order.together, steps=steps, draws=draws) for steps, draws in ((300, 300), (3, 30))
    )
    assert abs(np.sum(weights * fine) - ENTROPY) < 0.005
    assert np.sqrt(np.sum((weights * fine_errors) ** 2)) < 0.003
    assert np.sum(weights * coarse) - ENTROPY > 5 * np.sqrt(np.sum((weights * coarse_errors) ** 2))


def test_a_wave_lies_between() -> None:
    """Blocks that overlap cost less than all at once in as few steps."""
    x, weights = jnp.tile(STATES, (40, 1)), np.tile(TABLE.ravel(), 40) / 40
    costs = [
        np.sum(weights * nats(x, "bound", which=which, steps=6, draws=60)[0])
        for which in (order.raster, order.rolling(0.5), order.together)
    ]
    assert abs(costs[0] - ENTROPY) < 0.02
    assert costs[0] + 0.005 < costs[1] < costs[2] - 0.005


@pytest.mark.parametrize(
    ("parts", "d"),
    [
        pytest.param(parts, d, marks=[] if (parts, d) in {(1, 1), (3, 8)} else pytest.mark.long)
        for parts in (1, 3)
        for d in (1, 2, 4, 8)
    ],
)
def test_the_ode_knows_the_density(d, parts) -> None:
    weights, means, covs = some_mixture(d, parts)
    x, exact = samples(weights, means, covs, 64)
    found, errors = nats(x, "ode", COSINE, order.together, oracles.mixture(COSINE, weights, means, covs))
    np.testing.assert_allclose(found / d, exact / d, atol=1e-3)
    np.testing.assert_array_equal(errors, 0)


@pytest.mark.parametrize("name", ["flow", "linear_beta", "edm"])
def test_the_ode_is_the_same_under_every_schedule(name) -> None:
    noise = Gaussian(getattr(schedule, name), predict.x0)
    weights, means, covs = some_mixture(2, 2)
    x, exact = samples(weights, means, covs, 32)
    found, _ = nats(x, "ode", noise, order.together, oracles.mixture(noise, weights, means, covs))
    # linear_beta and edm keep a hundredth of the signal at t = 1, where the prior says there is none
    np.testing.assert_allclose(found / 2, exact / 2, atol=1e-3 if name == "flow" else 0.03)


def test_the_ode_has_order_four() -> None:
    weights, means, covs = some_mixture(2, 3)
    x, exact = samples(weights, means, covs, 64)
    denoise = oracles.mixture(COSINE, weights, means, covs)
    errors = [
        np.abs(nats(x, "ode", COSINE, order.together, denoise, steps=steps)[0] - exact).mean() for steps in (6, 12)
    ]
    assert np.log2(errors[0] / errors[1]) > 3


def test_probes_estimate_the_divergence() -> None:
    weights, means, covs = some_mixture(8, 2)
    x, _ = samples(weights, means, covs, 64)
    denoise = oracles.mixture(COSINE, weights, means, covs)
    exact, _ = nats(x, "ode", COSINE, order.together, denoise, steps=16)
    found, errors = nats(x, "ode", COSINE, order.together, denoise, steps=16, probes=16)
    z = (found - exact) / errors
    assert np.abs(z).max() < 6
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.6
    host, _ = nats(x, "ode", COSINE, order.together, denoise, steps=16, probes=16, scan=False)
    np.testing.assert_allclose(host, found, rtol=1e-4)


def test_probes_are_unbiased_and_their_t_intervals_cover() -> None:
    """Of 4,000 estimates by 6 probes, the mean is exact and 95 % of the t intervals hold the exact value
    (flow_matching#49; false alarm 7e-6 each)."""
    n, probes = 4_000, 6
    weights, means, covs = some_mixture(3, 1)
    x = jnp.broadcast_to(jnp.asarray(means[0] + 0.3, jnp.float32)[None], (n, 3))
    denoise = oracles.mixture(COSINE, weights, means, covs)
    exact, _ = nats(x[:1], "ode", COSINE, order.together, denoise, steps=6, probes=0)
    found, errors = nats(x, "ode", COSINE, order.together, denoise, steps=6, probes=probes)
    assert abs(np.mean(found) - exact[0]) < 4.5 * np.std(found) / n**0.5
    covered = np.mean(np.abs(found - exact) < student_t(probes - 1).ppf(0.975) * errors)
    assert abs(covered - 0.95) < 4.5 * (0.95 * 0.05 / n) ** 0.5


@pytest.mark.parametrize("probes", [0, pytest.param(4, marks=pytest.mark.long)])
def test_bits_have_the_slope_in_x_of_a_difference(probes) -> None:
    """∂ bits/∂x by the ODE is the difference quotient along any direction, of an estimate by probes too
    (flow_matching#59)."""
    weights, means, covs = some_mixture(2, 2)
    with jax.enable_x64(True):
        denoise, some = oracles.mixture(COSINE, weights, means, covs), keys(0, 2)
        x, way = jnp.array([[0.3, -0.6], [1.1, 0.2]]), jnp.array([[1.0, -0.4], [0.3, 0.8]])

        @jax.jit
        def bits(x):
            given = (some, COSINE, order.together, denoise, x)
            return jnp.sum(bits_per_dim(*given, method="ode", steps=8, probes=probes)[0])

        h = 1e-5
        quotient = (bits(x + h * way) - bits(x - h * way)) / (2 * h)
        np.testing.assert_allclose(jnp.sum(jax.grad(bits)(x) * way), quotient, rtol=1e-7)


def moved(x, denoise, noise=COSINE, **options):
    """What the ODE says of its own steps, of all examples, in nats."""
    found = bits_per_dim(keys(0, len(x)), noise, order.together, denoise, x, method="ode", check=len(x), **options)
    return np.asarray(found.discretization) * x[0].size * np.log(2)


@pytest.mark.parametrize("steps", [8, pytest.param(9, marks=pytest.mark.long)])
def test_what_half_the_steps_change_bounds_the_error(steps) -> None:
    """Of a smooth denoiser the error is about a fifteenth of it, by the order of the method."""
    weights, means, covs = some_mixture(2, 3)
    x, exact = samples(weights, means, covs, 64)
    denoise = oracles.mixture(COSINE, weights, means, covs)
    found, _ = nats(x, "ode", COSINE, order.together, denoise, steps=steps)
    estimate = moved(x, denoise, steps=steps)
    assert np.abs(found - exact).mean() < np.abs(estimate).mean() / 4
    assert np.abs(estimate).mean() < 0.5


def test_it_is_the_difference_to_half_the_steps() -> None:
    weights, means, covs = some_mixture(2, 3)
    x, _ = samples(weights, means, covs, 8)
    denoise = oracles.mixture(COSINE, weights, means, covs)
    four, two, one = (nats(x, "ode", COSINE, order.together, denoise, steps=steps)[0] for steps in (4, 2, 1))
    for steps, expected in ((4, four - two), (5, four - two), (1, two - one)):
        np.testing.assert_allclose(moved(x, denoise, steps=steps), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("d", [2, pytest.param(1, marks=pytest.mark.long)])
def test_a_denoiser_that_is_short_near_the_data_is_found_out(d) -> None:
    """Near the data v = c y / phi, where D = (1 - c) y: the density at the peak is 0^-c, and no number is right.

    With phi = w² each doubling of the steps starts at a quarter of the phi, and adds c log 4 nats for each dimension.
    """
    exact = oracles.gaussian(COSINE, np.zeros(d), 0.01 * np.eye(d))

    def short(x_t, t, cond):
        """By a tenth below the noise level sigma/alpha = 0.05."""
        m = COSINE.coefficients(t)
        return exact(x_t, t, cond) * (1 - 0.1 / (1 + (m.sigma / m.alpha / 0.05) ** 2))

    x = jnp.zeros((1, d))
    np.testing.assert_allclose(moved(x, short, steps=96), -0.1 * d * np.log(4), atol=2e-3)
    assert np.abs(moved(x, exact, steps=96)).max() < 1e-3


def test_probes_do_not_hide_what_steps_change() -> None:
    """Both numbers of steps have one set of probes, so the difference is as small as without any."""
    weights, means, covs = some_mixture(8, 2)
    x, _ = samples(weights, means, covs, 64)
    denoise = oracles.mixture(COSINE, weights, means, covs)
    errors = nats(x, "ode", COSINE, order.together, denoise, steps=32, probes=2)[1]
    found, exact = (moved(x, denoise, steps=32, probes=probes) for probes in (2, 0))
    assert np.abs(found - exact).mean() < np.mean(errors) / 50


@pytest.mark.long
def test_a_host_loop_with_probes_changes_by_the_same() -> None:
    weights, means, covs = some_mixture(8, 2)
    x, _ = samples(weights, means, covs, 64)
    denoise = oracles.mixture(COSINE, weights, means, covs)
    found, host = (moved(x, denoise, steps=32, probes=2, scan=scan) for scan in (True, False))
    np.testing.assert_allclose(host, found, atol=1e-4)


def test_a_part_of_the_examples_is_checked() -> None:
    weights, means, covs = some_mixture(2, 2)
    x, _ = samples(weights, means, covs, 16)
    denoise = oracles.mixture(COSINE, weights, means, covs)
    for options, count in (({}, 2), ({"check": 0}, 0), ({"check": 5}, 5)):
        found = bits_per_dim(keys(0, 16), COSINE, order.together, denoise, x, method="ode", steps=4, **options)
        assert found.discretization.shape == (count,)
    assert bits_per_dim(keys(0, 27), NOISE, order.raster, DENOISE, STATES, method="exact").discretization.shape == (0,)


@pytest.mark.long
def test_the_gaussian_bound_falls_to_the_exact_value() -> None:
    weights, means, covs = some_mixture(2, 1)
    x, exact = samples(weights, means, covs, 2_000)
    denoise = oracles.gaussian(COSINE, means[0], covs[0])

    def gap(steps, draws):
        """Nats per dimension above the exact value, and their standard error."""
        found, _ = nats(x, "bound", COSINE, order.together, denoise, steps=steps, draws=draws)
        return np.mean(found - exact) / 2, np.std(found - exact) / 2 / len(x) ** 0.5

    gaps = [gap(steps, steps)[0] for steps in (16, 32, 64, 128, 256)]
    assert np.all(np.diff(gaps) < 0)
    assert 1.9 < gaps[3] / gaps[4] < 2.1  # of order 1 in the length of a step
    fine, spread = gap(10_000, 256)
    assert abs(fine) < 0.01 + 3 * spread < 0.06


def test_a_bound_of_levels_is_of_a_probability() -> None:
    """Two levels, ±1, evenly: one bit each, with the exact denoiser tanh(alpha x_t / sigma²)."""

    def denoise(x_t, t, cond):
        m = COSINE.coefficients(t)
        return jnp.tanh(m.alpha * x_t / jnp.maximum(m.sigma, 1e-20) ** 2)

    x = jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, (2_000, 1)), 1.0, -1.0)
    found, errors = nats(x, "bound", COSINE, order.together, denoise, draws=256, levels=2)
    assert abs(np.mean(found) / np.log(2) - 1) < 3 * np.mean(errors) / len(x) ** 0.5 < 0.03


def test_levels_are_told_apart_where_their_bound_ends() -> None:
    """Its last stop leaves nothing to pay: reading a level there costs next to no nats, whatever their number."""
    for levels in (2, 17, 256):
        x = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, levels)[:, None], (levels, 64))
        last = COSINE.bound_grid(100, levels)[-1]
        first = jnp.sum(COSINE.boundary_terms(jax.random.key(0), x, last, levels))
        nothing = COSINE.boundary_terms(
            jax.random.key(0), x, COSINE.bound_grid(100)[-1] / 10, levels
        )  # the prior's part alone
        assert abs(float(first - jnp.sum(nothing))) / x.size < 1e-3


def test_a_host_loop_gives_the_same_terms() -> None:
    some = {"which": order.shuffled, "draws": 8}
    np.testing.assert_allclose(nats(STATES, "bound", **some), nats(STATES, "bound", scan=False, **some), rtol=1e-5)


def test_all_run_under_jit_vmap_and_grad() -> None:
    x = jnp.ones((4, 2)) * 0.3

    def of_mean(mean):
        denoise = oracles.gaussian(COSINE, np.zeros(2), np.eye(2))
        shifted = jax.tree_util.Partial(lambda mean, x_t, t, cond: denoise(x_t, t, cond) + mean, mean)
        ode = bits_per_dim(keys(0, 4), COSINE, order.together, shifted, x, method="ode", steps=4)
        some = bits_per_dim(keys(0, 4), COSINE, order.together, shifted, x, method="bound", steps=4, draws=4)
        return jnp.sum(ode.bits + ode.discretization + some.bits)

    assert bool(jnp.all(jnp.isfinite(jax.jit(jax.vmap(jax.grad(of_mean)))(jnp.array([0.0, 0.5])))))


def test_an_example_does_not_know_its_batch() -> None:
    whole = nats(STATES, "bound", which=order.shuffled, draws=4)[0]
    np.testing.assert_allclose(nats(STATES[:5], "bound", which=order.shuffled, draws=4)[0], whole[:5], rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "noise", "which", "options", "told"),
    [
        ("exact", NOISE, order.shuffled, {}, "exact"),
        ("exact", NOISE, order.together, {}, "width"),
        ("ode", NOISE, order.raster, {}, "Masking"),
        ("ode", COSINE, order.rolling(0.5), {}, "width"),
        ("bound", COSINE, order.raster, {}, "order.blocks"),
        ("ode", COSINE, order.together, {"probes": 1}, "probes"),
        ("ode", COSINE, order.together, {"check": 5}, "check"),
    ],
)
def test_mistakes_are_told(method, noise, which, options, told) -> None:
    x = STATES if noise is NOISE else jnp.zeros((4, 2, 2, 1))
    with pytest.raises(UserError, match=told):
        nats(x, method, noise, which, DENOISE, **options)


def test_the_losses_say_what_they_cannot_serve() -> None:
    for made, told in (
        (lambda: loss.bound(COSINE, order.shuffled), "^bound: Gaussian"),
        (lambda: loss.causal(NOISE, order.together), "width"),
    ):
        with pytest.raises(UserError, match=told):
            made()


@pytest.mark.parametrize(
    "which",
    [
        pytest.param(order.together, id="together"),
        pytest.param(order.rolling(0.5), id="rolling"),
        pytest.param(order.blocks(2), id="two blocks", marks=pytest.mark.long),
        pytest.param(order.blocks(3, shuffled=True), id="one after the other, shuffled", marks=pytest.mark.long),
    ],
)
def test_whatever_the_order_the_exact_bound_is_the_density(which) -> None:
    """Three correlated positions: with the exact denoiser every order of levels costs -log p(x), in many steps
    (Soft-Truncation#2)."""
    weights, means, covs = some_mixture(3, 2)
    x, exact = samples(weights, means, covs, 512)
    denoise = oracles.mixture(COSINE, weights, means, covs)
    found, errors = nats(x[..., None], "bound", COSINE, which, denoise, draws=512)
    spread = np.sqrt(np.sum(errors**2)) / len(x)
    assert abs(np.mean(found) - np.mean(exact)) < 4 * spread < 0.4


def test_context_makes_up_the_entropy() -> None:
    """In any order the bits of a token after none, one and two others sum to it, and they fall."""
    flat = np.random.default_rng(5).choice(27, size=20_000, p=TABLE.ravel())
    found = bits_vs_context(keys(0, len(flat)), NOISE, order.shuffled, DENOISE, STATES[flat], visible=range(3))
    assert abs(float(jnp.sum(found)) - ENTROPY / np.log(2)) < 0.05  # six standard errors
    assert bool(jnp.all(jnp.diff(found) < -0.04))


def test_context_under_one_level_is_that_of_any_order() -> None:
    """Of independent tokens every count costs the same: the entropy of one."""
    p = np.array([0.5, 0.3, 0.2])
    denoise = jax.tree_util.Partial(lambda x, t, cond: jnp.broadcast_to(jnp.log(jnp.asarray(p)), (*x.shape, 3)))
    x = jax.random.categorical(jax.random.key(0), jnp.log(jnp.asarray(p)), shape=(4_000, 5))
    for which in (order.together, order.shuffled):
        found = bits_vs_context(keys(0, len(x)), NOISE, which, denoise, x, visible=(0, 2, 4))
        np.testing.assert_allclose(found, -np.sum(p * np.log2(p)), atol=0.06)


def test_counts_of_visible_tokens_are_checked() -> None:
    with pytest.raises(UserError, match="0 … 2"):
        bits_vs_context(keys(0, 27), NOISE, order.shuffled, DENOISE, STATES, visible=(0, 3))
    with pytest.raises(UserError, match="Gaussian"):
        bits_vs_context(keys(0, 4), COSINE, order.together, DENOISE, jnp.zeros((4, 2)), visible=(0,))


def test_exact_is_of_one_order_for_all_keys() -> None:
    """An order that keys draw gives each key another value: refused, marked exchangeable or not."""
    seen = edit.inpaint(jnp.array([0, 1, 0]), jnp.array([False, True, False]))
    for which in (
        order.Order(0.0, order.shuffled.rank),
        edit.known_first(order.shuffled, seen),
        order.shuffled,
    ):
        with pytest.raises(UserError, match="exact"):
            bits_per_dim(keys(0, 27), NOISE, which, DENOISE, STATES, method="exact")
    known = edit.known_first(order.raster, seen)
    found, error = bits_per_dim(keys(0, 27), NOISE, known, DENOISE, STATES, method="exact")[:2]
    np.testing.assert_allclose(found * 3 * np.log(2), -np.log(TABLE.ravel()), rtol=1e-4)
    np.testing.assert_array_equal(error, 0)
