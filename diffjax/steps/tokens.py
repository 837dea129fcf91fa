"""Step rules of masked diffusion: ancestral sampling, by confidence (MaskGIT), and with remasking (ReMDM).

Tokens are drawn from logits modified by `temperature` (0 takes the most likely token), `top_k` (the k most likely; 0
for all) and `top_p` (the most likely that together reach p; Holtzman et al. 2020, section 3.1), applied in this order.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.masking import sample_tokens
from diffjax.protocols import Keys, Level, Step, TokenNoise
from diffjax.steps.ancestral import DenoiseAt, no_carry
from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.prng import KeyUse, fold

Logits = Float[Array, "*_ vocab"]
Tokens = Int[Array, "b n"]


@memoize_by_arguments
def unmask(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Step:
    """Ancestral sampling from shaped logits; with the defaults, `posterior`."""
    shaped = _logit_shaper("unmask", temperature, top_k, top_p)

    def update(
        keys: Keys, noise: TokenNoise, denoise: DenoiseAt, x: Tokens, t: Level, s: Level, carry: None
    ) -> tuple[Tokens, None]:
        return jax.vmap(noise.posterior)(keys, x, shaped(denoise(x, t)), t, s), carry

    return Step(no_carry, update, per_position=True, stochastic=True, needs=TokenNoise)


@memoize_by_arguments
def confidence(choice: float = 4.5, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Step:
    """Reveals the mean number of tokens of level s, the most confident draws (Chang et al. 2022, MaskGIT).

    Confidence is the log-probability of the drawn token plus Gumbel noise, scaled by `choice` times the mean level: at
    0 the most confident come first, at ∞ any (section 3.2). Likely tokens are revealed sooner, and so too often.
    """
    shaped = _logit_shaper("confidence", temperature, top_k, top_p)
    if not choice >= 0:
        raise UserError(f"confidence: choice must be at least 0, got {choice}")

    def update(
        keys: Keys, noise: TokenNoise, denoise: DenoiseAt, x: Tokens, t: Level, s: Level, carry: None
    ) -> tuple[Tokens, None]:
        logits = shaped(denoise(x, t))
        level = jnp.broadcast_to(noise.level(s), x.shape)
        tokens = _sample_tokens(fold(keys, KeyUse.TOKEN), logits)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], axis=-1)[..., 0]
        gumbel = jax.vmap(lambda key: jax.random.gumbel(key, x.shape[1:]))(fold(keys, KeyUse.POSITION))
        sure = log_p + choice * jnp.mean(level, axis=1, keepdims=True) * gumbel
        hidden = x == noise.vocab
        place = jnp.argsort(jnp.argsort(jnp.where(hidden, -sure, jnp.inf), axis=1), axis=1)  # 0: the most confident
        shows = jnp.sum(hidden, axis=1) - jnp.round(jnp.sum(level, axis=1)).astype(jnp.int32)
        reveals = hidden & (place < shows[:, None]) & jnp.any(t > s, axis=1, keepdims=True)
        return jnp.where(reveals, tokens, x), carry

    return Step(no_carry, update, per_position=True, stochastic=True, needs=TokenNoise, reorders=True)


@memoize_by_arguments
def remask(cap: float = 0.05, eta: float = 1.0, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Step:
    """Masks each token again with probability σ = min(cap, eta σ_max), σ_max = min(1, (1 - keep_s)/keep_t): ReMDM.

    A mask is lifted with probability (keep_s - (1 - σ) keep_t)/(1 - keep_t), which leaves keep_s visible (Wang et al.
    2025, eq. 5 to 7). σ = 0, as under orders of width 0, is the posterior. Tokens of one step are drawn independently,
    so a large cap, which masks many at once, makes them fit each other less.
    """
    shaped = _logit_shaper("remask", temperature, top_k, top_p)
    for name, value in (("cap", cap), ("eta", eta)):
        if not 0 <= value <= 1:
            raise UserError(f"remask: {name} must be in [0, 1], got {value}")

    def one(key: Array, noise: TokenNoise, x: Array, logits: Array, t: Array, s: Array) -> Array:
        lift_key, token_key = jax.random.split(key)  # as the posterior does
        sigma = jnp.minimum(cap, eta * _max_remask_probability(noise, t, s))
        keep_t = noise.keep_probability(t)
        more = sigma * keep_t / jnp.where(keep_t < 1, 1 - keep_t, 1)
        lifted = jax.random.uniform(lift_key, x.shape) < noise.unmask_probability(t, s) + more
        tokens = sample_tokens(token_key, logits).astype(x.dtype)
        again = jax.random.uniform(jax.random.fold_in(key, KeyUse.REMASK), x.shape) < sigma
        return jnp.where(x == noise.vocab, jnp.where(lifted, tokens, x), jnp.where(again, noise.vocab, x))

    def update(
        keys: Keys, noise: TokenNoise, denoise: DenoiseAt, x: Tokens, t: Level, s: Level, carry: None
    ) -> tuple[Tokens, None]:
        logits = shaped(denoise(x, t))
        return jax.vmap(one, (0, None, 0, 0, 0, 0))(keys, noise, x, logits, t, s), carry

    return Step(no_carry, update, per_position=True, stochastic=True, needs=TokenNoise, reorders=True)


def _max_remask_probability(noise: TokenNoise, t: Array, s: Array) -> Array:
    """The largest probability of masking again that leaves keep_s visible; 0 where t = s."""
    keep_t = noise.keep_probability(t)
    maximum = jnp.minimum((1 - noise.keep_probability(s)) / jnp.where(keep_t > 0, keep_t, 1), 1)
    return jnp.where(t == s, 0, maximum)


def _sample_tokens(keys: Keys, logits: Float[Array, "b n vocab"]) -> Int[Array, "b n"]:
    return jax.vmap(sample_tokens)(keys, logits).astype(jnp.int32)


def _logit_shaper(rule: str, temperature: float, top_k: int, top_p: float) -> Callable[[Logits], Logits]:
    """The function that shapes logits. Raises UserError for a number out of its range."""
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
            likelier = jnp.cumsum(p, axis=-1) - p  # the sum over all more likely tokens
            logits = _mask_below(logits, jnp.min(jnp.where(likelier < top_p, falling, jnp.inf), axis=-1, keepdims=True))
        return logits

    return shaped


def _mask_below(logits: Logits, minimum: Float[Array, "*_ 1"]) -> Logits:
    """The logits, -inf where below the minimum."""
    return jnp.where(logits < minimum, -jnp.inf, logits)
