"""Pictures in batches: picture i is the same in any batch, and labels have the frequencies of training."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import order, predict, sample, schedule
from diffjax.commands import image_sampler
from diffjax.commands.condition_inputs import sample_labels
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.experiment.build import ModelParts
from diffjax.experiment.config import Sample
from diffjax.experiment.data_spec import DataSpec
from diffjax.nets import MAR, MLP
from diffjax.noise import Gaussian
from diffjax.sampling import blockwise

FACTS = DataSpec((4, 4, 1), 3, ("a", "b", "c"), 17, (0.5, 0.3, 0.2), "unit")
SETTINGS = Sample(sampler="dpmpp_2m", grid="karras(sigma_min=0.05, sigma_max=20.0)", steps=4)
ROOT = jax.random.key(0)


@pytest.fixture(scope="module")
def painter():
    noise, net = Gaussian(schedule.cosine, predict.v), MLP(width=16, depth=1, classes=3)
    example = jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 1, 1, 1)), jnp.zeros(1, jnp.int32)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(net.init)(ROOT, *example))
    model = ModelParts(noise, order.together, net)
    return image_sampler.build_image_sampler(denoiser(noise, net, variables), model, FACTS, SETTINGS)


def test_a_picture_does_not_know_its_batch(painter) -> None:
    cond = np.arange(20, dtype=np.int32) % 3
    whole = image_sampler.sample_images(painter, ROOT, 20, 20, cond)
    assert whole.shape == (20, 4, 4, 1)
    assert whole.dtype == np.uint8
    for batch in (1, 7, 16, 300):
        np.testing.assert_array_equal(image_sampler.sample_images(painter, ROOT, 20, batch, cond), whole)
    np.testing.assert_array_equal(image_sampler.sample_images(painter, ROOT, 5, 5, cond[:5]), whole[:5])


def test_pictures_have_the_levels_of_the_data(painter) -> None:
    values = np.unique(image_sampler.sample_images(painter, ROOT, 64, 64, np.zeros(64, np.int32)))
    assert set(values) <= {round(v * 255 / 16) for v in range(17)}


def test_the_way_ends_in_the_picture(painter) -> None:
    cond = np.arange(8, dtype=np.int32) % 3
    frames, clock = image_sampler.sample_trajectory(painter, ROOT, 3, cond)
    assert frames.shape == (5, 3, 4, 4, 1)
    assert clock[0] == 1
    assert clock[-1] == 0
    np.testing.assert_array_equal(frames[-1], image_sampler.sample_images(painter, ROOT, 8, 8, cond)[:3])


def test_labels_have_the_frequencies_of_training() -> None:
    drawn = sample_labels(ROOT, 10_000, FACTS.label_frequencies)
    shares = np.bincount(drawn, minlength=3) / 10_000
    np.testing.assert_allclose(shares, FACTS.label_frequencies, atol=4.5 * (0.25 / 10_000) ** 0.5)
    np.testing.assert_array_equal(sample_labels(ROOT, 10, FACTS.label_frequencies), drawn[:10])


def test_dequantised_models_are_read_by_their_own_scale() -> None:
    """17 bins tile [-1, 1]: the middle of bin v is level v, whatever lies nearest on the plain scale."""
    middles = (2 * (np.arange(17, dtype=np.float32) + 0.5) - 17) / 17
    facts = DataSpec(**{**vars(FACTS), "form": "dequantised"})
    shown = image_sampler.to_bytes(middles.reshape(17, 1, 1, 1), facts)
    np.testing.assert_array_equal(shown.ravel(), np.round(np.arange(17) * 255 / 16))


@pytest.fixture(scope="module")
def block_by_block():
    """A painter of eight blocks, with a head; its net has random weights."""
    noise, net = Gaussian(schedule.cosine, predict.v), MAR(width=8, depth=1, heads=2, head_width=8, head_depth=1)
    example = jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 1, 1, 1))
    variables = jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(net.init)(ROOT, *example))
    facts = DataSpec((4, 4, 1), 0, (), 17, (), "unit")
    which = order.blocks(8, shuffled=True)
    model = ModelParts(noise, which, net)
    return image_sampler.build_image_sampler(denoiser(noise, net, variables), model, facts, SETTINGS)


def test_under_blocks_grid_and_steps_are_those_of_each(block_by_block) -> None:
    assert len(block_by_block.grid) == 8 * SETTINGS.steps + 1
    assert blockwise.is_blockwise(block_by_block.grid, block_by_block.order)
    p = block_by_block
    told = replace(SETTINGS, grid="karras(sigma_min=0.05, last='sigma_min')")
    with pytest.raises(UserError, match=r"^grid: .*8 blocks.*0\.03"):
        image_sampler.build_image_sampler(p.denoise, ModelParts(p.noise, p.order, p.net), p.data, told)


def test_a_head_is_used_where_there_is_one(block_by_block, painter) -> None:
    """And draws what the generic sampler draws."""
    p = block_by_block
    assert image_sampler.describe_cost(p) == "8 of the net, 32 of its head per sample"
    assert image_sampler.describe_cost(replace(painter, copies=2)) == "8 of the net per sample"
    x = image_sampler.sample_states(p, ROOT, 8, 8, None)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(ROOT, jnp.arange(8))
    np.testing.assert_allclose(
        x, sample(keys, p.noise, p.order, p.denoise, (4, 4, 1), grid=p.grid, step=p.step), atol=1e-4
    )
    assert image_sampler._fastest_loop(p) is blockwise.sample
