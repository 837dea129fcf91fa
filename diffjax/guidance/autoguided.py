"""Guidance away from a weaker model, under the same condition, or under none."""

from dataclasses import replace
from typing import Any

from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import NetDenoiser, map_nets
from diffjax.errors import UserError
from diffjax.guidance.classifier_free import batched_predictions
from diffjax.guidance.rules import Rule, apply_rule, linear
from diffjax.guidance.scales import validate_scale
from diffjax.protocols import Denoise
from diffjax.traits import net_traits
from diffjax.utils.closures import as_pytree


@validate_arguments
def autoguidance(denoise: Denoise, weak: Denoise, scale: Any, *, rule: Rule = linear) -> Partial:
    """(1 - w) weak + w d, both under the same condition (Karras et al. 2024); 1 is neutral.

    `weak` is a worse version of the model, smaller or trained for less long, that errs in the same way: what it has
    more of is taken away. It says what is wrong, not what the condition is, so variety stays.
    """
    return Partial(
        _autoguided, as_pytree(weak), as_pytree(denoise), validate_scale("autoguidance", scale), as_pytree(rule)
    )


@validate_arguments
def perturbed_attention(denoise: Denoise, scale: Any, blocks: tuple[int, ...], *, rule: Rule = linear) -> Partial:
    """`autoguidance`, the weak model being the net whose attention in these blocks is the identity (Ahn et al. 2024).

    There every token sees itself alone: what goes is how the parts of a picture fit. w is their 1 + s, so 1 is neutral.
    Nets have the field `perturbed`, a tuple of blocks.
    """
    blocks = tuple(blocks)
    if not blocks or any(not isinstance(block, int) or block < 0 for block in blocks):
        raise UserError(f"perturbed_attention: blocks must be numbers of blocks, 0 the first, got {blocks}")
    scale = validate_scale("perturbed_attention", scale)
    net_names: list[str] = []

    def perturbed(part: NetDenoiser) -> NetDenoiser:
        if not net_traits(part.net).perturbable:
            raise UserError(
                f"perturbed_attention: the net {type(part.net).__name__} has no field `perturbed` (dj.NetTraits("
                "perturbable=True)), as one without attention; use cfg or autoguidance"
            )
        net_names.append(type(part.net).__name__)
        return replace(part, net=part.net.clone(perturbed=blocks))

    weak = map_nets(denoise, perturbed)
    if not net_names:
        raise UserError("perturbed_attention: denoise holds no net; give dj.denoiser(noise, net, variables)")
    return Partial(_autoguided, as_pytree(weak), as_pytree(denoise), scale, as_pytree(rule))


def _autoguided(weak: Any, denoise: Any, scale: Any, rule: Any, x_t: Array, t: Array, cond: PyTree) -> Array:
    (unconditional,), (conditional,) = (
        batched_predictions(weak, x_t, t, cond),
        batched_predictions(denoise, x_t, t, cond),
    )
    return apply_rule(rule, scale, unconditional, conditional, x_t, t)
