"""A condition as a net knows it: what is given of it, and nothing for the rest."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.protocols import Given

__all__ = ["completed", "fitted", "knows_labels"]

LABEL = "label"  # the part that is a class


def completed(null: PyTree, count: int, given: Mapping[str, Any]) -> PyTree:
    """The condition of `count` examples of which these parts are known, a label among them, and no other.

    `null` is the net's own condition that says nothing (`net.null_cond`), without a batch. A value is one of all
    examples, or one for each of them. Raises UserError for a part that the net was not trained on.
    """
    parts = null if isinstance(null, dict) else {} if null is None else {LABEL: null}
    for name in given.keys() - parts.keys():
        told = f"it knows {', '.join(parts)}" if parts else "it knows no condition"
        raise UserError(f"{name}: this model was not trained on it ({told}); leave it out")
    made = {name: _filled(name, nothing, given.get(name), count) for name, nothing in parts.items()}
    return made if isinstance(null, dict) else made.get(LABEL)


def fitted(null: PyTree, cond: PyTree) -> PyTree:
    """Of a condition of data those parts that a net knows. Raises UserError where the data lack one."""
    if null is None:
        return None
    if not isinstance(null, dict):
        return cond[LABEL] if isinstance(cond, dict) else cond
    given = cond if isinstance(cond, dict) else {LABEL: cond}
    for name in null.keys() - {name for name, value in given.items() if value is not None}:
        raise UserError(f"model.conditions: the net is told of {name!r}, and the data have none; add it to data.parts")
    return {name: given[name] for name in null}


def knows_labels(null: PyTree) -> bool:
    """Whether a net whose condition that says nothing is this one knows classes."""
    return LABEL in null if isinstance(null, dict) else null is not None


def _filled(name: str, nothing: Any, value: Any, count: int) -> Any:
    """One part for each example: what is given, or what says nothing."""
    if value is None:
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), nothing)
    null = nothing.value if isinstance(nothing, Given) else nothing
    value = jnp.asarray(value, null.dtype)
    if value.shape not in (null.shape, (count, *null.shape)):
        raise UserError(
            f"{name}: expected one value of shape {null.shape}, or {count} of them, got {value.shape}; fit it first"
        )
    value = jnp.broadcast_to(value, (count, *null.shape))
    return Given(value, jnp.ones(count, bool)) if isinstance(nothing, Given) else value
