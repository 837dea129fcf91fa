"""Clamping samples the exact conditional distribution: of numbers by any step rule, of tokens in any order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax import edit, nets, oracles, order, steps
from diffjax.errors import UserError

NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
PAIR = oracles.gaussian(NOISE, np.zeros(2), np.array([[1.0, 0.8], [0.8, 1.0]]))
ONE = edit.inpaint(jnp.array([1.0, 0.0]), np.array([True, False]))
N = 4096


def moments_of_the_other(method, observation=ONE, step=None, steps=100):
    """Samples, and the mean and standard deviation of the second number, the first being 1."""
    x = edit.solve(dj.keys(0, N), NOISE, order.together, PAIR, observation, method=method, steps=steps, step=step)
    return np.asarray(x), float(jnp.mean(x[:, 1])), float(jnp.std(x[:, 1]))


@pytest.mark.parametrize("step", [None, steps.dpmpp_2m()], ids=["posterior", "dpmpp_2m"])
def test_the_other_number_has_its_conditional_distribution(step) -> None:
    x, mean, std = moments_of_the_other(edit.clamp(), step=step)
    np.testing.assert_array_equal(x[:, 0], 1)
    np.testing.assert_allclose((mean, std), (0.8, 0.6), atol=4.5 * 0.6 / N**0.5 + 0.01)


def test_replacement_is_as_biased_as_is_known() -> None:
    """The mean is 0.50 where 0.80 is exact."""
    x, mean, _ = moments_of_the_other(edit.replacement())
    np.testing.assert_array_equal(x[:, 0], 1)
    np.testing.assert_allclose(mean, 0.5, atol=0.05)
    hooked = dj.sample(dj.keys(0, N), NOISE, order.together, PAIR, (2,), steps=100, hook=ONE)
    np.testing.assert_array_equal(x, hooked)


def test_a_noisy_number_is_clamped_at_its_level() -> None:
    """x_1 + 0.5 n = 1: the mean of (x_1, x_2) is (0.8, 0.64) and its covariance known."""
    seen = edit.inpaint(jnp.array([1.0, 0.0]), np.array([True, False]), noise_std=0.5)
    x = moments_of_the_other(edit.clamp(), observation=seen)[0]
    exact = oracles.posterior(
        np.ones(1),
        np.zeros((1, 2)),
        np.array([[[1.0, 0.8], [0.8, 1.0]]]),
        np.eye(2)[:1],
        np.ones(1),
        np.array([[0.25]]),
    )
    np.testing.assert_allclose(x.mean(axis=0), exact.means[0], atol=4.5 * 0.75 / N**0.5 + 0.01)
    np.testing.assert_allclose(np.cov(x.T), exact.covs[0], atol=4.5 * (2 / N) ** 0.5 + 0.015)
    with pytest.raises(UserError, match=r"\bstep\b"):  # an ODE does not sample the conditional
        edit.solve(dj.keys(0, 2), NOISE, order.together, PAIR, seen, method=edit.clamp(), step=steps.ddim())


def test_under_a_rolling_order() -> None:
    """Three numbers at three positions, of which the middle one is known."""
    cov = np.array([[1.0, 0.6, -0.5], [0.6, 0.5, -0.2], [-0.5, -0.2, 0.8]])
    seen = edit.inpaint(jnp.array([[0.0], [0.7], [0.0]]), np.array([False, True, False]))
    denoise = oracles.gaussian(NOISE, np.zeros(3), cov)
    x = edit.solve(dj.keys(0, N), NOISE, order.rolling(0.5), denoise, seen, method=edit.clamp(), steps=150)[:, :, 0]
    exact = oracles.posterior(
        np.ones(1), np.zeros((1, 3)), cov[None], np.eye(3)[1:2], np.array([0.7]), np.zeros((1, 1))
    )
    np.testing.assert_array_equal(x[:, 1], jnp.float32(0.7))
    np.testing.assert_allclose(x.mean(axis=0), exact.means[0], atol=4.5 / N**0.5 + 0.01)
    np.testing.assert_allclose(np.cov(x.T), exact.covs[0], atol=4.5 * (2 / N) ** 0.5 + 0.02)


TABLE = np.random.default_rng(0).dirichlet(np.ones(27) / 3).reshape(3, 3, 3).astype(np.float32) + 1e-4
TABLE /= TABLE.sum()
TOKENS = dj.Masking(3)
LAST = edit.inpaint(jnp.array([0, 0, 2]), np.array([False, False, True]))


@pytest.mark.parametrize(
    "which", [order.raster, order.shuffled, order.together], ids=["raster", "shuffled", "together"]
)
def test_unknown_tokens_have_their_conditional_distribution(which) -> None:
    """Those that come before the known one in the order, too."""
    denoise = oracles.joint(TOKENS, TABLE)
    count = 3 if which.width == 0 else 200
    arguments = (dj.keys(0, N), TOKENS, which, denoise)
    if which is order.raster:
        x = dj.sample(*arguments, (3,), steps=count, hook=LAST)
    else:
        x = edit.solve(*arguments, LAST, method=edit.clamp(), steps=count)
    np.testing.assert_array_equal(x[:, 2], 2)
    frequencies = np.bincount(3 * x[:, 0] + x[:, 1], minlength=9) / N
    exact = (TABLE[:, :, 2] / TABLE[:, :, 2].sum()).ravel()
    np.testing.assert_array_less(np.abs(frequencies - exact), 4.5 * np.sqrt(exact / N) + (0.004 if count > 3 else 1e-3))


def causal(key: int = 0):
    net = nets.Transformer(3, (4,), width=16, depth=1, heads=2, causal=True)
    variables = jax.jit(net.init)(jax.random.key(key), jnp.zeros((1, 4), jnp.int32), jnp.zeros((1, 1)))
    leaves, tree = jax.tree.flatten(variables)
    moved = [leaf + 0.5 * jax.random.normal(jax.random.key(i), leaf.shape) for i, leaf in enumerate(leaves)]
    return dj.denoiser(TOKENS, net, tree.unflatten(moved))


def test_a_causal_net_takes_known_tokens_that_come_first_in_its_order() -> None:
    denoise = causal()
    keys = dj.keys(0, 8)
    first = edit.inpaint(jnp.array([2, 1, 1, 2]), np.arange(4) < 2)
    last = edit.inpaint(jnp.array([2, 1, 1, 2]), np.arange(4) > 1)
    x = dj.sampling.cached.sample(keys, TOKENS, order.raster, denoise, (4,), hook=first)
    np.testing.assert_array_equal(
        x, edit.solve(keys, TOKENS, order.raster, denoise, first, method=edit.clamp(), steps=4)
    )
    np.testing.assert_array_equal(x[:, :2], [[2, 1]] * 8)
    for which, seen in ((order.raster, last), (order.shuffled, last), (order.shuffled, first)):
        with pytest.raises(UserError, match="known_first"):
            edit.solve(keys, TOKENS, which, denoise, seen, method=edit.clamp(), steps=4)
    which = edit.known_first(order.shuffled, last)
    assert which is edit.known_first(order.shuffled, last)
    y = dj.sampling.cached.sample(keys, TOKENS, which, denoise, (4,), hook=last)
    np.testing.assert_array_equal(y[:, 2:], [[1, 2]] * 8)
    np.testing.assert_array_equal(y, dj.sample(keys, TOKENS, which, denoise, (4,), steps=4, hook=last))


def test_nets_of_one_level_refuse() -> None:
    net = nets.MLP(width=8, depth=1)
    image = jnp.zeros((8, 8, 1))
    denoise = dj.denoiser(NOISE, net, jax.jit(net.init)(jax.random.key(0), image[None], jnp.zeros((1, 1, 1, 1))))
    with pytest.raises(UserError, match="clamp"):
        edit.solve(
            dj.keys(0, 2),
            NOISE,
            order.together,
            denoise,
            edit.inpaint(image, np.eye(8) > 0),
            method=edit.clamp(),
        )
    colours = edit.inpaint(jnp.zeros((8, 8, 2)), np.arange(2)[None, None].repeat(8, 0).repeat(8, 1) > 0)
    with pytest.raises(UserError, match=r"^clamp: .*channels"):
        edit.solve(dj.keys(0, 2), NOISE, order.together, denoise, colours, method=edit.clamp())
