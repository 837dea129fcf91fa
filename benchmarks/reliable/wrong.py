"""Numbers that go wrong, wherever and under each policy; and what looking at all of them costs."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs.digits import get_config
from diffjax import loss, order, predict, schedule
from diffjax import nets as all_nets
from diffjax.experiment import specs
from diffjax.noise import Gaussian
from diffjax.training import ema, nonfinite
from diffjax.training.checkpoint import Saver, restore
from diffjax.training.loop import fit
from diffjax.training.nonfinite import Diverged, Fault
from diffjax.training.optimizers import adamw
from diffjax.training.retention import RetentionPolicy, checkpoint_folders
from diffjax.training.state import State, all_finite, create
from diffjax.training.step import Batch, Metrics, gradients, train_step
from reliable.damage import NET

BAD, STEPS, SAVE_EVERY, LIMIT = 6, 12, 2, 2  # BAD is the step that goes wrong, counted from 0
BLOCK = 8  # steps on end
LOSS = loss.regression(Gaussian(schedule.cosine, predict.v), order.together)
PLACES = {"batch": "batch/x", "gradient": "new params/", "parameters": "new params/", "average": "new emas/"}
POLICIES = {"stop": nonfinite.stop, "skip": partial(nonfinite.skip, LIMIT), "rewind": partial(nonfinite.rewind, LIMIT)}


def wrong(folder: Path) -> dict[str, Any]:
    """A NaN in a batch, the gradient, the parameters, an average, under each policy.

    A batch is bad once, so that a run which skips or rewinds goes on to its end; the others are wrong whenever that
    step is taken, so that it stops at its limit.
    """
    begun, caught, obeyed, saved, bad = time.perf_counter(), 0, 0, 0, 0
    ways = list(itertools.product(PLACES, POLICIES))
    for place, policy in ways:
        told, state, kept = gone_wrong(folder / place / policy, place, POLICIES[policy]())
        ends = STEPS if place == "batch" and policy != "stop" else BAD
        many = 1 if place == "batch" or policy == "stop" else LIMIT + 1
        caught += all(fault.step == BAD and fault.leaves[0].startswith(PLACES[place]) for fault in told)
        obeyed += int(state.step) == ends and len(told) == many and bool(all_finite(state))
        saved, bad = saved + len(kept), bad + sum(not all_finite(each) for each in kept)
    return {
        **{"ways": len(ways), "caught": caught, "obeyed": obeyed, "checkpoints": saved, "bad_checkpoints": bad},
        "seconds": time.perf_counter() - begun,
    }


def gone_wrong(folder: Path, place: str, policy: nonfinite.Policy) -> tuple[list[Fault], State, list[State]]:
    """What was told of a run in which step BAD goes wrong, how it ended, and all that it saved."""
    optimizer, told = spoiled(adamw(STEPS), place), []
    fresh = create(jax.random.key(0), NET, optimizer, (0.9,), jnp.zeros((16, 3)), None)
    with (
        contextlib.closing(Saver(folder, RetentionPolicy(last=STEPS))) as saver,
        averages(place),
        jax.debug_nans(False),
    ):

        def resume() -> State | None:
            saver.wait()
            return restore(folder, fresh)

        events = [(SAVE_EVERY, lambda step, state, metrics: saver.save(step, state, {}))]
        options: dict[str, Any] = {"start": fresh, "optimizer": optimizer, "devices": jax.devices()[:1], "dispatch": 3}
        options |= {"events": events, "on_fault": policy, "restore": resume, "report": told.append}
        try:
            end = fit(jax.random.key(0), NET, LOSS, batches(place), STEPS, **options)
        except Diverged as stopped:
            end = stopped.state
    return told, end, [each for path in checkpoint_folders(folder) if (each := alone(path, fresh)) is not None]


def alone(checkpoint: Path, like: State) -> State | None:
    """What one checkpoint holds."""
    folder = checkpoint.parent / "alone"
    folder.mkdir(exist_ok=True)
    moved = checkpoint.rename(folder / checkpoint.name)
    state = restore(folder, like)
    moved.rename(checkpoint)
    return state


def batches(place: str) -> Iterator[Batch]:
    """Batches of noise, of which number BAD has a NaN where that is the place."""
    for position in itertools.count():
        x = np.random.default_rng(position).normal(size=(16, 3)).astype(np.float32)
        if place == "batch" and position == BAD:
            x[5, 1] = np.nan
        yield {"x": x}


def spoiled(optimizer: optax.GradientTransformation, place: str) -> optax.GradientTransformation:
    """The optimizer, which at update BAD is given, or gives, what is not finite."""

    def poison(count: Any, tree: Any, here: str) -> Any:
        wrong = jnp.where((count == BAD) & (place == here), jnp.nan, 0.0)
        return jax.tree.map(lambda leaf: leaf + wrong.astype(leaf.dtype), tree)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        count, inner = state
        updates, inner = optimizer.update(poison(count, updates, "gradient"), inner, params)
        return poison(count, updates, "parameters"), (count + 1, inner)

    return optax.GradientTransformation(lambda params: (jnp.zeros((), jnp.int32), optimizer.init(params)), update)


@contextlib.contextmanager
def averages(place: str) -> Iterator[None]:
    """Averages that are not finite after step BAD, where that is the place."""

    def update_averages(emas: Any, params: Any, step: Any) -> Any:
        wrong = jnp.where(step == BAD, jnp.nan, 0.0)
        return jax.tree.map(lambda leaf: leaf + wrong, ema.update_averages(emas, params, step))

    with contextlib.ExitStack() as stack:
        for module in ("step", "nonfinite") if place == "average" else ():
            stack.enter_context(mock.patch(f"diffjax.training.{module}.update_averages", update_averages))
        yield


def guard(_: Path, pairs: int = 40) -> dict[str, Any]:
    """What looking at every number costs, of a step's time and of its memory."""
    begun = time.perf_counter()
    (cost, memory), (large, _memory) = cost_of(64, pairs), cost_of(256, pairs)
    net = get_config().model.net
    measured = {"cost": cost - 1, "cost_of_256": large - 1, "memory": memory - 1, "net": net, "pairs": pairs}
    return {**measured, "seconds": time.perf_counter() - begun}


