"""Condition dropout, which trains one net both with a condition and unconditionally."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from diffjax.errors import UserError
from diffjax.loss.protocol import Apply, Loss, Losses
from diffjax.protocols import Keys, Sample
from diffjax.utils.prng import KeyUse, fold


def drop_cond(loss: Loss, null: PyTree, rate: float, part_rates: Mapping[str, float] | None = None) -> Loss:
    """The loss with each example's condition replaced by `null` at this rate (Ho & Salimans 2022, algorithm 1).

    Each part of a condition of parts is also replaced by its own null at its rate in `part_rates`, independently.
    Raises UserError for rates outside [0, 1].
    """
    for name, share in {"rate": rate, **(part_rates or {})}.items():
        if not 0 <= share <= 1:
            raise UserError(f"drop_cond: {name} must be in [0, 1], got {share}")

    def replace_where(drop: Bool[Array, " b"], values: PyTree, null_values: PyTree) -> PyTree:
        def replace(leaf: Array, none: Array) -> Array:
            return jnp.where(drop.reshape((-1,) + (1,) * (leaf.ndim - 1)), none[None], leaf)

        return jax.tree.map(replace, values, null_values)

    def draw_mask(keys: Keys, share: float) -> Bool[Array, " b"]:
        return jax.vmap(lambda key: jax.random.bernoulli(key, share))(keys)

    def dropout_loss(keys: Keys, apply: Apply, x0: Sample, cond: PyTree) -> Losses:
        root = fold(keys, KeyUse.CONDITION_DROPOUT)
        drop_all = draw_mask(root, rate)
        if not isinstance(cond, dict):
            return loss(keys, apply, x0, replace_where(drop_all, cond, null))
        rates = ((name, (part_rates or {}).get(name, 0.0)) for name in sorted(cond))
        drops = {name: drop_all | draw_mask(fold(root, i), share) for i, (name, share) in enumerate(rates)}
        return loss(keys, apply, x0, {name: replace_where(drops[name], cond[name], null[name]) for name in cond})

    return dropout_loss
