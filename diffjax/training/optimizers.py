"""What a gradient does to the weights."""

from typing import Any

import jax
import optax

from diffjax.utils.memo import memoize_by_arguments

__all__ = ["adamw"]


@memoize_by_arguments
def adamw(
    steps: int,
    learning_rate: float = 2e-3,
    warmup_steps: int = 100,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
    beta2: float = 0.99,
) -> optax.GradientTransformation:
    """AdamW with clipped gradients, a linear warm-up and a cosine decay to a hundredth; matrices alone decay.

    The first step has one share of the warm-up, and not none: each step moves the weights.
    """
    warmup = min(warmup_steps, max(steps // 2, 1))
    rate = optax.warmup_cosine_decay_schedule(
        learning_rate / (warmup + 1), learning_rate, warmup, max(steps, 2), learning_rate / 100
    )

    def matrices(params: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(clip_norm), optax.adamw(rate, b2=beta2, weight_decay=weight_decay, mask=matrices)
    )
