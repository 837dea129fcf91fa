"""The training loop: batches in, state out, and whatever should happen every so many steps."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from diffjax.dispatch import steps_per_dispatch
from diffjax.errors import UserError
from diffjax.loss import Loss
from diffjax.training import parallel
from diffjax.training.state import State, create
from diffjax.training.step import Batch, Metrics, train_step

Event = tuple[int, Callable[[int, State, Metrics], None]]
AHEAD = 4  # dispatches in the device's queue before the host waits for the oldest


def fit(
    keys: Key[Array, "..."],
    net: Any,
    loss: Loss,
    batches: Iterable[Batch],
    steps: int,
    *,
    optimizer: optax.GradientTransformation | None = None,
    ema: tuple[float, ...] = (0.999,),
    start: State | None = None,
    events: Sequence[Event] = (),
    devices: Sequence[Any] | None = None,
    dispatch: int | None = None,
) -> State:
    """Train until step `steps` and return the state.

    `keys` is a key (of several, the first is used). `batches` yields `{"x": [b, *shape], "cond": pytree}`, this host's
    share, from the step of `start` on. `events` are `(every, call)`: `call(step, state, metrics)` after each `every`
    steps (0: after each dispatch) and after the last; a metric has one entry per step of the last dispatch, and the
    state is valid during the call. `dispatch` is the number of steps per compiled call, chosen from platform and net.
    Raises UserError when batches run out or do not divide by the devices.
    """
    devices = devices or jax.devices()
    here = sum(device.process_index == jax.process_index() for device in devices)
    optimizer = optimizer or adamw(steps)
    stream = iter(batches)
    first = _next(stream, 0)
    _check_tokens(net, first["x"])
    key = keys if keys.ndim == 0 else keys.ravel()[0]
    state = start or create(key, net, optimizer, ema, first["x"], first.get("cond"))
    done, state = int(state.step), parallel.replicated(state, devices)
    advance = parallel.pmapped(partial(train_step, net, loss, optimizer), devices)
    stream, queue = itertools.chain([first], stream), deque()
    for size in chunk_sizes(done, steps, dispatch or steps_per_dispatch(net), [every for every, _ in events if every]):
        chunk = parallel.shares([_next(stream, done + i) for i in range(size)], here)
        state, metrics = advance(state, chunk)
        done += size
        queue.append(metrics)
        if len(queue) > AHEAD:
            jax.block_until_ready(queue.popleft())
        for every, call in events:
            if every == 0 or done % every == 0 or done == steps:
                call(done, state, metrics)
    return state


def adamw(
    steps: int,
    learning_rate: float = 2e-3,
    warmup_steps: int = 100,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
    beta2: float = 0.99,
) -> optax.GradientTransformation:
    """AdamW with clipped gradients, a linear warm-up and a cosine decay to a hundredth; matrices alone decay."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, min(warmup_steps, max(steps // 2, 1)), max(steps, 2), learning_rate / 100
    )

    def matrices(params: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(clip_norm), optax.adamw(rate, b2=beta2, weight_decay=weight_decay, mask=matrices)
    )


def chunk_sizes(done: int, steps: int, dispatch: int, intervals: Sequence[int]) -> Iterator[int]:
    """Chunks of `dispatch` steps, and single steps where a whole chunk would pass over an event or the end."""
    while done < steps:
        room = min([steps - done, *(every - done % every for every in intervals)])
        size = dispatch if room >= dispatch else 1
        yield size
        done += size


def _check_tokens(net: Any, x: Any) -> None:
    """Raise UserError where the first batch holds tokens that the net does not know: its loss would be NaN."""
    vocab = getattr(net, "vocab", None)
    if vocab is not None and not (jnp.min(x) >= 0 and jnp.max(x) < vocab):
        raise UserError(
            f"fit: the net knows tokens 0 … {vocab - 1} (vocab={vocab}), and the batches hold {int(jnp.min(x))} … "
            f"{int(jnp.max(x))}; build net and noise with vocab={int(jnp.max(x)) + 1}, or map the data"
        )


def _next(stream: Iterator[Batch], step: int) -> Batch:
    try:
        return next(stream)
    except StopIteration:
        raise UserError(f"fit: the batches ended at step {step}; give an iterable that goes on (repeat it)") from None
