"""Conditions of several parts, each with a scale of its own: `(K + 1)` predictions from one call."""

import functools
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.guidance.classifier_free import batched_predictions, broadcast_null
from diffjax.guidance.scales import validate_scale, weight
from diffjax.protocols import Denoise
from diffjax.utils.closures import as_pytree
from diffjax.utils.kinds import describe_value


@validate_arguments
def several(denoise: Denoise, scales: Mapping[str, Any], null: PyTree) -> Partial:
    """d_0 + Σ_k w_k (d_k - d_(k-1)), d_k being given the first k parts of `scales` (Brooks et al. 2023, eq. 3).

    The condition is a dict of parts, `null` one that says nothing, without the batch axis. In the order of the mapping
    each part is weighed given those before it. All scales 1 are the model given all parts at once, bit for bit, so 1 is
    neutral; all 0 are none of them. Parts without a scale are given in every prediction.
    """
    return _build(_chained, "several", denoise, scales, null)


@validate_arguments
def composed(denoise: Denoise, scales: Mapping[str, Any], null: PyTree) -> Partial:
    """d(null) + Σ_k w_k (d(part k alone) - d(null)), all parts alike (Liu et al. 2022, conjunction).

    Scales of 1 are not the model given all parts. They lead to p(x) Π_k p(part k | x), each part's evidence by itself,
    and are p(x | all parts) exactly where each part speaks of numbers of its own, that are independent of the others'.
    Otherwise as `several`, and in the order of the mapping nothing changes.
    """
    return _build(_composed, "composed", denoise, scales, null)


def _build(make: Callable, name: str, denoise: Denoise, scales: Mapping[str, Any], null: PyTree) -> Partial:
    if not isinstance(null, Mapping):
        raise UserError(f"{name}: null must be a dict of parts that say nothing, got {type(null).__name__}; use cfg")
    if not isinstance(scales, Mapping):
        raise UserError(f"{name}: scales must be a dict of a scale for each part, got {describe_value(scales)}")
    if not scales:
        raise UserError(f"{name}: scales must have one part or more of {', '.join(map(str, null))}")
    for part in scales:
        if part not in null:
            there = ", ".join(map(str, null))
            raise UserError(f"{name}: scales name {part!r}, and there is no such part; the condition has {there}")
    weights = tuple(validate_scale(f"{name}: {part}", scale) for part, scale in scales.items())
    return Partial(make(tuple(scales)), as_pytree(denoise), weights, dict(null))


@functools.cache
def _chained(names: tuple[str, ...]) -> Callable:
    """Predictions given none, the first, the first two, … of these parts, weighed by how the scales fall."""

    def denoised(denoise: Any, scales: tuple, null: dict, x_t: Array, t: Array, cond: Any) -> Array:
        nothing = _null_parts(null, cond, "several")
        conds = [{**cond, **{name: nothing[name] for name in names[k:]}} for k in range(len(names) + 1)]
        preds = batched_predictions(denoise, x_t, t, *conds)
        falling = [1, *_weights(scales, x_t, t, preds[0].ndim), 0]
        return _sum([w - v for w, v in pairwise(falling)], preds)

    return denoised


@functools.cache
def _composed(names: tuple[str, ...]) -> Callable:
    """Predictions given none and each of these parts alone, weighed by the scales."""

    def denoised(denoise: Any, scales: tuple, null: dict, x_t: Array, t: Array, cond: Any) -> Array:
        nothing = _null_parts(null, cond, "composed")
        without = {**cond, **{name: nothing[name] for name in names}}
        preds = batched_predictions(denoise, x_t, t, without, *({**without, name: cond[name]} for name in names))
        weights = _weights(scales, x_t, t, preds[0].ndim)
        return _sum([1 - sum(weights), *weights], preds)

    return denoised


def _null_parts(null: dict, cond: Any, name: str) -> dict:
    if cond is not None and not isinstance(cond, Mapping):
        raise UserError(f"{name}: cond must be a dict of parts, as null is, got {type(cond).__name__}")
    return broadcast_null(null, cond, name)


def _weights(scales: tuple, x_t: Array, t: Array, axes: int) -> list[Any]:
    """Each part's scale at t."""
    t = jnp.broadcast_to(t, (len(x_t), *t.shape[1:]))
    return [weight(scale, t, axes) for scale in scales]


def _sum(weights: list[Any], preds: list[Array]) -> Array:
    """Σ w_k d_k, of weights that sum to 1, as d + Σ w_k (d_k - d) with the last prediction for d: at equal ones it is
    theirs, bit for bit.

    Of logits, a token is impossible where one is that has a weight above 0. One that is impossible under weights of 0
    and less alone counts as the last has it, as under `linear`.
    """
    last = preds[-1]
    never = functools.reduce(jnp.logical_or, [(w > 0) & jnp.isneginf(d) for w, d in zip(weights, preds, strict=True)])
    base = jnp.where(jnp.isneginf(last), 0, last)
    total = base
    for w, pred in zip(weights[:-1], preds[:-1], strict=True):
        total = total + w * (jnp.where(jnp.isneginf(pred), base, pred) - base)
    return jnp.where(never, -jnp.inf, total)
