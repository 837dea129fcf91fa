"""The loss of examples that are not trained on, the same ones with the same noise each time; also by noise level."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from diffjax.loss.simple import Loss
from diffjax.protocols import Keys
from diffjax.training.step import Spied, losses

NAME = "validation_loss"
BANDS = 8  # of noise levels, with as many examples in each


def held_out(
    net: Any, loss: Loss, keys: Keys, x: Any, cond: PyTree, batch: int = 512
) -> Callable[[PyTree], dict[str, float]]:
    """`params -> validation_loss`, the mean over these examples, without dropout of classes or units, on one device.

    And beside it `validation_loss/0.123`, of each eighth of the examples by their noise level (its mean over an
    example's positions), named by that band's mean level: the numbers are at hand, and cost nothing more. Examples are
    taken `batch` at a time, those that do not fill a batch left out, unless there is only one.
    """
    count = len(keys)
    batch = min(batch, count)
    starts = range(0, count - batch + 1, batch)

    def silent(variables: PyTree, x: Any, level: Any, cond: PyTree, keys: Any, *more: Any) -> Any:
        return net.apply(variables, x, level, cond, None, *more)

    @jax.jit
    def each(params: PyTree, keys: Keys, x: Any, cond: PyTree) -> tuple[Array, Array]:
        spied = Spied(SimpleNamespace(apply=silent))
        found = losses(spied, loss, params, keys, x, cond)
        return found, jnp.mean(spied.seen(), axis=1)

    def measured(params: PyTree) -> dict[str, float]:
        here = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, params)
        parts = [jax.tree.map(lambda leaf, a=a: leaf[a : a + batch], (keys, x, cond)) for a in starts]
        found, levels = (np.concatenate(all) for all in zip(*[each(here, *part) for part in parts], strict=True))
        return {NAME: float(found.mean(dtype=np.float64)), **by_level(found, levels)}

    return measured


def by_level(found: Float[np.ndarray, " n"], levels: Float[np.ndarray, " n"]) -> dict[str, float]:
    """The mean loss of each band of levels, by its name; nothing where all levels are one, as a causal net's are."""
    if levels.min() == levels.max():
        return {}
    bands = np.array_split(np.argsort(levels, kind="stable"), BANDS)
    return {
        f"{NAME}/{levels[rows].mean():.3f}": float(found[rows].mean(dtype=np.float64)) for rows in bands if len(rows)
    }
