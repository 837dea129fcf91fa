"""Optimizers."""

from functools import partial

import jax
import optax
from jaxtyping import Array, PyTree

from diffjax.training.joint_leaves import is_matrix, join, map_parts, split
from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.tree_paths import leaf_name

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
    """AdamW with gradient clipping, linear warm-up and cosine decay to 1 % of the learning rate over `steps`.

    Weight decay is of matrices alone, not of biases and scales, whatever their axes. The first step already has a
    fraction of the learning rate.
    """
    warmup = min(warmup_steps, max(steps // 2, 1))
    rate = optax.warmup_cosine_decay_schedule(
        learning_rate / (warmup + 1), learning_rate, warmup, max(steps, 2), learning_rate / 100
    )

    def matrices(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(lambda path, leaf: is_matrix(leaf_name(path), leaf), params)

    return _joined(
        optax.chain(
            optax.clip_by_global_norm(clip_norm), optax.adamw(rate, b2=beta2, weight_decay=weight_decay, mask=matrices)
        )
    )


def _joined(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer of single numbers and norms, which updates the small leaves as vectors; its state keeps its form."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        joint_params = join(params)
        joint_state = map_parts(partial(join, like=params), params, state, elsewhere=_unchanged)
        joint_updates: PyTree
        joint_updates, joint_state = optimizer.update(join(updates, params), joint_state, joint_params)
        split_like_params = partial(split, like=params)
        state = map_parts(split_like_params, joint_params, joint_state, elsewhere=_unchanged)
        return split_like_params(joint_updates), state

    return optax.GradientTransformation(optimizer.init, update)


def _unchanged(leaf: Array) -> Array:
    return leaf
