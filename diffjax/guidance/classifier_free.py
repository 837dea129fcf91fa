"""Classifier-free guidance: one net, given two conditions; and the calls in which it is given several."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import has_head, is_causal, repeat_per_example
from diffjax.errors import UserError
from diffjax.guidance.rules import Rule, apply_rule, linear
from diffjax.guidance.scales import validate_scale, weight
from diffjax.protocols import Denoise, Pair
from diffjax.utils.closures import as_pytree
from diffjax.utils.shape_checks import describe_array, require_array


@validate_arguments
def cfg(denoise: Denoise, scale: Any, null: PyTree, *, rule: Rule = linear, calls: int = 1) -> Partial:
    """(1 - w) d(null) + w d(cond), w = `scale` (Ho & Salimans 2022, eq. 6, with w for their 1 + w; 1 is neutral).

    `null` is a condition of the same tree without the batch axis (`net.null_cond`); any other condition in its place is
    a negative prompt, which is led away from. The weights sum to 1, so guiding x0 is guiding eps, v or the score; on
    logits it is the same formula. Other rules than `linear` look at the prediction of x0 as it is. Both halves are one
    call of twice the batch; `calls=2` makes two of the batch, where memory is short. Where a scale that is a function
    of t is 1 for all, `unconditional` is not computed, unless the net remembers its calls (`decode`, `nested`).
    """
    _check(null, "cfg")
    if calls not in (1, 2):
        raise UserError(f"cfg: calls must be 1, of twice the batch, or 2, got {calls}")
    denoise, scale, rule = as_pytree(denoise), validate_scale("cfg", scale), as_pytree(rule)
    if calls == 2:  # a net that remembers (decode) has two memories
        return Partial(_two_calls, denoise, denoise, scale, null, rule)
    of_time = callable(scale) and not is_causal(denoise) and not has_head(denoise)
    return Partial(_skip_neutral if of_time else _one_call, denoise, scale, null, rule)


@validate_arguments
def pairs(denoise: Denoise, null: PyTree) -> Partial:
    """Both predictions of `cfg`, unweighed: `(x_t, t, cond) -> (unconditional, conditional)`, for `momentum`."""
    _check(null, "pairs")
    return Partial(_pair, as_pytree(denoise), null)


def _one_call(denoise: Any, scale: Any, null: PyTree, rule: Any, x_t: Array, t: Array, cond: PyTree) -> Array:
    unconditional, conditional = _pair(denoise, null, x_t, t, cond)
    return apply_rule(rule, scale, unconditional, conditional, x_t, t)


def _skip_neutral(denoise: Any, scale: Any, null: PyTree, rule: Any, x_t: Array, t: Array, cond: PyTree) -> Array:
    """The same, from one call of the batch itself where guidance is neutral everywhere."""
    w = weight(scale, jnp.broadcast_to(t, (len(x_t), *t.shape[1:])), t.ndim)

    def neutral() -> Array:
        conditional = batched_predictions(denoise, x_t, t, cond)[0]
        return apply_rule(rule, w, conditional, conditional, x_t, t)

    return jax.lax.cond(jnp.all(w == 1), neutral, lambda: _one_call(denoise, w, null, rule, x_t, t, cond))


def _two_calls(
    first: Any, second: Any, scale: Any, null: PyTree, rule: Any, x_t: Array, t: Array, cond: PyTree
) -> Array:
    (unconditional,), (conditional,) = (
        batched_predictions(first, x_t, t, broadcast_null(null, cond, "cfg")),
        batched_predictions(second, x_t, t, cond),
    )
    return apply_rule(rule, scale, unconditional, conditional, x_t, t)


def _pair(denoise: Any, null: PyTree, x_t: Array, t: Array, cond: PyTree) -> Pair:
    return Pair(*batched_predictions(denoise, x_t, t, broadcast_null(null, cond, "cfg"), cond))


def batched_predictions(denoise: Any, x_t: Array, t: Array, *conds: PyTree) -> list[Array]:
    """The predictions under each condition, in float32 at least, from one call of the denoiser.

    The copies of an example are side by side, and so on one device; what the denoiser knows of single examples (ranks,
    scales) is copied with them. Raises UserError for what is no prediction of all copies.
    """
    count = len(conds)
    t = jnp.broadcast_to(t, (len(x_t), *t.shape[1:]))
    copies = (jnp.repeat(array, count, axis=0) for array in (x_t, t))
    pred = require_array(
        "the denoiser's prediction", repeat_per_example(denoise, count)(*copies, jax.tree.map(_interleave, *conds))
    )
    if pred.shape[: x_t.ndim] != (count * len(x_t), *x_t.shape[1:]) or not jnp.issubdtype(pred.dtype, jnp.floating):
        raise UserError(
            f"guidance: for x of shape {(count * len(x_t), *x_t.shape[1:])} the denoiser returned "
            f"{describe_array(pred)}; expected as many floating-point numbers, or logits of each token"
        )
    pred = pred.astype(jnp.promote_types(pred.dtype, jnp.float32))
    return [pred[i::count] for i in range(count)]


def broadcast_null(null: PyTree, cond: PyTree, name: str) -> PyTree:
    """The null condition, for every example of the batch."""
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


def _check(null: PyTree, name: str) -> None:
    if null is None:
        raise UserError(f"{name}: guidance needs a conditional model, and this one has no null condition")
