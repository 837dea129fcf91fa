"""Steps with numbers that are not finite: which numbers, at which noise levels, and how a run goes on.

Such a step leaves the state unchanged and halts it (step.py). The cause is found by taking the step again and looking
at every leaf, so that a training step itself computes one bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.loss.protocol import Loss, Losses
from diffjax.protocols import Cond, Keys, Net, Sample
from diffjax.training import data_parallel
from diffjax.training.ema import update_averages
from diffjax.training.state import State
from diffjax.training.step import Batch, LevelRecorder, example_keys, gradients, losses, split
from diffjax.training.trainer import Trainer
from diffjax.utils.memo import cache_hashable
from diffjax.utils.tree_paths import leaf_name

__all__ = ["rewind", "skip", "stop"]

_MAX_SHOWN = 5  # examples that a line of the report names


@dataclass(frozen=True)
class Fault:
    """A step that was not taken.

    `step` is the number of steps before it, `position` that of its batch, `count` the number of faults of the run.
    `leaves` are the names of everything not finite, in the order of computation; none where the same step, taken again,
    was finite. `rows` are the examples, on this host, whose loss was not finite, `levels` the lowest and highest noise
    level of each example. `sound`: the state before the step is finite, so that training can go on from it.
    """

    step: int
    position: int
    count: int
    leaves: tuple[str, ...]
    rows: tuple[int, ...]
    levels: tuple[tuple[float, float], ...]
    sound: bool

    def describe(self) -> str:
        """The fault on one line."""
        place = f"step {self.step + 1:,} (batch {self.position:,} of the data's order)"
        for first in self.leaves[:1]:
            others = f" and {len(self.leaves) - 1} more" if len(self.leaves) > 1 else ""
            return f"{place}: {first}{others} not finite; {self._describe_levels()}"
        return f"{place}: not finite, but taken again it was: suspect the machine; {self._describe_levels()}"

    def _describe_levels(self) -> str:
        lowest = min(low for low, _ in self.levels)
        highest = max(high for _, high in self.levels)
        text = f"noise levels {lowest:.4g} … {highest:.4g} in the batch"
        if not self.rows:
            return text
        examples = [f"{row} at {_format_interval(*self.levels[row])}" for row in self.rows[:_MAX_SHOWN]]
        ellipsis = " …" if len(self.rows) > _MAX_SHOWN else ""
        return f"{text}, {len(self.rows)} bad example(s): {', '.join(examples)}{ellipsis}"


class Diverged(ArithmeticError):
    """The policy stops training. `state` is the one before the step, finite where `fault.sound`."""

    def __init__(self, fault: Fault, state: State, why: str) -> None:
        super().__init__(f"{fault.describe()}; {why}")
        self.fault = fault
        self.state = state


Restore = Callable[[], State]
Policy = Callable[[Fault, State, Restore], State]


def stop() -> Policy:
    """Stop at the first fault."""

    def decide(fault: Fault, state: State, restore: Restore) -> State:
        raise Diverged(fault, state, "lower the learning rate, or let train.on_fault skip or rewind")

    return decide


def skip(limit: int = 10) -> Policy:
    """Skip the batch, at most `limit` times in a run."""
    _check_positive(limit)

    def decide(fault: Fault, state: State, restore: Restore) -> State:
        if not fault.sound:
            raise Diverged(fault, state, "the state itself is not finite, so skipping cannot help; use rewind")
        _check_limit(limit, fault, state)
        return _skip_batch(state, fault)

    return decide


def rewind(limit: int = 10) -> Policy:
    """Return to the last good checkpoint and go on with the batch after the bad one, at most `limit` times in a run."""
    _check_positive(limit)

    def decide(fault: Fault, state: State, restore: Restore) -> State:
        _check_limit(limit, fault, state)
        return _skip_batch(restore(), fault)

    return decide


class _Computed(NamedTuple):
    """What a step computes, in the order of computation (jit would sort the keys of a dict)."""

    loss: Array
    gradient: PyTree
    params: PyTree
    emas: PyTree

    def named(self) -> dict[str, PyTree]:
        """The trees by the names that messages have."""
        return {"loss": self.loss, "gradient": self.gradient, "new params": self.params, "new emas": self.emas}


def locate_nonfinite(trainer: Trainer, state: State, batch: Batch) -> Fault:
    """The fault of the step from this halted state on this host's batch, taken again on one device in parts."""
    state = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, state)
    inputs = {"x": jnp.asarray(batch["x"]), "cond": jax.tree.map(jnp.asarray, batch.get("cond"))}
    index = data_parallel.example_index(len(inputs["x"]))
    parts = trainer.local_device_count * trainer.parts
    computed, levels = _compiled_step(trainer.net, trainer.loss, trainer.optimizer, parts)(
        state, {**inputs, "index": index}
    )
    before = {name: vars(state)[name] for name in ("params", "emas", "opt_state")}
    return Fault(
        step=int(state.step),
        position=int(state.position),
        count=int(state.faults) + 1,
        leaves=tuple(_nonfinite_names({"batch": inputs, **before, **computed.named()})),
        rows=tuple(np.flatnonzero(~np.isfinite(computed.loss)).tolist()),
        levels=tuple((float(low), float(high)) for low, high in levels),
        sound=not _nonfinite_names(before),
    )


@cache_hashable(4)
def _compiled_step(
    net: Net, loss: Loss, optimizer: optax.GradientTransformation, parts: int
) -> Callable[[State, Batch], tuple[_Computed, Float[Array, "b low_and_high"]]]:
    """A training step: what it computes, and each example's lowest and highest level."""

    def part_losses(params: PyTree, keys: Keys, x: Sample, cond: Cond) -> tuple[Losses, Array]:
        recorder = LevelRecorder(net.apply)
        example_losses = losses(recorder, loss, params, keys, x, cond)
        levels = recorder.recorded_levels()
        return example_losses, jnp.stack([levels.min(axis=1), levels.max(axis=1)], axis=1)

    @jax.jit
    def step(state: State, batch: Batch) -> tuple[_Computed, Array]:
        _, grads = gradients(net, loss, state, batch, parts)
        updates, _ = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        emas = update_averages(state.emas, params, state.step)
        parts_of_batch = split((example_keys(state, batch), batch["x"], batch["cond"]), parts)
        example_losses, levels = jax.lax.map(lambda part: part_losses(state.params, *part), parts_of_batch)
        levels = levels.reshape(-1, 2)
        example_losses = example_losses.ravel()
        return _Computed(example_losses, grads, params, emas), levels

    return step


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
    return replace(
        state,
        position=jnp.asarray(fault.position + 1, jnp.int32),
        faults=jnp.asarray(fault.count, jnp.int32),
        halted=jnp.zeros((), bool),
    )


def _check_limit(limit: int, fault: Fault, state: State) -> None:
    if fault.count > limit:
        raise Diverged(fault, state, f"the run has had {fault.count} faults, and train.on_fault allows {limit}")


def _check_positive(limit: int) -> None:
    if limit < 1:
        raise UserError(f"limit must be at least 1, got {limit}")


def _format_interval(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g} … {high:.4g}"
