"""Guidance maps a denoiser to a denoiser: a pair of predictions, a scale and a rule.

The **pair** `(unconditional, conditional)` comes from two conditions (`cfg`, and `several` for a condition of several
parts) or from two models (`autoguidance`, `perturbed_attention`). The **scale** w is a number, an array, or a function
`t -> w` (`interval`, `plus_plus`); 1 is the conditional prediction, 0 the unconditional one. The **rule**
`(unconditional, conditional, w, x_t, t) -> prediction` combines them: `linear`, or one for large scales (`rescaled`,
`thresholded`, `apg`, `zero_star`).

A number is one scale for all examples, [b] one for each, and an array that broadcasts against t one for each position.
Guided denoisers are pytrees: their arrays are arguments of `jit`, so new values compile nothing.
"""

from diffjax.guidance.autoguided import autoguidance, perturbed_attention
from diffjax.guidance.classifier_free import batched_predictions, cfg, pairs
from diffjax.guidance.momentum_state import momentum
from diffjax.guidance.multi_condition import composed, several
from diffjax.guidance.rules import apg, linear, rescaled, thresholded, zero_star
from diffjax.guidance.scales import interval, plus_plus

__all__ = [
    "apg",
    "autoguidance",
    "batched_predictions",
    "cfg",
    "composed",
    "interval",
    "linear",
    "momentum",
    "pairs",
    "perturbed_attention",
    "plus_plus",
    "rescaled",
    "several",
    "thresholded",
    "zero_star",
]
