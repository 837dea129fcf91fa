"""Guidance by a weaker model under the same condition (autoguidance, perturbed attention)."""

from dataclasses import replace

from jax.tree_util import Partial
from jaxtyping import Array

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import NetDenoiser, map_nets
from diffjax.errors import UserError
from diffjax.guidance.classifier_free import batched_predictions
from diffjax.guidance.rules import Rule, apply_rule, linear
from diffjax.guidance.scales import Scale, validate_scale
from diffjax.protocols import Cond, Denoise, Sample
from diffjax.traits import ClonableNet, net_traits
from diffjax.utils.closures import as_pytree


@validate_arguments
def autoguidance(denoise: Denoise, weak: Denoise, scale: object, *, rule: Rule = linear) -> Partial:
    """(1 - w) weak + w d, both under the same condition (Karras et al. 2024); 1 is neutral.

    `weak` is a worse version of the model, smaller or trained for a shorter time, with the same kind of errors, which
    guidance reduces. It leads away from errors and not from other classes, so variety stays.
    """
    valid = validate_scale("autoguidance", scale)
    return Partial(_autoguided, as_pytree(weak), as_pytree(denoise), valid, as_pytree(rule))


@validate_arguments
def perturbed_attention(denoise: Denoise, scale: object, blocks: tuple[int, ...], *, rule: Rule = linear) -> Partial:
    """`autoguidance` by the same net with identity attention in `blocks`, 0 the first (Ahn et al. 2024).

    There every token attends to itself alone, and the parts of an image fit together less. w is their 1 + s, so 1 is
    neutral. Raises UserError for nets without the field `perturbed`, a tuple of blocks.
    """
    blocks = tuple(blocks)
    if not blocks or any(not isinstance(block, int) or block < 0 for block in blocks):
        raise UserError(f"perturbed_attention: blocks must be numbers of blocks, 0 the first, got {blocks}")
    valid = validate_scale("perturbed_attention", scale)
    net_names: list[str] = []

    def perturbed(part: NetDenoiser) -> NetDenoiser:
        if not isinstance(part.net, ClonableNet) or not net_traits(part.net).perturbable:
            raise UserError(
                f"perturbed_attention: the net {type(part.net).__name__} has no field `perturbed` (dj.NetTraits("
                "perturbable=True)), as one without attention; use cfg or autoguidance"
            )
        net_names.append(type(part.net).__name__)
        return replace(part, net=part.net.clone(perturbed=blocks))

    weak = map_nets(denoise, perturbed)
    if not net_names:
        raise UserError("perturbed_attention: denoise holds no net; give dj.denoiser(noise, net, variables)")
    return Partial(_autoguided, as_pytree(weak), as_pytree(denoise), valid, as_pytree(rule))


def _autoguided(weak: Denoise, denoise: Denoise, scale: Scale, rule: Rule, x_t: Sample, t: Array, cond: Cond) -> Array:
    (weaker,) = batched_predictions(weak, x_t, t, cond)
    (conditional,) = batched_predictions(denoise, x_t, t, cond)
    return apply_rule(rule, scale, weaker, conditional, x_t, t)
