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
from diffjax.loss.protocol import Loss
from diffjax.training.ema import update_averages
from diffjax.training.state import State
from diffjax.training.step import Batch, LevelRecorder, losses
from diffjax.utils.prng import fold_index
from diffjax.utils.tree_paths import leaf_name

__all__ = ["rewind", "skip", "stop"]

_MAX_SHOWN = 5  # examples that a line of the report names


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

    def describe(self) -> str:
        """On one line, for people."""
        place = f"step {self.step + 1:,} (batch {self.position:,} of the data's order)"
        for first in self.leaves[:1]:
            others = f" and {len(self.leaves) - 1} more" if len(self.leaves) > 1 else ""
            return f"{place}: {first}{others} not finite; {self._describe_levels()}"
        return f"{place}: not finite, but taken again it was: suspect the machine; {self._describe_levels()}"

    def _describe_levels(self) -> str:
        lowest, highest = min(low for low, _ in self.levels), max(high for _, high in self.levels)
        text = f"noise levels {lowest:.4g} … {highest:.4g} in the batch"
        at_fault = [f"{row} at {_format_interval(*self.levels[row])}" for row in self.rows[:_MAX_SHOWN]]
        ellipsis = " …" if len(self.rows) > _MAX_SHOWN else ""
        return f"{text}, {len(self.rows)} bad example(s): {', '.join(at_fault)}{ellipsis}" if at_fault else text


class Diverged(ArithmeticError):
    """Training cannot go on by its policy. `state` is the one before the wrong step, as good as `fault.sound` says."""

    def __init__(self, fault: Fault, state: State, why: str) -> None:
        super().__init__(f"{fault.describe()}; {why}")
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
    _check_positive(limit)

    def decide(fault: Fault, state: State, restore: Restore) -> State:
        if not fault.sound:
            raise Diverged(fault, state, "the state itself is not finite, so skipping cannot help; use rewind")
        _check_limit(limit, fault, state)
        return _skip_batch(state, fault)

    return decide


def rewind(limit: int = 10) -> Policy:
    """Go back to the last good checkpoint, and on with the batch after the bad one, at most `limit` times in a run."""
    _check_positive(limit)

    def decide(fault: Fault, state: State, restore: Restore) -> State:
        _check_limit(limit, fault, state)
        return _skip_batch(restore(), fault)

    return decide


def locate_nonfinite(
    net: Any, loss: Loss, optimizer: optax.GradientTransformation
) -> Callable[[State, list[Batch]], Fault]:
    """`(state, batches) -> fault`: of the step from this (halted) state, its batch in parts that one device can hold.

    What it needs is compiled at the first fault, once for a run.
    """
    part_gradients, apply_gradients = (
        jax.jit(partial(_part_gradients, net, loss)),
        jax.jit(partial(_apply_gradients, optimizer)),
    )

    def locate(state: State, batches: list[Batch]) -> Fault:
        state = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, state)
        results, total = [], None
        for part in batches:
            grads, losses, levels = part_gradients(state, part)
            total = grads if total is None else jax.tree.map(jnp.add, total, grads)
            results.append((np.isfinite(losses), np.asarray(levels)))
        grads = jax.tree.map(lambda leaf: leaf / len(batches), total)
        new_params, emas = apply_gradients(state, grads)
        arrays = [{"x": part["x"], "cond": part["cond"]} for part in batches]
        before = {"batch": jax.tree.map(lambda *parts: np.concatenate(parts), *arrays), **_state_content(state)}
        finite_losses, levels = (np.concatenate(parts) for parts in zip(*results, strict=True))
        after = {
            "loss": np.where(finite_losses, 0.0, np.nan),
            "gradient": grads,
            "new params": new_params,
            "new emas": emas,
        }
        return Fault(
            step=int(state.step),
            position=int(state.position),
            count=int(state.faults) + 1,
            leaves=tuple(_nonfinite_names(before) + _nonfinite_names(after)),
            rows=tuple(np.flatnonzero(~finite_losses).tolist()),
            levels=tuple((float(low), float(high)) for low, high in levels),
            sound=not _nonfinite_names(_state_content(state)),
        )

    return locate


def _part_gradients(net: Any, loss: Loss, state: State, batch: Batch) -> tuple[PyTree, Array, Array]:
    """Gradient, losses, and the least and greatest level of each example, of a part of a batch."""
    keys = fold_index(jax.random.fold_in(state.key, state.position), batch["index"])

    def mean_loss(params: PyTree) -> tuple[Array, tuple[Array, Array]]:
        recorder = LevelRecorder(net)
        example_losses = losses(recorder, loss, params, keys, batch["x"], batch["cond"])
        level = recorder.recorded_levels()
        return jnp.mean(example_losses), (example_losses, jnp.stack([level.min(axis=1), level.max(axis=1)], axis=1))

    grads, (example_losses, levels) = jax.grad(mean_loss, has_aux=True)(state.params)
    return grads, example_losses, levels


def _apply_gradients(optimizer: optax.GradientTransformation, state: State, grads: PyTree) -> tuple[PyTree, PyTree]:
    updates, _ = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    return params, update_averages(state.emas, params, state.step)


def _state_content(state: State) -> dict[str, PyTree]:
    return {"params": state.params, "emas": state.emas, "opt_state": state.opt_state}


def _nonfinite_names(trees: dict[str, PyTree]) -> list[str]:
    """The names of the leaves that are not finite, tree after tree."""
    names = []
    for name, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if jnp.issubdtype(leaf.dtype, jnp.inexact) and not jnp.all(jnp.isfinite(leaf)):
                names.append("/".join(filter(None, (name, leaf_name(path)))))
    return names


def _skip_batch(state: State, fault: Fault) -> State:
    """The state, about to take the batch after the bad one."""
    position, faults = (jnp.asarray(number, jnp.int32) for number in (fault.position + 1, fault.count))
    return replace(state, position=position, faults=faults, halted=jnp.zeros((), bool))


def _check_limit(limit: int, fault: Fault, state: State) -> None:
    if fault.count > limit:
        raise Diverged(fault, state, f"the run has had {fault.count} faults, and train.on_fault allows {limit}")


def _check_positive(limit: int) -> None:
    if limit < 1:
        raise UserError(f"limit must be at least 1, got {limit}")


def _format_interval(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g} … {high:.4g}"
