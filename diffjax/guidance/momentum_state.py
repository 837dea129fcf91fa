"""Guidance that remembers: what it does depends on the steps before, so it is a step rule around a step rule."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from diffjax.errors import UserError
from diffjax.guidance.rules import Rule, apply_rule, linear
from diffjax.guidance.scales import is_concrete, validate_scale
from diffjax.protocols import GaussianNoise, Pair, Step, TokenNoise
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import memoize_by_arguments


@memoize_by_arguments
def momentum(step: Step, scale: Any, beta: float = -0.5, rule: Rule = linear) -> Step:
    """`step` for a denoiser of `pairs`, guided by a difference that remembers: D = given - without + beta D_before.

    (Sadat et al. 2024, algorithm 1, there with `apg` and beta from -0.75 to -0.5: what was led towards before is led
    towards less.) The rule then sees given - D in the place of `unconditional`. The memory lies in the step's carry,
    and
    starts at 0; beta=0 is `cfg` with this rule. Needs a step of one evaluation; a hook would be given the pair.
    """
    scale, rule = validate_scale("momentum", scale), as_pytree(rule)
    if step.needs is TokenNoise:
        raise UserError(f"momentum: {step.name} is a rule for tokens; use ddim, dpmpp_2m or posterior")
    if step.evaluations != 1:
        raise UserError(
            f"momentum: {step.name} calls the denoiser {step.evaluations} times a step, and what is remembered is one "
            "difference a step; use ddim, dpmpp_2m or posterior"
        )
    if is_concrete(beta) and not -1 < beta < 1:
        raise UserError(f"momentum: beta must be in (-1, 1), got {beta}; the paper has -0.5, and 0 remembers nothing")

    def update(
        keys: Array, noise: GaussianNoise, denoise: Any, x: Array, t: Array, s: Array, carry: Any, *row: Any
    ) -> tuple[Array, Any]:
        inner, before = carry
        differences: list[Array] = []

        def guided(x_t: Array, t: Array) -> Array:
            unconditional, conditional = denoise(x_t, t)
            differences.append(conditional - unconditional + beta * before)
            return apply_rule(rule, scale, conditional - differences[-1], conditional, x_t, t)

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
