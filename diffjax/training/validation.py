"""The loss of examples that are not trained on, the same ones with the same noise each time."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from diffjax.loss import Loss
from diffjax.protocols import Keys
from diffjax.training.step import losses


def held_out(net: Any, loss: Loss, keys: Keys, x: Any, cond: PyTree, batch: int = 512) -> Callable[[PyTree], float]:
    """`params -> mean loss` of these examples, without dropout of classes or units, on one device.

    They are taken `batch` at a time, those that do not fill a batch left out, unless there is only one.
    """
    count = len(keys)
    batch = min(batch, count)
    starts = range(0, count - batch + 1, batch)

    def silent(variables: PyTree, x: Any, level: Any, cond: PyTree, keys: Any, *more: Any) -> Any:
        return net.apply(variables, x, level, cond, None, *more)

    @jax.jit
    def mean(params: PyTree, keys: Keys, x: Any, cond: PyTree) -> Any:
        return jnp.mean(losses(SimpleNamespace(apply=silent), loss, params, keys, x, cond))

    def measured(params: PyTree) -> float:
        here = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, params)
        parts = [jax.tree.map(lambda leaf, a=a: leaf[a : a + batch], (keys, x, cond)) for a in starts]
        return float(jnp.mean(jnp.stack([mean(here, *part) for part in parts])))

    return measured
