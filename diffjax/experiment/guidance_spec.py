"""From the settings of guidance, names with their arguments, to a denoiser under it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Float, PyTree

from diffjax import guidance
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.protocols import Denoise, GaussianNoise, Noise

NO_GUIDANCE: Mapping[str, Any] = {"guidance": 1.0, "guidance_when": "", "guidance_rule": "", "guidance_form": ""}


class GuidedDenoiser(NamedTuple):
    """A denoiser, and how many predictions of the net one of it takes."""

    denoise: Denoise
    evaluations: int


def build_guidance(
    denoise: Denoise, noise: Noise, grid: Float[Array, " stops"], null: PyTree, settings: Mapping[str, Any]
) -> GuidedDenoiser:
    """The denoiser under guidance; itself at scale 1 where nothing more is asked, which is none and costs nothing.

    `settings` are those of `NONE`: the scale; when it is so, as `interval(low=0.2, high=0.8)` or `plus_plus()`; the
    rule, as `rescaled(phi=0.7)`; and the form, as `cfg`, `several(scales={'text': 3.0})`, or
    `perturbed_attention(blocks=(1,))`. `null` is the condition that says nothing, or a negative prompt.

    Raises UserError for settings that are none of guidance, or do not serve the model.
    """
    arguments = {**NO_GUIDANCE, **{name: settings[name] for name in NO_GUIDANCE.keys() & settings.keys()}}
    scale, when, rule, form = arguments.values()
    form = form or "cfg"
    takes = specs.parameter_names(guidance, form, "guidance_form")
    if not {"denoise", "weak"} & takes or "weak" in takes:
        problem = "needs a second denoiser, so call it from Python" if "weak" in takes else "is none"
        raise UserError(f"guidance_form: {form} {problem}; choose cfg, several, composed or perturbed_attention")
    if "scale" in takes and scale == 1 and not when:
        return GuidedDenoiser(denoise, 1)
    if "null" in takes and null is None:
        raise UserError(f"guidance: {scale:g} needs a conditional model, and this one has no classes; leave it at 1")
    if "scale" not in takes and (scale != 1 or when):
        raise UserError(f"guidance: {form} has scales of its own; leave guidance at 1 and guidance_when empty")
    if rule and "rule" not in takes:
        raise UserError(f"guidance_rule: {form} has none, got {rule!r}; leave it empty, or use cfg")
    has = {
        "scale": _parse_interval(when, scale, noise, grid),
        "null": null,
        **({"rule": _parse_rule(rule, noise)} if rule else {}),
    }
    guided = specs.call_with(
        guidance, form, "guidance_form", denoise, **{name: value for name, value in has.items() if name in takes}
    )
    scales = specs.keyword_arguments(guidance, form, "guidance_form").get("scales")
    return GuidedDenoiser(guided, 2 if scales is None else len(scales) + 1)


def _parse_interval(text: str, scale: float, noise: Noise, grid: Float[Array, " stops"]) -> Any:
    """The scale, or the function of the level that the text makes of it."""
    if not text:
        return scale
    takes = specs.parameter_names(guidance, text, "guidance_when")
    has = {"scale": scale, "strength": scale, "noise": noise, "grid": grid}
    if "denoise" in takes or not {"scale", "strength"} & takes:
        raise UserError(f"guidance_when: {text} says nothing of when; choose interval(low=…, high=…) or plus_plus()")
    return specs.instantiate(guidance, text, "guidance_when", **{name: has[name] for name in has.keys() & takes})


def _parse_rule(text: str, noise: Noise) -> Any:
    """The rule of that slot; only numbers have other rules than the linear one."""
    takes = specs.parameter_names(guidance, text, "guidance_rule")
    if {"denoise", "scale", "strength"} & takes:
        raise UserError(f"guidance_rule: {text} is none; choose rescaled(), thresholded(), apg() or zero_star()")
    if not isinstance(noise, GaussianNoise):
        raise UserError(f"guidance_rule: {text} is for numbers, and this model has tokens; leave it empty")
    return specs.instantiate(guidance, text, "guidance_rule", **({"noise": noise} if "noise" in takes else {}))
