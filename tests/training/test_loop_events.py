"""When events are called, and what the program that takes the steps needs."""

import gc

import jax
import numpy as np
import pytest

from diffjax import loss, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets import MLP
from diffjax.noise import Gaussian
from diffjax.training.checkpoint import to_orbax
from diffjax.training.loop import fit, step_memory
from diffjax.training.optimizers import adamw
from diffjax.training.state import State, create
from diffjax.training.trainer import build_trainer

NET = MLP(width=16, depth=1)
LOSS = loss.regression(Gaussian(schedule.cosine, predict.v), order.together)
OPTIMIZER = adamw(100)
STATE = create(jax.random.key(0), NET, OPTIMIZER, ("0.9",), np.zeros((1, 4), np.float32), None)


def batch(size: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros((size, 4), np.float32)}


def called(every: int | tuple[int, ...]) -> list[int]:
    """The steps, of seven, at which an event is called."""
    seen: list[int] = []
    fit(
        jax.random.key(0), NET, LOSS, [batch(8)], 7, optimizer=OPTIMIZER, start=STATE,
        events=[(every, lambda step, *_: seen.append(step))],
    )  # fmt: skip
    return seen


@pytest.mark.parametrize(("every", "steps"), [(0, [7]), (1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6, 7]), (9, [7])])
def test_an_event_is_called_every_so_many_steps_and_after_the_last(every, steps) -> None:
    assert called(every) == steps


def test_an_event_of_some_steps_is_called_after_these_alone() -> None:
    assert called((2, 3, 6, 9)) == [2, 3, 6]


@pytest.mark.parametrize("event", [(-1, print), (0.5, print), ((1, -1), print), (1, "save"), (1,), 1, None])
def test_what_is_no_event_is_named(untyped, event) -> None:
    with pytest.raises(UserError, match="events"):
        fit(jax.random.key(0), NET, LOSS, [batch(8)], 1, events=[event])


@pytest.mark.parametrize("length", [1, 10])
def test_the_memory_of_a_step_has_the_state_and_the_batches_to_the_byte(untyped, length) -> None:
    """Of its arguments: the state, an eighth of each batch with an index for each example, and two flags."""
    state = sum(leaf.nbytes for leaf in jax.tree.leaves(to_orbax(STATE)))
    trainer = build_trainer(NET, LOSS, OPTIMIZER, dispatch=length)
    found = {size: step_memory(trainer, STATE, batch(size)) for size in (64, 128)}
    small, large = found[64], found[128]
    assert small is not None
    assert large is not None
    assert large.arguments - small.arguments == length * (128 - 64) // 8 * (4 * 4 + 4)
    rest = small.arguments - state - length * 64 // 8 * (4 * 4 + 4)
    assert 0 <= rest <= 8, "how many steps are taken, and whether to stop"
    assert small.temporaries <= large.temporaries
    assert 0 <= large.peak - large.arguments - large.temporaries <= 2 * state


def test_a_device_holds_one_state_while_it_trains() -> None:
    """Parameters, two moments and an average, and nothing of the state that training began with."""
    gc.collect()
    others = sum(array.nbytes for array in jax.live_arrays())
    found: list[float] = []

    def event(step: int, state: State, metrics: object) -> None:
        gc.collect()
        bytes_of_state = 4 * sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
        found.append((sum(array.nbytes for array in jax.live_arrays()) - others) / bytes_of_state)

    net = MLP(width=128, depth=2)
    fit(jax.random.key(0), net, LOSS, [batch(8)], 2, ema=0.9, events=[(0, event)], devices=jax.devices()[:1])
    assert 1 <= found[0] <= 1.05
