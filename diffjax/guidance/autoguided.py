"""Guidance away from a weaker model, under the same condition, or under none."""

from dataclasses import replace
from typing import Any

from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from diffjax.arguments.checked import checked_arguments
from diffjax.denoising import NetDenoiser, over_nets
from diffjax.errors import UserError
from diffjax.guidance.classifier_free import at_once
from diffjax.guidance.rules import Rule, linear, weighed
from diffjax.guidance.scales import checked
from diffjax.protocols import Denoise
from diffjax.utils.closures import portable


@checked_arguments
def autoguidance(denoise: Denoise, weak: Denoise, scale: Any, *, rule: Rule = linear) -> Partial:
    """(1 - w) weak + w d, both under the same condition (Karras et al. 2024); 1 is neutral.

    `weak` is a worse version of the model, smaller or trained for less long, that errs in the same way: what it has
    more of is taken away. It says what is wrong, not what the condition is, so variety stays.
    """
    return Partial(_apart, portable(weak), portable(denoise), checked("autoguidance", scale), portable(rule))


@checked_arguments
def perturbed_attention(denoise: Denoise, scale: Any, blocks: tuple[int, ...], *, rule: Rule = linear) -> Partial:
    """`autoguidance`, the weak model being the net whose attention in these blocks is the identity (Ahn et al. 2024).

    There every token sees itself alone: what goes is how the parts of a picture fit. w is their 1 + s, so 1 is neutral.
    Nets have the field `perturbed`, a tuple of blocks.
    """
    blocks = tuple(blocks)
    if not blocks or any(not isinstance(block, int) or block < 0 for block in blocks):
        raise UserError(f"perturbed_attention: blocks must be numbers of blocks, 0 the first, got {blocks}")
    scale = checked("perturbed_attention", scale)
    found: list[str] = []

    def perturbed(part: NetDenoiser) -> NetDenoiser:
        if not hasattr(part.net, "perturbed"):
            raise UserError(
                f"perturbed_attention: the net {type(part.net).__name__} has no field `perturbed`, for it has no "
                "attention; use cfg or autoguidance"
            )
        found.append(type(part.net).__name__)
        return replace(part, net=part.net.clone(perturbed=blocks))

    weak = over_nets(denoise, perturbed)
    if not found:
        raise UserError("perturbed_attention: denoise holds no net; give dj.denoiser(noise, net, variables)")
    return Partial(_apart, portable(weak), portable(denoise), scale, portable(rule))


def _apart(weak: Any, denoise: Any, scale: Any, rule: Any, x_t: Array, t: Array, cond: PyTree) -> Array:
    (without,), (given,) = at_once(weak, x_t, t, cond), at_once(denoise, x_t, t, cond)
    return weighed(rule, scale, without, given, x_t, t)
