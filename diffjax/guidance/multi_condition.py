"""Guidance with a scale for each of K parts of a condition: K + 1 predictions from one call."""

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array

from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.guidance.classifier_free import batched_predictions, broadcast_null
from diffjax.guidance.scales import Scale, validate_scale, weight
from diffjax.protocols import Cond, Denoise, Sample
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import bind
from diffjax.utils.values import describe_value


@validate_arguments
def several(denoise: Denoise, scales: Mapping[str, object], null: Cond) -> Partial:
    """d_0 + Σ_k w_k (d_k - d_(k-1)), d_k under the first k parts of `scales` (Brooks et al. 2023, eq. 3).

    The condition is a dict of parts, `null` the null condition without the batch axis. Parts without a scale are in
    every prediction. With all scales 1 it is the conditional prediction, bit for bit; with all 0 it is d_0. Raises
    UserError where the condition has no such part.
    """
    return _build(_chained, "several", denoise, scales, null)


@validate_arguments
def composed(denoise: Denoise, scales: Mapping[str, object], null: Cond) -> Partial:
    """d(null) + Σ_k w_k (d(part k alone) - d(null)) (Liu et al. 2022, conjunction), in any order of the parts.

    Scales of 1 give p(x) Π_k p(part k | x), which is p(x | all parts) only where the parts describe independent
    numbers. Otherwise as `several`.
    """
    return _build(_composed, "composed", denoise, scales, null)


def _build(
    predict: Callable[..., Array], name: str, denoise: Denoise, scales: Mapping[str, object], null: Cond
) -> Partial:
    if not isinstance(null, Mapping):
        raise UserError(f"{name}: null must be a dict of parts, got {type(null).__name__}; use cfg")
    if not isinstance(scales, Mapping):
        raise UserError(f"{name}: scales must be a dict of a scale for each part, got {describe_value(scales)}")
    if not scales:
        raise UserError(f"{name}: scales must have one part or more of {', '.join(map(str, null))}")
    for part in scales:
        if part not in null:
            there = ", ".join(map(str, null))
            raise UserError(f"{name}: scales name {part!r}, and there is no such part; the condition has {there}")
    weights = tuple(validate_scale(f"{name}: {part}", scale) for part, scale in scales.items())
    return Partial(bind(predict, tuple(scales)), as_pytree(denoise), weights, dict(null))


def _chained(
    names: tuple[str, ...], denoise: Denoise, scales: tuple[Scale, ...], null: Cond, x_t: Sample, t: Array, cond: Cond
) -> Array:
    """Predictions under none, the first, the first two, … of these parts, weighted by differences of the scales."""
    nothing = _null_parts(null, cond, "several")
    conds = [{**cond, **{name: nothing[name] for name in names[k:]}} for k in range(len(names) + 1)]
    preds = batched_predictions(denoise, x_t, t, *conds)
    falling = [1, *_weights(scales, x_t, t, preds[0].ndim), 0]
    return _sum([w - v for w, v in pairwise(falling)], preds)


def _composed(
    names: tuple[str, ...], denoise: Denoise, scales: tuple[Scale, ...], null: Cond, x_t: Sample, t: Array, cond: Cond
) -> Array:
    """Predictions under none and each of these parts alone, weighted by the scales."""
    nothing = _null_parts(null, cond, "composed")
    without = {**cond, **{name: nothing[name] for name in names}}
    preds = batched_predictions(denoise, x_t, t, without, *({**without, name: cond[name]} for name in names))
    weights = _weights(scales, x_t, t, preds[0].ndim)
    return _sum([1 - sum(weights), *weights], preds)


def _null_parts(null: Cond, cond: Cond, name: str) -> Cond:
    if cond is not None and not isinstance(cond, Mapping):
        raise UserError(f"{name}: cond must be a dict of parts, as null is, got {type(cond).__name__}")
    return broadcast_null(null, cond, name)


def _weights(scales: tuple[Scale, ...], x_t: Sample, t: Array, axes: int) -> list[ArrayLike]:
    t = jnp.broadcast_to(t, (len(x_t), *t.shape[1:]))
    return [weight(scale, t, axes) for scale in scales]


def _sum(weights: Sequence[ArrayLike], preds: list[Array]) -> Array:
    """Σ w_k d_k, with weights that sum to 1, as d + Σ w_k (d_k - d) for the last prediction d: exact if all are equal.

    For logits, a token is impossible if it is under a weight above 0. Where it is impossible only under other weights,
    the last prediction's logit is used, as in `linear`.
    """
    last = preds[-1]
    impossible = [jnp.greater(w, 0) & jnp.isneginf(d) for w, d in zip(weights, preds, strict=True)]
    base = jnp.where(jnp.isneginf(last), 0, last)
    total = base
    for w, pred in zip(weights[:-1], preds[:-1], strict=True):
        total = total + w * (jnp.where(jnp.isneginf(pred), base, pred) - base)
    return jnp.where(functools.reduce(jnp.logical_or, impossible), -jnp.inf, total)
