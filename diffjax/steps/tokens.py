"""Rules for tokens behind masks: which are shown at a step, which are hidden again, and from what they are drawn.

Each takes `temperature` (0 draws the likeliest token), `top_k` (only the k likeliest; 0 for all) and `top_p` (only the
likeliest that together reach p; Holtzman et al. 2020, section 3.1), in this order.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.masking import Masking, sample_tokens
from diffjax.protocols import Keys, Step, TokenNoise
from diffjax.steps.ancestral import no_carry
from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.prng import KeyUse, fold

Logits = Float[Array, "*_ vocab"]


@memoize_by_arguments
def unmask(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Step:
    """The noise's posterior with shaped logits; with the defaults, `posterior` itself."""
    shaped = _logit_shaper("unmask", temperature, top_k, top_p)

    def update(keys: Keys, noise: Masking, denoise: Any, x: Array, t: Array, s: Array, carry: Any) -> tuple[Array, Any]:
        return jax.vmap(noise.posterior)(keys, x, shaped(denoise(x, t)), t, s), carry

    return Step(no_carry, update, per_position=True, stochastic=True, needs=TokenNoise)


@memoize_by_arguments
def confidence(choice: float = 4.5, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Step:
    """As many tokens are shown as at level s are on average, those drawn with most confidence (Chang et al. 2022).

    Confidence is the log-probability of what was drawn plus `choice`, which falls to 0 with the level, times Gumbel
    noise: at 0 the surest come first, at ∞ any (MaskGIT, section 3.2). What is likely is shown sooner, so too often.
    """
    shaped = _logit_shaper("confidence", temperature, top_k, top_p)
    if not choice >= 0:
        raise UserError(f"confidence: choice must be at least 0, got {choice}")

    def update(keys: Keys, noise: Masking, denoise: Any, x: Array, t: Array, s: Array, carry: Any) -> tuple[Array, Any]:
        logits, level = shaped(denoise(x, t)), jnp.broadcast_to(noise.level(s), x.shape)
        tokens = _sample_tokens(fold(keys, KeyUse.TOKEN), logits)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], axis=-1)[..., 0]
        gumbel = jax.vmap(lambda key: jax.random.gumbel(key, x.shape[1:]))(fold(keys, KeyUse.POSITION))
        sure = log_p + choice * jnp.mean(level, axis=1, keepdims=True) * gumbel
        hidden = x == noise.vocab
        place = jnp.argsort(jnp.argsort(jnp.where(hidden, -sure, jnp.inf), axis=1), axis=1)  # 0 is the surest
        shows = jnp.sum(hidden, axis=1) - jnp.round(jnp.sum(level, axis=1)).astype(jnp.int32)
        reveals = hidden & (place < shows[:, None]) & jnp.any(t > s, axis=1, keepdims=True)
        return jnp.where(reveals, tokens, x), carry

    return Step(no_carry, update, per_position=True, stochastic=True, needs=TokenNoise, reorders=True)


@memoize_by_arguments
def remask(cap: float = 0.05, eta: float = 1.0, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Step:
    """Each shown token is hidden again with probability σ = min(cap, eta σ_max), σ_max = min(1, (1 - keep_s)/keep_t).

    So that keep_s are shown, a mask is lifted with probability (keep_s - (1 - σ) keep_t)/(1 - keep_t) (Wang et al.
    2025, ReMDM, eq. 5 to 7). With σ = 0 it is the posterior, and so it is under orders of width 0. Tokens lifted in one
    step are drawn independently, so where many are hidden again at once (a large cap) they fit each other less.
    """
    shaped = _logit_shaper("remask", temperature, top_k, top_p)
    for name, value in (("cap", cap), ("eta", eta)):
        if not 0 <= value <= 1:
            raise UserError(f"remask: {name} must be in [0, 1], got {value}")

    def one(key: Array, noise: Masking, x: Array, logits: Array, t: Array, s: Array) -> Array:
        lift_key, token_key = jax.random.split(key)  # as the posterior does
        sigma = jnp.minimum(cap, eta * _max_remask_probability(noise, t, s))
        keep_t = noise.keep_probability(t)
        more = sigma * keep_t / jnp.where(keep_t < 1, 1 - keep_t, 1)
        lifted = jax.random.uniform(lift_key, x.shape) < noise.unmask_probability(t, s) + more
        tokens = sample_tokens(token_key, logits).astype(x.dtype)
        again = jax.random.uniform(jax.random.fold_in(key, KeyUse.REMASK), x.shape) < sigma
        return jnp.where(x == noise.vocab, jnp.where(lifted, tokens, x), jnp.where(again, noise.vocab, x))

    def update(keys: Keys, noise: Masking, denoise: Any, x: Array, t: Array, s: Array, carry: Any) -> tuple[Array, Any]:
        logits = shaped(denoise(x, t))
        return jax.vmap(one, (0, None, 0, 0, 0, 0))(keys, noise, x, logits, t, s), carry

    return Step(
        no_carry,
        update,
        per_position=True,
        stochastic=True,
        needs=TokenNoise,
        reorders=True,
    )


def _max_remask_probability(noise: Masking, t: Array, s: Array) -> Array:
    """The largest probability of hiding again that leaves keep_s shown; 0 where t = s."""
    keep_t = noise.keep_probability(t)
    maximum = jnp.minimum((1 - noise.keep_probability(s)) / jnp.where(keep_t > 0, keep_t, 1), 1)
    return jnp.where(t == s, 0, maximum)


def _sample_tokens(keys: Keys, logits: Float[Array, "b n vocab"]) -> Int[Array, "b n"]:
    return jax.vmap(sample_tokens)(keys, logits).astype(jnp.int32)


def _logit_shaper(rule: str, temperature: float, top_k: int, top_p: float) -> Callable[[Logits], Logits]:
    """Logits to logits. Raises UserError, naming the rule, for numbers that cannot be."""
    if not temperature >= 0:
        raise UserError(f"{rule}: temperature must be at least 0, got {temperature}")
    if top_k < 0:
        raise UserError(f"{rule}: top_k must be at least 0, got {top_k}; 0 keeps all tokens")
    if not 0 < top_p <= 1:
        raise UserError(f"{rule}: top_p must be in (0, 1], got {top_p}; 1 keeps all tokens")

    def shaped(logits: Logits) -> Logits:
        if temperature > 0:
            logits = logits if temperature == 1 else logits / temperature
        if temperature == 0 or top_k:
            k = min(top_k, logits.shape[-1]) if temperature else 1
            logits = _mask_below(logits, jax.lax.top_k(logits, k)[0][..., -1:])
        if top_p < 1:
            falling = -jnp.sort(-logits, axis=-1)
            p = jax.nn.softmax(falling)
            likelier = jnp.cumsum(p, axis=-1) - p  # together, all that are likelier
            logits = _mask_below(logits, jnp.min(jnp.where(likelier < top_p, falling, jnp.inf), axis=-1, keepdims=True))
        return logits

    return shaped


def _mask_below(logits: Logits, minimum: Float[Array, "*_ 1"]) -> Logits:
    """The logits that are no less than this; the others impossible."""
    return jnp.where(logits < minimum, -jnp.inf, logits)
