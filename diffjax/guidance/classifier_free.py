"""Classifier-free guidance: the predictions of one net under two conditions, from one call."""

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import has_head, is_causal, repeat_per_example
from diffjax.errors import UserError
from diffjax.guidance.rules import Rule, apply_rule, linear
from diffjax.guidance.scales import Scale, validate_scale, weight
from diffjax.protocols import Cond, Denoise, Pair, Prediction, Sample
from diffjax.utils.closures import as_pytree
from diffjax.utils.shape_checks import describe_array, require_array


@validate_arguments
def cfg(denoise: Denoise, scale: object, null: Cond, *, rule: Rule = linear, calls: int = 1) -> Partial:
    """(1 - w) d(null) + w d(cond), w = `scale` (Ho & Salimans 2022, eq. 6, with w for their 1 + w; 1 is neutral).

    `null` is a condition of the same tree without the batch axis: the null condition (`net.null_cond`), or a negative
    prompt. The weights sum to 1, so guiding x0 is guiding eps, v or the score; for logits the formula is the same. Both
    predictions are one call of twice the batch, or `calls=2` of the batch, for less memory. Where a scale that is a
    function of t is 1 for the whole batch, d(null) is not computed, unless the net is causal or has a head. Raises
    UserError where there is no null condition.
    """
    _check(null, "cfg")
    if calls not in (1, 2):
        raise UserError(f"cfg: calls must be 1, of twice the batch, or 2, got {calls}")
    denoise = as_pytree(denoise)
    valid = validate_scale("cfg", scale)
    rule = as_pytree(rule)
    if calls == 2:
        return Partial(_two_calls, denoise, valid, null, rule)
    may_skip = callable(valid) and not is_causal(denoise) and not has_head(denoise)
    return Partial(_skip_neutral if may_skip else _one_call, denoise, valid, null, rule)


@validate_arguments
def pairs(denoise: Denoise, null: Cond) -> Partial:
    """Both predictions of `cfg`: `(x_t, t, cond) -> (unconditional, conditional)`, for `momentum`."""
    _check(null, "pairs")
    return Partial(_pair, as_pytree(denoise), null)


def _one_call(denoise: Denoise, scale: Scale, null: Cond, rule: Rule, x_t: Sample, t: Array, cond: Cond) -> PyTree:
    unconditional, conditional = _pair(denoise, null, x_t, t, cond)
    return apply_rule(rule, scale, unconditional, conditional, x_t, t)


def _skip_neutral(denoise: Denoise, scale: Scale, null: Cond, rule: Rule, x_t: Sample, t: Array, cond: Cond) -> PyTree:
    """The same, without the unconditional prediction where guidance is neutral for the whole batch."""
    w = weight(scale, jnp.broadcast_to(t, (len(x_t), *t.shape[1:])), t.ndim)

    def neutral() -> PyTree:
        conditional = batched_predictions(denoise, x_t, t, cond)[0]
        return apply_rule(rule, w, conditional, conditional, x_t, t)

    return jax.lax.cond(jnp.all(w == 1), neutral, lambda: _one_call(denoise, w, null, rule, x_t, t, cond))


def _two_calls(denoise: Denoise, scale: Scale, null: Cond, rule: Rule, x_t: Sample, t: Array, cond: Cond) -> PyTree:
    (unconditional,) = batched_predictions(denoise, x_t, t, broadcast_null(null, cond, "cfg"))
    (conditional,) = batched_predictions(denoise, x_t, t, cond)
    return apply_rule(rule, scale, unconditional, conditional, x_t, t)


def _pair(denoise: Denoise, null: Cond, x_t: Sample, t: Array, cond: Cond) -> Pair:
    return Pair(*batched_predictions(denoise, x_t, t, broadcast_null(null, cond, "cfg"), cond))


def batched_predictions(denoise: Denoise, x_t: Sample, t: Array, *conds: Cond) -> list[PyTree]:
    """The predictions under each condition, in at least float32, from one call of the denoiser.

    The copies of an example stand side by side, and so on one device; values of single examples within the denoiser
    (ranks, scales) are copied with them. Raises UserError unless there is a prediction for every copy.
    """
    count = len(conds)
    t = jnp.broadcast_to(t, (len(x_t), *t.shape[1:]))
    copies = (jnp.repeat(x_t, count, axis=0), jnp.repeat(t, count, axis=0), jax.tree.map(_interleave, *conds))
    pred = repeat_per_example(denoise, count)(*copies)
    if isinstance(pred, Prediction):
        return [jax.tree.map(lambda leaf, i=i: leaf[i::count], pred) for i in range(count)]
    pred = require_array("the denoiser's prediction", pred)
    if pred.shape[: x_t.ndim] != (count * len(x_t), *x_t.shape[1:]) or not jnp.issubdtype(pred.dtype, jnp.floating):
        raise UserError(
            f"guidance: for x of shape {(count * len(x_t), *x_t.shape[1:])} the denoiser returned "
            f"{describe_array(pred)}; expected as many floating-point numbers, or logits of each token"
        )
    pred = pred.astype(jnp.promote_types(pred.dtype, jnp.float32))
    return [pred[i::count] for i in range(count)]


def broadcast_null(null: Cond, cond: Cond, name: str) -> Cond:
    """The null condition for every example of the batch. Raises UserError where its tree is not that of cond."""
    if cond is None:
        raise UserError(f"{name}: guidance needs a condition; give cond=")
    if jax.tree.structure(null) != jax.tree.structure(cond):
        raise UserError(
            f"{name}: null must be a condition like cond without the batch axis (net.null_cond), and cond is "
            f"{jax.tree.structure(cond)}, null {jax.tree.structure(null)}"
        )
    try:
        return jax.tree.map(
            lambda leaf, null_leaf: jnp.broadcast_to(null_leaf, leaf.shape).astype(leaf.dtype), cond, null
        )
    except ValueError as error:
        raise UserError(f"{name}: null must be a condition like cond without the batch axis: {error}") from error


def _interleave(*batches: Array) -> Array:
    return jnp.stack(batches, axis=1).reshape(len(batches) * len(batches[0]), *batches[0].shape[1:])


def _check(null: Cond, name: str) -> None:
    if null is None:
        raise UserError(f"{name}: guidance needs a conditional model, and this one has no null condition")
