"""From the guidance fields of a sampler's config, names with their arguments, to a denoiser under guidance."""

from typing import NamedTuple

from jaxtyping import Array, Float, PyTree

from diffjax import guidance
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.experiment.config import Sample
from diffjax.guidance.rules import Rule
from diffjax.protocols import Denoise, GaussianNoise, Noise


class GuidedDenoiser(NamedTuple):
    """A denoiser, and how many evaluations of the net one of its predictions takes."""

    denoise: Denoise
    evaluations: int


def build_guidance(
    denoise: Denoise, noise: Noise, grid: Float[Array, " stops"], null: PyTree, sample: Sample
) -> GuidedDenoiser:
    """The denoiser under the guidance of a config; at scale 1, and with nothing else set, the denoiser itself.

    `null` is the null condition, or a negative prompt. Raises UserError, naming the field, for settings that are not
    of guidance, or do not fit the model.
    """
    scale = sample.guidance
    form = sample.guidance_form or "cfg"
    takes = specs.parameter_names(guidance, form, "guidance_form")
    if not {"denoise", "weak"} & takes or "weak" in takes:
        problem = "needs a second denoiser, so call it from Python" if "weak" in takes else "is no guidance method"
        raise UserError(f"guidance_form: {form} {problem}; choose cfg, several, composed or perturbed_attention")
    if "scale" in takes and scale == 1 and not sample.guidance_when:
        return GuidedDenoiser(denoise, 1)
    if "null" in takes and null is None:
        raise UserError(f"guidance: {scale:g} needs a conditional model, and this one has no classes; leave it at 1")
    if "scale" not in takes and (scale != 1 or sample.guidance_when):
        raise UserError(f"guidance: {form} has scales of its own; leave guidance at 1 and guidance_when empty")
    if sample.guidance_rule and "rule" not in takes:
        raise UserError(f"guidance_rule: {form} takes no rule, got {sample.guidance_rule!r}; leave it out, or use cfg")
    offered: dict[str, object] = {"scale": _build_scale(sample.guidance_when, scale, noise, grid), "null": null}
    if sample.guidance_rule:
        offered["rule"] = _build_rule(sample.guidance_rule, noise)
    guided = specs.instantiate(guidance, form, "guidance_form", denoise, offered=offered)
    scales = specs.parse_spec(guidance, form, "guidance_form").kwargs.get("scales")
    return GuidedDenoiser(guided, len(scales) + 1 if isinstance(scales, dict) else 2)


def _build_scale(text: str, scale: float, noise: Noise, grid: Float[Array, " stops"]) -> object:
    """The scale, or a function of the noise level that the text makes of it."""
    if not text:
        return scale
    field = "guidance_when"
    takes = specs.parameter_names(guidance, text, field)
    if "denoise" in takes or not {"scale", "strength"} & takes:
        raise UserError(
            f"{field}: {text} is no function of noise levels; choose interval(low=…, high=…) or plus_plus()"
        )
    offered = {"scale": scale, "strength": scale, "noise": noise, "grid": grid}
    return specs.instantiate(guidance, text, field, offered=offered)


def _build_rule(text: str, noise: Noise) -> Rule:
    """The rule of that text. Raises UserError for tokens, for which there is only the linear one."""
    field = "guidance_rule"
    if {"denoise", "scale", "strength"} & specs.parameter_names(guidance, text, field):
        raise UserError(f"{field}: {text} is no guidance rule; choose rescaled(), thresholded(), apg() or zero_star()")
    if not isinstance(noise, GaussianNoise):
        raise UserError(f"{field}: {text} is for numbers, and this model has tokens; leave it empty")
    return specs.instantiate(guidance, text, field, offered={"noise": noise})
