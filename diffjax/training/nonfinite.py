"""Numbers that went wrong: which, at what noise, and what a run does about it.

A step whose numbers are not finite leaves the state as it was and halts it (step.py). What was wrong is then found by
taking the step again, looking at every leaf: the hot path carries one bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from diffjax.errors import UserError
from diffjax.loss.simple import Loss
from diffjax.training.ema import averaged
from diffjax.training.state import State
from diffjax.training.step import Batch, Spied, losses
from diffjax.utils.prng import keys_of
from diffjax.utils.tree_paths import named

__all__ = ["rewind", "skip", "stop"]

_SHOWN = 5  # examples that a line of the report names


@dataclass(frozen=True)
class Fault:
    """A step that was not taken.

    `step` is the number of steps taken before it, `position` that of its batch, `count` how many faults the run has
    had. `leaves` are the names of all that was not finite, in the order of computation; none where the same step, taken
    again, was finite. `rows` are the examples, on this host, whose loss was not finite, and `levels` the least and the
    greatest noise level of every example. `sound`: the state before the step is finite, and can be gone on from.
    """

    step: int
    position: int
    count: int
    leaves: tuple[str, ...]
    rows: tuple[int, ...]
    levels: tuple[tuple[float, float], ...]
    sound: bool

    def told(self) -> str:
        """On one line, for people."""
        where = f"step {self.step + 1:,} (batch {self.position:,} of the data's order)"
        for first in self.leaves[:1]:
            more = f" and {len(self.leaves) - 1} more" if len(self.leaves) > 1 else ""
            return f"{where}: {first}{more} not finite; {self._levels()}"
        return f"{where}: not finite, but taken again it was: suspect the machine; {self._levels()}"

    def _levels(self) -> str:
        least, most = min(low for low, _ in self.levels), max(high for _, high in self.levels)
        told = f"noise levels {least:.4g} … {most:.4g} in the batch"
        bad = [f"{row} at {_interval(*self.levels[row])}" for row in self.rows[:_SHOWN]]
        more = " …" if len(self.rows) > _SHOWN else ""
        return f"{told}, {len(self.rows)} bad example(s): {', '.join(bad)}{more}" if bad else told


class Diverged(ArithmeticError):
    """Training cannot go on by its policy. `state` is the one before the wrong step, as good as `fault.sound` says."""

    def __init__(self, fault: Fault, state: State, why: str) -> None:
        super().__init__(f"{fault.told()}; {why}")
        self.fault, self.state = fault, state


Restore = Callable[[], State]
Policy = Callable[[Fault, State, Restore], State]


def stop() -> Policy:
    """Stop at the first fault."""

    def decide(fault: Fault, state: State, restore: Restore) -> State:
        raise Diverged(fault, state, "lower the learning rate, or let train.on_fault skip or rewind")

    return decide


def skip(limit: int = 10) -> Policy:
    """Pass over the batch, at most `limit` times in a run."""
    _at_least_one(limit)

    def decide(fault: Fault, state: State, restore: Restore) -> State:
        if not fault.sound:
            raise Diverged(fault, state, "the state itself is not finite, so skipping cannot help; use rewind")
        _within(limit, fault, state)
        return _passed(state, fault)

    return decide


def rewind(limit: int = 10) -> Policy:
    """Go back to the last good checkpoint, and on with the batch after the bad one, at most `limit` times in a run."""
    _at_least_one(limit)

    def decide(fault: Fault, state: State, restore: Restore) -> State:
        _within(limit, fault, state)
        return _passed(restore(), fault)

    return decide


def examiner(net: Any, loss: Loss, optimizer: optax.GradientTransformation) -> Callable[[State, list[Batch]], Fault]:
    """`(state, batches) -> fault`: of the step from this (halted) state, its batch in parts that one device can hold.

    What it needs is compiled at the first fault, once for a run.
    """
    look, move = jax.jit(partial(_looked, net, loss)), jax.jit(partial(_moved, optimizer))

    def examined(state: State, batches: list[Batch]) -> Fault:
        state = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, state)
        found, total = [], None
        for part in batches:
            grads, each, levels = look(state, part)
            total = grads if total is None else jax.tree.map(jnp.add, total, grads)
            found.append((np.isfinite(each), np.asarray(levels)))
        grads = jax.tree.map(lambda leaf: leaf / len(batches), total)
        moved, emas = move(state, grads)
        given = [{"x": part["x"], "cond": part["cond"]} for part in batches]
        before = {"batch": jax.tree.map(lambda *parts: np.concatenate(parts), *given), **_content(state)}
        good, levels = (np.concatenate(parts) for parts in zip(*found, strict=True))
        after = {"loss": np.where(good, 0.0, np.nan), "gradient": grads, "new params": moved, "new emas": emas}
        return Fault(
            step=int(state.step),
            position=int(state.position),
            count=int(state.faults) + 1,
            leaves=tuple(_wrong(before) + _wrong(after)),
            rows=tuple(np.flatnonzero(~good).tolist()),
            levels=tuple((float(low), float(high)) for low, high in levels),
            sound=not _wrong(_content(state)),
        )

    return examined


def _looked(net: Any, loss: Loss, state: State, batch: Batch) -> tuple[PyTree, Array, Array]:
    """Gradient, losses, and the least and greatest level of each example, of a part of a batch."""
    keys = keys_of(jax.random.fold_in(state.key, state.position), batch["index"])

    def mean_loss(params: PyTree) -> tuple[Array, tuple[Array, Array]]:
        spied = Spied(net)
        each = losses(spied, loss, params, keys, batch["x"], batch["cond"])
        level = spied.seen()
        return jnp.mean(each), (each, jnp.stack([level.min(axis=1), level.max(axis=1)], axis=1))

    grads, (each, levels) = jax.grad(mean_loss, has_aux=True)(state.params)
    return grads, each, levels


def _moved(optimizer: optax.GradientTransformation, state: State, grads: PyTree) -> tuple[PyTree, PyTree]:
    updates, _ = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    return params, averaged(state.emas, params, state.step)


def _content(state: State) -> dict[str, PyTree]:
    return {name: getattr(state, name) for name in ("params", "emas", "opt_state")}


def _wrong(trees: dict[str, PyTree]) -> list[str]:
    """The names of the leaves that are not finite, tree after tree."""
    names = []
    for name, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if jnp.issubdtype(leaf.dtype, jnp.inexact) and not jnp.all(jnp.isfinite(leaf)):
                names.append("/".join(filter(None, (name, named(path)))))
    return names


def _passed(state: State, fault: Fault) -> State:
    """The state, about to take the batch after the bad one."""
    position, faults = (jnp.asarray(number, jnp.int32) for number in (fault.position + 1, fault.count))
    return replace(state, position=position, faults=faults, halted=jnp.zeros((), bool))


def _within(limit: int, fault: Fault, state: State) -> None:
    if fault.count > limit:
        raise Diverged(fault, state, f"the run has had {fault.count} faults, and train.on_fault allows {limit}")


def _at_least_one(limit: int) -> None:
    if limit < 1:
        raise UserError(f"limit must be at least 1, got {limit}")


def _interval(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g} … {high:.4g}"
