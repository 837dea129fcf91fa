"""The loss of held-out examples, the same ones with the same noise each time; also by noise level."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from diffjax.loss.protocol import Loss, Losses
from diffjax.protocols import Cond, Keys, Sample
from diffjax.training.step import HasApply, LevelRecorder, losses

NAME = "validation_loss"
BANDS = 8  # of noise levels, with as many examples in each


def validation_function(
    net: HasApply, loss: Loss, keys: Keys, x: Shaped[Array | np.ndarray, "b ..."], cond: Cond, batch: int = 512
) -> Callable[[PyTree], dict[str, float]]:
    """`params -> validation_loss`, the mean over these examples without dropout, on one device.

    Also `validation_loss/0.123`, the mean over each eighth of the examples by their noise level (averaged over
    positions), named by that band's mean level. Examples are taken `batch` at a time; those that do not fill a batch
    are left out, unless there is only one batch.
    """
    count = len(keys)
    batch = min(batch, count)
    starts = range(0, count - batch + 1, batch)

    def without_dropout(
        variables: PyTree, x: Array, level: Array, cond: Cond, keys: Keys | None, *args: PyTree
    ) -> Array:
        return net.apply(variables, x, level, cond, None, *args)

    @jax.jit
    def batch_losses(params: PyTree, keys: Keys, x: Sample, cond: Cond) -> tuple[Losses, Array]:
        recorder = LevelRecorder(without_dropout)
        example_losses = losses(recorder, loss, params, keys, x, cond)
        return example_losses, jnp.mean(recorder.recorded_levels(), axis=1)

    def validation_loss(params: PyTree) -> dict[str, float]:
        params = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, params)
        batches = [jax.tree.map(lambda leaf, a=a: leaf[a : a + batch], (keys, x, cond)) for a in starts]
        parts = [batch_losses(params, *part) for part in batches]
        example_losses = np.concatenate([part for part, _ in parts])
        levels = np.concatenate([part for _, part in parts])
        return {NAME: float(example_losses.mean(dtype=np.float64)), **losses_by_level(example_losses, levels)}

    return validation_loss


def losses_by_level(example_losses: Float[np.ndarray, " n"], levels: Float[np.ndarray, " n"]) -> dict[str, float]:
    """The mean loss of each band of levels, by its name; empty where all levels are equal, as a causal net's are."""
    if levels.min() == levels.max():
        return {}
    bands = np.array_split(np.argsort(levels, kind="stable"), BANDS)
    return {
        f"{NAME}/{levels[rows].mean():.3f}": float(example_losses[rows].mean(dtype=np.float64))
        for rows in bands
        if len(rows)
    }
