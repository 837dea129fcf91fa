"""Orders: who is revealed when."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import order
from diffjax.errors import UserError
from diffjax.order import Order, level, levels, ranks
from diffjax.utils.prng import keys


def all_levels(which: Order, clock: np.ndarray, positions: tuple[int, ...]) -> np.ndarray:
    """[clock, *positions] of one example."""
    rank = ranks(which, keys(3, 1), positions, channel_axes=0)
    return np.stack(
        [np.broadcast_to(levels(which, jnp.full(1, u), rank)[0], positions) for u in clock.astype(np.float32)]
    )


ORDERS = {
    "together": order.together,
    "raster": order.raster,
    "shuffled": order.shuffled,
    "rolling": order.rolling(0.3),
    "blocks": order.blocks(4),
    "blocks, shuffled": order.blocks(16, shuffled=True),
}


@pytest.mark.parametrize("name", ORDERS)
def test_all_is_hidden_at_one_and_known_at_zero(name) -> None:
    t = all_levels(ORDERS[name], np.linspace(1, 0, 33), (4, 4))
    assert np.all(t[0] == 1)
    assert np.all(t[-1] == 0)
    assert np.all(np.diff(t, axis=0) <= 0)


@pytest.mark.parametrize("name", ["raster", "shuffled"])
def test_a_uniform_grid_of_n_steps_reveals_one_position_a_step(name) -> None:
    t = all_levels(ORDERS[name], np.linspace(1, 0, 17), (4, 4)).reshape(17, 16)
    np.testing.assert_array_equal((t == 0).sum(axis=1), np.arange(17))
    if name == "raster":
        np.testing.assert_array_equal(np.argmax(t == 0, axis=0), np.arange(1, 17))


def test_half_as_many_steps_reveal_two_at_once() -> None:
    t = all_levels(order.shuffled, np.linspace(1, 0, 9), (16,))
    np.testing.assert_array_equal(np.diff((t == 0).sum(axis=1)), 2)


def test_together_is_the_clock() -> None:
    t = all_levels(order.together, np.linspace(1, 0, 5), (2, 3))
    np.testing.assert_allclose(t, np.broadcast_to(np.linspace(1, 0, 5)[:, None, None], (5, 2, 3)))


def test_rolling_is_a_wave_of_its_width() -> None:
    """Each position's level falls from 1 to 0 while the clock falls by the width."""
    width, clock, rank = 0.3, jnp.linspace(0.0, 1.0, 10_001), 0.25
    t = np.asarray(level(order.rolling(width), clock, jnp.full_like(clock, rank)))
    moving = np.asarray(clock)[(t > 0) & (t < 1)]
    np.testing.assert_allclose([moving.min(), moving.max()], [0.7 * 0.75, 0.7 * 0.75 + 0.3], atol=2e-4)


def test_narrow_rolling_becomes_raster() -> None:
    clock = np.linspace(1, 0, 17)
    np.testing.assert_array_equal(all_levels(order.rolling(1e-6), clock, (16,)), all_levels(order.raster, clock, (16,)))


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(("count", "sizes"), [(1, [16]), (4, [4] * 4), (3, [5, 6, 5]), (16, [1] * 16)])
def test_blocks_come_one_after_the_other(count, sizes, shuffled) -> None:
    """Each takes all levels in its own share of the clock, in which those before are known and those after hidden."""
    clock = np.linspace(1, 0, 10 * count + 1)
    t = all_levels(order.blocks(count, shuffled), clock, (16,))
    for block, size in enumerate(sizes):
        moves = t[10 * block : 10 * block + 11]
        known, hidden = np.all(moves == 0, axis=0), np.all(moves == 1, axis=0)
        assert known.sum() == sum(sizes[:block])
        assert hidden.sum() == sum(sizes[block + 1 :])
        own = moves[:, ~known & ~hidden]
        np.testing.assert_allclose(own, np.broadcast_to(np.linspace(1, 0, 11)[:, None], (11, size)), atol=1e-5)
    firsts = np.argmin(t, axis=0)
    assert (shuffled and count > 1) or np.all(np.diff(firsts) >= 0)


def test_more_blocks_than_positions_are_refused() -> None:
    with pytest.raises(UserError, match=r"^order: .* 5 "):
        ranks(order.blocks(5), keys(0, 1), (2, 2), 1)


def test_every_example_shuffles_for_itself_and_alone_as_in_company() -> None:
    together = ranks(order.shuffled, keys(0, 8), (16,), channel_axes=1)
    assert together.shape == (8, 16, 1)
    assert len({tuple(row.ravel().tolist()) for row in np.asarray(together)}) == 8
    np.testing.assert_array_equal(ranks(order.shuffled, keys(0, 1, start=5), (16,), 1)[0], together[5])


def test_shapes_broadcast_against_x() -> None:
    for name, shape in {"together": (2, 1, 1, 1), "raster": (2, 4, 4, 1)}.items():
        assert levels(ORDERS[name], jnp.ones(2), ranks(ORDERS[name], keys(0, 2), (4, 4), 1)).shape == shape
