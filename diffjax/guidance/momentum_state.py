"""Guidance with momentum. It depends on earlier steps, so it wraps a step rule and not a denoiser."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from diffjax.errors import UserError
from diffjax.guidance.rules import Rule, apply_rule, linear
from diffjax.guidance.scales import is_concrete, validate_scale
from diffjax.protocols import GaussianNoise, Keys, Level, Pair, Sample, Step, TokenNoise
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import memoize_by_arguments


@memoize_by_arguments
def momentum(step: Step, scale: object, beta: float = -0.5, rule: Rule = linear) -> Step:
    """`step` for a denoiser of `pairs`, guided with momentum: D = conditional - unconditional + beta D_before.

    (Sadat et al. 2024, algorithm 1, with `apg` and beta from -0.75 to -0.5, "reverse momentum".) The rule is applied to
    conditional - D in place of `unconditional`. D is in the step's carry and starts at 0; beta=0 is `cfg` with this
    rule. Raises UserError for a step of several evaluations. A hook is called with the pair.
    """
    valid = validate_scale("momentum", scale)
    rule = as_pytree(rule)
    _check_step(step)
    if is_concrete(beta) and not -1 < beta < 1:
        raise UserError(f"momentum: beta must be in (-1, 1), got {beta}; the paper has -0.5, and 0 is none")

    def update(
        keys: Keys,
        noise: GaussianNoise,
        denoise: Callable[[Array, Array], Pair],
        x: Sample,
        t: Level,
        s: Level,
        carry: tuple[PyTree, Sample],
        *row: PyTree,
    ) -> tuple[Sample, tuple[PyTree, Sample]]:
        inner, before = carry
        differences: list[Array] = []  # of the step's one evaluation

        def guided(x_t: Array, t: Array) -> Array:
            unconditional, conditional = denoise(x_t, t)
            difference = conditional - unconditional + beta * before
            differences.append(difference)
            return apply_rule(rule, valid, conditional - difference, conditional, x_t, t)

        x, inner = step.update(keys, noise, guided, x, t, s, inner, *row)
        return x, (inner, jnp.where(t == s, before, differences[0]))

    return Step(
        lambda x: (step.init(x), jnp.zeros_like(x)),
        update,
        evaluations=1,
        per_position=step.per_position,
        stochastic=step.stochastic,
        needs=GaussianNoise,
        plan=step.plan,
        prediction_type=Pair,
    )


def _check_step(step: Step) -> None:
    """Raise UserError for a rule for tokens, or of several evaluations."""
    if step.needs is TokenNoise:
        raise UserError(f"momentum: {step.name} is a rule for tokens; use ddim, dpmpp_2m or posterior")
    if step.evaluations != 1:
        raise UserError(
            f"momentum: {step.name} calls the denoiser {step.evaluations} times a step, and momentum has "
            "one difference a step; use ddim, dpmpp_2m or posterior"
        )
