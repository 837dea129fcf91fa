"""The state of a run: one tree, and everything in it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Int, Key, PyTree, Shaped

from diffjax.errors import UserError


@struct.dataclass
class State:
    """step, weights, optimizer, one moving average of the weights per decay, and the key all randomness comes from."""

    step: Int[Array, ""]
    params: PyTree
    opt_state: PyTree
    emas: dict[str, PyTree]
    key: Key[Array, ""]

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
    return State(jnp.zeros((), jnp.int32), params, opt_state, emas, run_key)


def averaged(emas: dict[str, PyTree], params: PyTree, step: Int[Array, ""]) -> dict[str, PyTree]:
    """Each average moved towards the weights; the decay is min(decay, (1 + n) / (10 + n)), so that it starts short."""

    def move(decay: float, ema: PyTree) -> PyTree:
        keep = jnp.minimum(decay, (1 + step) / (10 + step))
        return jax.tree.map(lambda old, new: keep * old + (1 - keep) * new, ema, params)

    return {decay: move(float(decay), ema) for decay, ema in emas.items()}
