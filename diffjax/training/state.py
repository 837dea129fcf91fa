"""The state of a run: one tree, and everything in it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Int, Key, PyTree, Shaped

from diffjax.errors import UserError


@struct.dataclass
class State:
    """All that the next step depends on.

    `step` counts the steps that were taken, `position` the batches of the data's endless order that were used or passed
    over, `faults` the steps whose numbers went wrong. `emas` is one moving average of the weights per decay, and `key`
    what all randomness comes from. `halted`: the step after this state went wrong, and nothing moves until the host has
    decided; it is never saved.
    """

    step: Int[Array, ""]
    position: Int[Array, ""]
    faults: Int[Array, ""]
    params: PyTree
    opt_state: PyTree
    emas: dict[str, PyTree]
    key: Key[Array, ""]
    halted: Bool[Array, ""]

    @property
    def ema(self) -> PyTree:
        """The average of the longest decay, as Flax variables."""
        return {"params": self.emas[max(self.emas, key=float)]}


def create(
    key: Key[Array, ""],
    net: Any,
    optimizer: optax.GradientTransformation,
    decays: tuple[float, ...],
    x: Shaped[Array | np.ndarray, "b ..."],
    cond: PyTree,
) -> State:
    """The state at step 0, for examples like those of the batch (x, cond)."""
    if not decays or not all(0 <= decay < 1 for decay in decays):
        raise UserError(f"ema: expected one or more decays in [0, 1), got {decays}")
    level = jnp.zeros((1,) * x.ndim)
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:1], (x, cond))

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        params = net.init(key, one[0], level, one[1])["params"]
        return params, optimizer.init(params)

    init_key, run_key = jax.random.split(key)
    params, opt_state = jax.jit(init)(init_key)
    emas = {str(decay): jax.tree.map(jnp.copy, params) for decay in decays}
    step, position, faults = (jnp.zeros((), jnp.int32) for _ in range(3))  # buffers of their own, to be donated
    return State(step, position, faults, params, opt_state, emas, run_key, jnp.zeros((), bool))


def averaged(emas: dict[str, PyTree], params: PyTree, step: Int[Array, ""]) -> dict[str, PyTree]:
    """Each average moved towards the weights; the decay is min(decay, (1 + n) / (10 + n)), so that it starts short."""

    def move(decay: float, ema: PyTree) -> PyTree:
        keep = jnp.minimum(decay, (1 + step) / (10 + step))
        return jax.tree.map(lambda old, new: keep * old + (1 - keep) * new, ema, params)

    return {decay: move(float(decay), ema) for decay, ema in emas.items()}


def finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of a tree is finite; whole numbers and keys are."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))
