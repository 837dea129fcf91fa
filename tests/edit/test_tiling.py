"""Tiles: exact where tiles see all that matters, and a bias on correlated fields that falls with the overlap."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import edit, guidance, oracles, order, predict, schedule, steps
from diffjax.edit.tiling import tile_starts, tile_weights
from diffjax.errors import UserError
from diffjax.lab import tile_bias
from diffjax.noise import Gaussian
from diffjax.protocols import ConditionPart
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
X = jax.random.normal(jax.random.key(0), (2, 13, 10, 3))
T = jnp.array([0.3, 0.8]).reshape(2, 1, 1, 1)


@pytest.mark.parametrize("side", range(1, 30))
@pytest.mark.parametrize(("size", "overlap"), [(1, 0), (8, 0), (8, 3), (8, 7), (9, 4)])
def test_tiles_cover_an_axis_with_the_overlap_asked_for(side: int, size: int, overlap: int) -> None:
    starts = tile_starts(side, min(side, size), overlap)
    assert (starts[0], starts[-1] + min(side, size)) == (0, side)
    assert np.all(np.diff(starts) <= size - overlap)
    weights = tile_weights(starts, min(side, size))
    total = np.zeros(side)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + len(weight)] += weight
    np.testing.assert_allclose(total, 1)


def shrink(x_t: jax.Array, t: jax.Array, cond: object) -> jax.Array:
    """A denoiser of each position by itself, to which tiles change nothing."""
    return x_t * (1 - t) + t**2


@pytest.mark.parametrize("tiles_per_call", [0, 1, 4])
@pytest.mark.parametrize("level", [T, jnp.linspace(0.1, 0.9, 2 * 13 * 10).reshape(2, 13, 10, 1)], ids=["one", "many"])
def test_what_looks_at_single_positions_is_unchanged(tiles_per_call: int, level: jax.Array) -> None:
    """At one level an example, and at a level for each position."""
    tiled = edit.tiled(shrink, (5, 4), (2, 1), tiles_per_call=tiles_per_call)
    np.testing.assert_allclose(jax.jit(tiled)(X, level, None), shrink(X, level, None), atol=1e-6)


def test_one_tile_is_the_denoiser_itself() -> None:
    field = oracles.gaussian_field(NOISE, X.shape[1:3], (0.9, 0.5))
    np.testing.assert_allclose(edit.tiled(field, 16, 4)(X, T, None), field(X, T, None), atol=1e-6)


def test_each_tile_receives_its_part_of_a_picture_and_the_class() -> None:
    """A condition that is a picture of half the size: what each position receives is what lies beside it."""

    def denoise(x_t: jax.Array, t: jax.Array, cond: dict) -> jax.Array:
        picture = jnp.repeat(jnp.repeat(cond["low_res"].value, 2, axis=1), 2, axis=2)
        return picture + cond["label"].reshape(-1, 1, 1, 1) + 0 * x_t

    x = jnp.zeros((2, 14, 10, 3))
    cond = {
        "label": jnp.array([10, 20]),
        "low_res": ConditionPart(jax.random.normal(jax.random.key(1), (2, 7, 5, 3)), jnp.ones(2, bool)),
    }
    tiled = edit.tiled(denoise, 6, 3, pictures=("low_res",))
    np.testing.assert_allclose(tiled(x, T, cond), denoise(x, T, cond), atol=1e-5)
    null = {"label": jnp.array(0), "low_res": ConditionPart(jnp.zeros((7, 5, 3)), jnp.array(False))}
    guided = guidance.cfg(tiled, 3.0, null)
    np.testing.assert_allclose(guided(x, T, cond), 3 * denoise(x, T, cond), atol=1e-4)


def test_known_pixels_are_exact_in_a_picture_of_many_tiles() -> None:
    field = edit.tiled(oracles.gaussian_field(NOISE, (8, 8), (0.9, 0.9)), 8, 4)
    image = oracles.field_draws(keys(1, 1), (20, 12), (0.9, 0.9))[0]
    known = jnp.arange(12)[None, :, None] < jnp.full((20, 1, 1), 6)
    out = sample(keys(0, 3), NOISE, order.together, field, (20, 12, 1), steps=4, hook=edit.inpaint(image, known))
    assert out.shape == (3, 20, 12, 1)
    np.testing.assert_array_equal(out[:, :, :6], jnp.broadcast_to(image[:, :6], (3, 20, 6, 1)))


def test_the_bias_falls_with_the_overlap_to_that_of_the_step_rule() -> None:
    """Without overlap tiles are independent: at each seam a step of N(r x, 1 − r²) in place of which x' is N(0, 1).

    Its divergence is r² / (1 − r²) + ½ log(1 − r²) nats.
    """
    found = [tile_bias(NOISE, (32,), (0.8,), 8, overlap, step=steps.heun(), steps=60) for overlap in (0, 2, 4, 6)]
    nats = [bias.nats for bias in found]
    seam = 0.64 / 0.36 + np.log(0.36) / 2
    np.testing.assert_allclose(nats[0] - found[0].whole_nats, 3 * seam / 32, rtol=0.01)
    assert all(more > less for more, less in pairwise(nats))
    assert tile_bias(NOISE, (32,), (0.8,), 32, 0, step=steps.heun(), steps=60).nats == pytest.approx(
        found[0].whole_nats, rel=1e-6
    )


def test_what_does_not_fit_is_said() -> None:
    for arguments, field in [((4, 4), "overlap"), (((4, 4), (1,)), "overlap"), ((4, -1), "overlap")]:
        with pytest.raises(UserError, match=field):
            edit.tiled(shrink, *arguments)
    with pytest.raises(UserError, match="tiles of"):
        edit.tiled(shrink, (4, 4, 4), 1)(X, T, None)
    with pytest.raises(UserError, match="low_res"):
        edit.tiled(shrink, 4, 1, pictures=("low_res",))(X, T, None)
    with pytest.raises(UserError, match="4,096"):
        tile_bias(NOISE, (100, 100), (0.5, 0.5), 8, 2, step=steps.heun())
