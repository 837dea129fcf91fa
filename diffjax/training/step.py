"""One step of training, as a pure function of state and batch."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from diffjax.loss import Loss
from diffjax.randomness import keys_of
from diffjax.training.state import State, averaged

Metrics = dict[str, Float[Array, "..."]]  # scalars of a step, or one entry per step of a dispatch
Batch = Mapping[str, Any]  # x, cond, and index: each example's place in the whole batch, over all devices and hosts


def train_step(
    net: Any, loss: Loss, optimizer: optax.GradientTransformation, state: State, batch: Batch, axis: str | None = None
) -> tuple[State, Metrics]:
    """Gradient, optimizer, averages. Under a mapped `axis` the batch is a device's share and gradients are averaged."""
    keys = keys_of(jax.random.fold_in(state.key, state.step), batch["index"])

    def mean_loss(params: PyTree) -> Float[Array, ""]:
        losses = loss(keys, partial(net.apply, {"params": params}), batch["x"], batch["cond"])
        chex.assert_shape(losses, (len(keys),))
        return jnp.mean(losses)

    value, grads = jax.value_and_grad(mean_loss)(state.params)
    if axis is not None:
        value, grads = jax.lax.pmean((value, grads), axis)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    emas = averaged(state.emas, params, state.step)
    metrics = {"loss": value, "grad_norm": optax.tree.norm(grads)}
    return State(state.step + 1, params, opt_state, emas, state.key), metrics