def cost_of(batch_size: int, pairs: int) -> tuple[float, float]:
    """The median ratio of a step's time, and that of its memory, to those of one that looks at nothing.

    Each of a pair takes BLOCK steps on end, as in a run, before which one finds the caches as the other left them.
    """
    net = specs.instantiate(all_nets, get_config().model.net, "model.net", classes=10)
    optimizer, key = adamw(1_000), jax.random.key(0)
    x, cond = jax.random.normal(key, (batch_size, 8, 8, 1)), jnp.arange(batch_size) % 10
    batch = {"x": x, "cond": cond, "index": jnp.arange(batch_size)}
    steps: list[Callable[[State, Batch], tuple[State, Metrics]]] = [
        jax.jit(partial(each, net, LOSS, optimizer), donate_argnums=0) for each in (train_step, unguarded)
    ]
    states = [create(key, net, optimizer, (0.999,), x, cond) for _ in steps]
    compiled = [each.lower(state, batch).compile() for each, state in zip(steps, states, strict=True)]  # type: ignore
    memory = [each.memory_analysis().temp_size_in_bytes for each in compiled]

    def block(which: int) -> float:
        seconds = []
        for _ in range(1 + BLOCK):
            begun = time.perf_counter()
            states[which], metrics = compiled[which](states[which], batch)
            jax.block_until_ready((states[which], metrics))
            seconds.append(time.perf_counter() - begun)
        return float(np.median(seconds[1:]))

    blocks = [(block(0), block(1)) if number % 2 else (block(1), block(0))[::-1] for number in range(pairs)]
    return float(np.median([guarded / bare for guarded, bare in blocks])), memory[0] / memory[1]


def unguarded(net: Any, loss: Any, optimizer: Any, state: State, batch: Batch) -> tuple[State, Metrics]:
    """A step as it would be if nobody looked: gradient, optimizer, averages."""
    value, grads = gradients(net, loss, state, batch, 1)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    emas = ema.update_averages(state.emas, params, state.step)
    count = {"step": state.step + 1, "position": state.position + 1}
    moved = dataclasses.replace(state, **count, params=params, opt_state=opt_state, emas=emas)
    return moved, {"loss": value, "grad_norm": optax.tree.norm(grads)}
