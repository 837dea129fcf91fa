"""The loss of examples that are not trained on, the same ones with the same noise each time; also by noise level."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from diffjax.loss.protocol import Loss
from diffjax.protocols import Keys
from diffjax.training.step import LevelRecorder, losses

NAME = "validation_loss"
BANDS = 8  # of noise levels, with as many examples in each


def validation_function(
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

    def silent(variables: PyTree, x: Any, level: Any, cond: PyTree, keys: Any, *kwargs: Any) -> Any:
        return net.apply(variables, x, level, cond, None, *kwargs)

    @jax.jit
    def part_losses(params: PyTree, keys: Keys, x: Any, cond: PyTree) -> tuple[Array, Array]:
        recorder = LevelRecorder(SimpleNamespace(apply=silent))
        example_losses = losses(recorder, loss, params, keys, x, cond)
        return example_losses, jnp.mean(recorder.recorded_levels(), axis=1)

    def validation_loss(params: PyTree) -> dict[str, float]:
        host_params = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, params)
        parts = [jax.tree.map(lambda leaf, a=a: leaf[a : a + batch], (keys, x, cond)) for a in starts]
        example_losses, levels = (
            np.concatenate(all) for all in zip(*[part_losses(host_params, *part) for part in parts], strict=True)
        )
        return {NAME: float(example_losses.mean(dtype=np.float64)), **losses_by_level(example_losses, levels)}

    return validation_loss


def losses_by_level(example_losses: Float[np.ndarray, " n"], levels: Float[np.ndarray, " n"]) -> dict[str, float]:
    """The mean loss of each band of levels, by its name; nothing where all levels are one, as a causal net's are."""
    if levels.min() == levels.max():
        return {}
    bands = np.array_split(np.argsort(levels, kind="stable"), BANDS)
    return {
        f"{NAME}/{levels[rows].mean():.3f}": float(example_losses[rows].mean(dtype=np.float64))
        for rows in bands
        if len(rows)
    }
