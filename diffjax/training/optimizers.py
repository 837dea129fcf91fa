"""Optimizers."""

import jax
import optax
from jaxtyping import PyTree

from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.tree_paths import leaf_name

__all__ = ["adamw"]

NOT_DECAYED = ("bias", "scale")  # whatever their axes


@memoize_by_arguments
def adamw(
    steps: int,
    learning_rate: float = 2e-3,
    warmup_steps: int = 100,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
    beta2: float = 0.99,
) -> optax.GradientTransformation:
    """AdamW with gradient clipping, linear warm-up and cosine decay to 1 % of the learning rate over `steps`.

    Weight decay is of matrices alone, not of biases and scales, whatever their axes. The first step already has a
    fraction of the learning rate.
    """
    warmup = min(warmup_steps, max(steps // 2, 1))
    rate = optax.warmup_cosine_decay_schedule(
        learning_rate / (warmup + 1), learning_rate, warmup, max(steps, 2), learning_rate / 100
    )

    def matrices(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf.ndim > 1 and leaf_name(path).rpartition("/")[2] not in NOT_DECAYED, params
        )

    return optax.chain(
        optax.clip_by_global_norm(clip_norm), optax.adamw(rate, b2=beta2, weight_decay=weight_decay, mask=matrices)
    )
