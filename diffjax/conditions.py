"""Conditions: filling in null parts, and selecting the parts that a net encodes."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.protocols import ConditionPart

__all__ = ["fill_condition", "has_label", "select_parts"]

LABEL = "label"  # the part that is a class


def fill_condition(null: PyTree, count: int, values: Mapping[str, object]) -> PyTree:
    """The condition of `count` examples with these parts, which may include the label; all others are null.

    `null` is `net.null_cond`, without a batch axis. A value is shared by all examples, or one for each. Raises
    UserError for a part that the net was not trained on, and for a value of another shape.
    """
    parts = null if isinstance(null, dict) else {LABEL: null}
    if null is None:
        parts = {}
    for name in values.keys() - parts.keys():
        hint = f"it knows {', '.join(parts)}" if parts else "it knows no condition"
        raise UserError(f"{name}: this model was not trained on it ({hint}); leave it out")
    condition = {name: _fill_part(name, null_part, values.get(name), count) for name, null_part in parts.items()}
    return condition if isinstance(null, dict) else condition.get(LABEL)


def select_parts(null: PyTree, cond: PyTree) -> PyTree:
    """The parts of the data's condition that the net encodes. Raises UserError where the data lack one."""
    if null is None:
        return None
    if not isinstance(null, dict):
        return cond[LABEL] if isinstance(cond, dict) else cond
    parts = cond if isinstance(cond, dict) else {LABEL: cond}
    for name in null.keys() - {name for name, value in parts.items() if value is not None}:
        raise UserError(f"model.conditions: the net encodes {name!r}, which the data lack; add it to data.parts")
    return {name: parts[name] for name in null}


def has_label(null: PyTree) -> bool:
    """Whether a net with this null condition takes labels."""
    return LABEL in null if isinstance(null, dict) else null is not None


def _fill_part(name: str, null_part: PyTree, value: object, count: int) -> PyTree:
    """One part for each example: the value, or the null part."""
    if value is None:
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), null_part)
    null = null_part.value if isinstance(null_part, ConditionPart) else null_part
    value = jnp.asarray(value, null.dtype)
    if value.shape not in (null.shape, (count, *null.shape)):
        raise UserError(
            f"{name}: expected one value of shape {null.shape}, or {count} of them, got {value.shape}; fit it first"
        )
    value = jnp.broadcast_to(value, (count, *null.shape))
    return ConditionPart(value, jnp.ones(count, bool)) if isinstance(null_part, ConditionPart) else value
