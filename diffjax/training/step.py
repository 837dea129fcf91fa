"""One step of training, as a pure function of state and batch."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol, runtime_checkable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.loss.protocol import Apply, Loss, Losses
from diffjax.nets.interface import explain_flax_errors
from diffjax.parallel.dispatch import loops_are_slow
from diffjax.protocols import Cond, Keys, Net, Sample
from diffjax.training.ema import update_averages
from diffjax.training.joint_leaves import join, map_joined, map_parts
from diffjax.training.state import State, all_finite
from diffjax.utils.prng import fold_index

Metrics = Mapping[str, Array | np.ndarray]  # scalars of a step, or one entry per step of a dispatch
Batch = Mapping[str, PyTree]  # x, cond, and index: each example's place in the batch of all devices and hosts


def train_step(
    net: Net,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: State,
    batch: Batch,
    axis: str | None = None,
    *,
    parts: int = 1,
) -> tuple[State, Metrics]:
    """Gradient, optimizer, averages. Under a mapped `axis` the batch is a device's share and gradients are averaged.

    The gradient is that of `parts` of the batch, one after the other, which saves memory. Where the loss, a gradient,
    a new weight or a new average is not finite, the state stays unchanged and is halted, and a halted state does not
    move: the host finds it as it was before the first such step.
    """
    value, grads = gradients(net, loss, state, batch, parts)
    if axis is not None:
        value, grads = jax.lax.pmean((value, grads), axis)
    with jax.named_scope("optimizer"):  # scopes are names in a profile alone
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = map_joined(optax.apply_updates, state.params, updates)
    with jax.named_scope("averages"):
        emas = update_averages(state.emas, params, state.step)
    new_state = replace(
        state, step=state.step + 1, position=state.position + 1, params=params, opt_state=opt_state, emas=emas
    )
    halted_state = replace(state, halted=jnp.ones((), bool))
    with jax.named_scope("check that all is finite"):
        norm = optax.tree.norm(join(grads))
        is_finite = all_finite((value, norm)) & all_finite(emas) & ~state.halted  # an average holds every new weight

        def select(new: Array, old: Array) -> Array:
            return jnp.where(is_finite, new, old)

        state = map_parts(partial(map_joined, select), params, new_state, halted_state, elsewhere=select)
    return state, {"loss": value, "grad_norm": norm, "fine": is_finite}


def gradients(net: Net, loss: Loss, state: State, batch: Batch, parts: int) -> tuple[Array, PyTree]:
    """The mean loss of a batch and its gradient, the mean over `parts` of it."""
    keys = example_keys(state, batch)
    count = len(keys)
    if count % parts:
        raise UserError(f"train.accumulate: a device's {count} examples do not divide by {parts}; choose a divisor")

    def mean_loss(params: PyTree, keys: Keys, x: Sample, cond: Cond) -> Array:
        return jnp.mean(losses(net, loss, params, keys, x, cond))

    part_gradients = partial(jax.value_and_grad(mean_loss), state.params)
    if parts == 1:
        return part_gradients(keys, batch["x"], batch["cond"])

    def add(total: PyTree, part: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, part_gradients(*part)), None

    part_batches = split((keys, batch["x"], batch["cond"]), parts)
    first = jax.tree.map(lambda leaf: leaf[0], part_batches)
    rest = jax.tree.map(lambda leaf: leaf[1:], part_batches)
    total, _ = jax.lax.scan(add, part_gradients(*first), rest, unroll=loops_are_slow(net))
    return jax.tree.map(lambda leaf: leaf / parts, total)


def example_keys(state: State, batch: Batch) -> Keys:
    """The key of each example of the next step."""
    return fold_index(jax.random.fold_in(state.key, state.position), batch["index"])


def split(batch: PyTree, parts: int) -> PyTree:
    """A batch as `parts` smaller ones, stacked."""
    return jax.tree.map(lambda leaf: leaf.reshape(parts, len(leaf) // parts, *leaf.shape[1:]), batch)


@runtime_checkable
class HasApply(Protocol):
    """What a loss needs of a net."""

    @property
    def apply(self) -> Apply: ...


def losses(net: HasApply, loss: Loss, params: PyTree, keys: Keys, x: Sample, cond: Cond) -> Losses:
    """The loss of each example. Raises UserError for a net that asks for a Flax rng or keeps a state."""
    with explain_flax_errors(net):
        example_losses = loss(keys, partial(net.apply, {"params": params}), x, cond)
    chex.assert_shape(example_losses, (len(keys),))
    return example_losses


class LevelRecorder:
    """A net that records the levels it receives."""

    def __init__(self, apply: Callable[..., Array]) -> None:
        self._apply = apply
        self._levels: list[Array] = []

    def apply(self, variables: PyTree, x: Array, level: Array, *args: PyTree, **kwargs: PyTree) -> Array:
        """The net's output."""
        self._levels.append(jnp.broadcast_to(level, (len(x), *level.shape[1:])))
        return self._apply(variables, x, level, *args, **kwargs)

    def recorded_levels(self) -> Float[Array, "b levels"]:
        """All levels of each example, those of each position where they differ."""
        return jnp.concatenate([level.reshape(len(level), -1) for level in self._levels], axis=1)
