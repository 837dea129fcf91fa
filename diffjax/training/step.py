"""One step of training, as a pure function of state and batch."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.loss.protocol import Loss
from diffjax.nets.interface import explain_flax_errors
from diffjax.parallel.dispatch import loops_are_slow
from diffjax.protocols import Keys
from diffjax.training.ema import update_averages
from diffjax.training.state import State, all_finite
from diffjax.utils.prng import fold_index

Metrics = Mapping[str, Any]  # scalars of a step, or one entry per step of a dispatch
Batch = Mapping[str, Any]  # x, cond, and index: each example's place in the whole batch, over all devices and hosts


def train_step(
    net: Any,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: State,
    batch: Batch,
    axis: str | None = None,
    *,
    parts: int = 1,
) -> tuple[State, Metrics]:
    """Gradient, optimizer, averages. Under a mapped `axis` the batch is a device's share and gradients are averaged.

    The gradient is taken of `parts` of the batch, one after the other, which saves memory. Where the loss, a gradient,
    a new weight or a new average is not finite, the state stays as it was and is halted, and a halted state does not
    move: nothing that is wrong ever gets into it, and the host finds it as it was before the first wrong step.
    """
    value, grads = gradients(net, loss, state, batch, parts)
    if axis is not None:
        value, grads = jax.lax.pmean((value, grads), axis)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    new_state = replace(
        state,
        step=state.step + 1,
        position=state.position + 1,
        params=params,
        opt_state=opt_state,
        emas=update_averages(state.emas, params, state.step),
    )
    norm = optax.tree.norm(grads)
    is_finite = (
        all_finite((value, norm, new_state.emas)) & ~state.halted
    )  # an average takes in every weight, and so tells of both
    halted_state = replace(state, halted=jnp.ones((), bool))
    state = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), new_state, halted_state)
    return state, {"loss": value, "grad_norm": norm, "fine": is_finite}


def gradients(net: Any, loss: Loss, state: State, batch: Batch, parts: int) -> tuple[Array, PyTree]:
    """The mean loss of a batch and its gradient, of so many parts of it one after the other."""
    keys = fold_index(jax.random.fold_in(state.key, state.position), batch["index"])
    count = len(keys)
    if count % parts:
        raise UserError(f"train.accumulate: a device's {count} examples do not divide by {parts}; choose a divisor")

    def mean_loss(params: PyTree, keys: Keys, x: Any, cond: PyTree) -> Array:
        return jnp.mean(losses(net, loss, params, keys, x, cond))

    of_part = partial(jax.value_and_grad(mean_loss), state.params)
    if parts == 1:
        return of_part(keys, batch["x"], batch["cond"])

    def cut(leaf: Array) -> Array:
        return leaf.reshape(parts, count // parts, *leaf.shape[1:])

    def add(total: PyTree, part: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, of_part(*part)), None

    part_batches = jax.tree.map(cut, (keys, batch["x"], batch["cond"]))
    first, rest = jax.tree.map(lambda leaf: leaf[0], part_batches), jax.tree.map(lambda leaf: leaf[1:], part_batches)
    total, _ = jax.lax.scan(add, of_part(*first), rest, unroll=loops_are_slow(net))
    return jax.tree.map(lambda leaf: leaf / parts, total)


def losses(net: Any, loss: Loss, params: PyTree, keys: Keys, x: Any, cond: PyTree) -> Array:
    """The loss of each example. Raises UserError for a net that asks for a Flax rng or keeps a state."""
    with explain_flax_errors(net):
        example_losses = loss(keys, partial(net.apply, {"params": params}), x, cond)
    chex.assert_shape(example_losses, (len(keys),))
    return example_losses


class LevelRecorder:
    """A net that remembers the levels it was told."""

    def __init__(self, net: Any) -> None:
        self.net, self._levels = net, []

    def apply(self, variables: PyTree, x: Any, level: Array, *kwargs: Any, **options: Any) -> Any:
        self._levels.append(jnp.broadcast_to(level, (len(x), *level.shape[1:])))
        return self.net.apply(variables, x, level, *kwargs, **options)

    def recorded_levels(self) -> Float[Array, "b levels"]:
        """All of an example's levels, of each position that has its own."""
        return jnp.concatenate([level.reshape(len(level), -1) for level in self._levels], axis=1)
