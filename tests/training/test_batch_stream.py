"""What `fit` reads its batches from: lists are repeated in another order, smaller last batches left out, both said."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import diffjax as dj
from diffjax.errors import UserError
from diffjax.training.batch_stream import stream_batches
from diffjax.training.state import create

pytestmark = pytest.mark.usefixtures("untyped")


def numbered(count: int, size: int = 2) -> list[dict[str, Any]]:
    return [{"x": np.full((size, 1), float(k), np.float32)} for k in range(count)]


def taken(batches: Any, count: int, position: int = 0) -> list[int]:
    return [int(batch["x"][0, 0]) for batch in itertools.islice(stream_batches(batches, position), count)]


def test_a_list_is_repeated_in_another_order_in_each_epoch(capsys) -> None:
    found = taken(numbered(5), 20)
    times = [found[i : i + 5] for i in range(0, 20, 5)]
    assert times[0] == [0, 1, 2, 3, 4]
    assert all(sorted(each) == times[0] for each in times)
    assert len({tuple(each) for each in times}) > 2
    assert "5 batches" in capsys.readouterr().err


@pytest.mark.parametrize("position", [0, 3, 5, 13])
def test_a_list_goes_on_from_any_position(position) -> None:
    assert taken(numbered(5), 7, position) == taken(numbered(5), 7 + position)[position:]


def test_a_smaller_batch_is_left_out_and_said(capsys) -> None:
    batches = [*numbered(3), {"x": np.full((1, 1), 9.0, np.float32)}]
    assert set(taken(batches, 12)) == {0, 1, 2}
    assert "1 of 4 batches" in capsys.readouterr().err


def test_a_loader_with_a_length_is_begun_again(capsys) -> None:
    class Loader:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Any:
            yield from numbered(2)
            yield {"x": np.zeros((1, 1), np.float32)}

    assert taken(Loader(), 5) == [0, 1, 0, 1, 0]
    assert capsys.readouterr().err.count(" of ") == 1


def test_a_generator_ends_where_it_ends() -> None:
    assert taken(iter(numbered(2)), 9) == [0, 1]


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        ((np.zeros((2, 1)), np.zeros(2)), "cond"),
        (np.zeros((2, 1)), "x"),
        ({"image": np.zeros((2, 1)), "label": np.zeros(2)}, "'image', 'label'"),
        ({"x": np.zeros((0, 1))}, "x"),
        ({"x": np.zeros((2, 1)), "cond": ["cat", "dog"]}, "cat"),
        ({"x": np.zeros((2, 1)), "cond": np.zeros(3)}, "cond"),
    ],
)
def test_what_is_no_batch_is_refused_by_what_it_is(batch, named) -> None:
    for batches in ([batch], iter([batch])):
        with pytest.raises(UserError, match=named):
            next(stream_batches(batches, 0))


def test_lists_of_numbers_are_conditions() -> None:
    batch = next(stream_batches(iter([{"x": np.zeros((2, 1)), "cond": {"label": [3, 4]}}]), 0))
    np.testing.assert_array_equal(batch["cond"]["label"], [3, 4])


NOISE, ONE = dj.Gaussian(dj.schedule.cosine, dj.predict.v), jax.devices()[:1]
LOSS, NET = dj.loss.regression(NOISE, dj.order.together), dj.nets.MLP(width=4, depth=1)


def fitted(steps: int = 2, **options: Any) -> Any:
    given = {"optimizer": optax.adam(1e-2), "devices": ONE, **options}
    return dj.fit(jax.random.key(0), NET, LOSS, iter(numbered(9)), steps, **given)


def test_a_run_of_one_step_moves_the_weights() -> None:
    """By the default optimizer, whose warm-up begins above 0."""
    state = fitted(1, optimizer=None)
    begun = create(jax.random.key(0), NET, optax.sgd(1.0), (0.9,), jnp.zeros((2, 1)), None)
    moved = [not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (state.params, begun.params)), strict=True)]
    assert any(moved)


def test_averages_are_those_asked_for_or_those_of_start() -> None:
    state = fitted(1, ema=0.9)
    assert set(state.emas) == {"0.9"}
    assert set(fitted(2, start=state).emas) == {"0.9"}
    with pytest.raises(UserError, match="ema"):
        fitted(2, start=state, ema=(0.9, 0.99))


def test_a_state_of_another_optimizer_is_refused() -> None:
    with pytest.raises(UserError, match="optimizer"):
        fitted(2, start=fitted(1), optimizer=optax.sgd(1e-2))


@pytest.mark.parametrize("steps", [-1, 0, 2.5])
def test_a_number_of_steps_is_at_least_one(steps) -> None:
    with pytest.raises(UserError, match="steps"):
        fitted(steps)
