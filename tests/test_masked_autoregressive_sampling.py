"""Masked autoregressive sampling: what the generic sampler draws under an order of blocks that grow."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import grids, guidance, nets, order, predict, schedule, steps
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.nets import DiT
from diffjax.noise import Gaussian
from diffjax.order import Order
from diffjax.protocols import Step
from diffjax.sampling import masked_autoregressive
from diffjax.sampling.loop import sample
from diffjax.sampling.masked_autoregressive import growing_scale, known_counts
from diffjax.utils.prng import KeyUse, fold, keys

NOISE, SHAPE, BLOCKS = Gaussian(schedule.cosine, predict.v, data_std=0.7), (4, 4, 2), 5
SOME, COND = keys(3, 8), jnp.arange(8) % 3
GRID = grids.karras(NOISE, 4, sigma_min=0.05, sigma_max=20.0)
NET = nets.MAR(width=16, depth=1, heads=2, head_width=16, head_depth=1, classes=3)


def with_random_weights(net):
    """Its denoiser, far from where outputs start at 0."""
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, *SHAPE)), jnp.zeros((1, 1, 1, 1)), jnp.zeros(1, int))
    leaves, tree = jax.tree.flatten(variables)
    draws = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, draws, strict=True)]
    return denoiser(NOISE, net, tree.unflatten(moved))


DENOISE = with_random_weights(NET)


def growing_rank(key, positions):
    """That of the block of each position, of as many blocks, in the order of `order.shuffled`."""
    place = jnp.floor(order.shuffled.rank(key, positions) * 16)
    return (jnp.searchsorted(jnp.asarray(known_counts(16, BLOCKS)), place, side="right") - 1) / (BLOCKS - 1)


def draw(denoise, some=SOME, **options):
    settings = {"cond": COND, "blocks": BLOCKS, "grid": GRID, **options}
    return masked_autoregressive.sample(some, NOISE, order.shuffled, denoise, SHAPE, **settings)


@pytest.mark.parametrize("step", [steps.posterior(), steps.dpmpp_2m()], ids=["posterior", "dpmpp_2m"])
def test_samples_are_those_of_the_generic_path(step) -> None:
    grid = grids.repeat_per_block(GRID, BLOCKS)
    growing = Order(1 / BLOCKS, growing_rank, exchangeable=True, blocks=BLOCKS)
    generic = sample(SOME, NOISE, growing, DENOISE, SHAPE, cond=COND, grid=grid, step=step)
    fast = draw(DENOISE, step=step)
    np.testing.assert_allclose(fast, generic, atol=1e-4)  # steps from t = 1 divide rounding by alpha
    assert float(jnp.min(jnp.std(fast, axis=0))) > 0.1


def test_an_example_depends_on_its_own_key_alone() -> None:
    np.testing.assert_allclose(draw(DENOISE, SOME[5:7], cond=COND[5:7]), draw(DENOISE)[5:7], atol=1e-4)


def test_it_starts_from_the_prior_by_default() -> None:
    prior = jax.vmap(lambda key: NOISE.prior(key, SHAPE))(fold(SOME, KeyUse.PRIOR))
    np.testing.assert_allclose(draw(DENOISE, start=prior), draw(DENOISE), atol=1e-5)


@pytest.mark.parametrize("positions", [1, 2, 3, 7, 16, 64, 256])
def test_blocks_grow_from_none_known_to_all(positions) -> None:
    for blocks in range(1, positions + 1):
        counts = known_counts(positions, blocks)
        assert len(counts) == blocks + 1
        assert (counts[0], counts[-1]) == (0, positions)
        assert np.all(np.diff(counts) > 0)
    np.testing.assert_array_equal(np.diff(known_counts(positions, positions)), 1)


def test_blocks_follow_the_cosine() -> None:
    np.testing.assert_array_equal(known_counts(64, 8), [0, 2, 5, 11, 19, 29, 40, 52, 64])
    share = known_counts(10_000, 100) / 10_000
    np.testing.assert_allclose(share, 1 - np.cos(np.linspace(0, np.pi / 2, 101)), atol=1e-3)


def test_the_scale_grows_with_the_share_that_is_known() -> None:
    scale = growing_scale(5.0, BLOCKS)
    counts = known_counts(16, BLOCKS)
    for before, after in pairwise(counts):
        level = jnp.where(jnp.arange(16) < before, 0, jnp.where(jnp.arange(16) < after, 0.3, 1.0)).reshape(1, 4, 4, 1)
        assert float(scale(level).squeeze()) == pytest.approx(1 + 4 * min(after, 15) / 16)
    neutral = guidance.cfg(DENOISE, growing_scale(1.0, BLOCKS), NET.null_cond)
    np.testing.assert_allclose(draw(neutral), draw(DENOISE), atol=1e-5)
    guided = guidance.cfg(DENOISE, scale, NET.null_cond)
    assert float(jnp.max(jnp.abs(draw(guided) - draw(DENOISE)))) > 1e-2


def test_mistakes_are_told() -> None:
    twice = Step(lambda x: None, steps.posterior().update, evaluations=2, per_position=True)
    headless = with_random_weights(DiT(patch=1, width=16, depth=1, heads=2, classes=3))
    for changes, problem in (
        ({"denoise": headless}, r"dj\.sample"),
        ({"order": order.blocks(4)}, r"order\.shuffled"),
        ({"blocks": 17}, "16 positions, got 17"),
        ({"step": twice}, "posterior"),
        ({"grid": jnp.asarray([0.5, 0.0])}, "start="),
    ):
        arguments = {"noise": NOISE, "order": order.shuffled, "denoise": DENOISE, "blocks": 4, **changes}
        with pytest.raises(UserError, match=problem):
            masked_autoregressive.sample(SOME, shape=SHAPE, cond=COND, **arguments)
    with pytest.raises(UserError, match="growing_scale: scale"):
        growing_scale("big")
