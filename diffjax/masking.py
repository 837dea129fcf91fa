"""Masking noise of tokens (absorbing diffusion).

Methods with a `key` take one example (the loss and the sampler `vmap` them over the batch); all others are elementwise
and take either.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from diffjax.errors import UserError
from diffjax.protocols import Schedule, Times
from diffjax.schedule import time_of_log_snr
from diffjax.schedule_checks import check_keep
from diffjax.utils.closures import intern_function
from diffjax.utils.memo import memoize_by_arguments
from diffjax.utils.shape_checks import describe_array, require_array, require_floating

__all__ = ["Masking"]

Tokens = Int[Array, "*batch n"]
Logits = Float[Array, "*batch n vocab"]


def linear(t: Times) -> Times:
    """keep = 1 - t."""
    return 1 - t


@dataclass(frozen=True)
class Masking:
    """Tokens 0 … vocab - 1, each replaced by the mask token `vocab` with probability 1 - keep(t).

    Absorbing diffusion (Austin et al. 2021; Sahoo et al. 2024; Shi et al. 2024). Under an order of width 0 a level is
    0 or 1, and this is autoregression. Raises UserError for a vocab below 1 and an invalid `keep` (`check_keep`).
    """

    vocab: int
    keep: Callable[[Times], Times] = linear

    channel_axes = 0

    def __post_init__(self) -> None:
        if isinstance(self.vocab, bool) or not isinstance(self.vocab, int | np.integer) or self.vocab < 1:
            raise UserError(f"Masking: vocab must be an integer of at least 1, got {self.vocab}")
        object.__setattr__(self, "vocab", int(self.vocab))
        check_keep(self.keep)
        object.__setattr__(self, "keep", intern_function(self.keep))

    def data(self, x0: object) -> Tokens:
        """The tokens in at least int32, which holds the mask token. Raises UserError for anything but integers."""
        array = require_array("x", x0)
        if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool:
            return array if array.dtype in (jnp.int32, jnp.int64) else array.astype(jnp.int32)
        raise UserError(
            f"x: Masking noise is of integer tokens 0 … {self.vocab - 1}, got {describe_array(array)}; for numbers use "
            "Gaussian"
        )

    def prediction(self, pred: object, x_t: Tokens) -> Logits:
        """A denoiser's logits in at least float32. Raises UserError where their shape is not [*x_t, vocab]."""
        return self._logits("the denoiser's logits", pred, x_t)

    def check_prior(self) -> None:
        """Nothing to check: keep(1) = 0, and so x_1 is all masks."""

    def keep_probability(self, t: Times) -> Times:
        """keep(t), exactly 1 at t = 0 and 0 at t = 1, so that rounding leaves no mask in a sample."""
        return jnp.where(t <= 0, 1, jnp.where(t >= 1, 0, self.keep(t)))

    def prior(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Tokens:
        """All masks."""
        return jnp.full(shape, self.vocab, jnp.int32)

    def corrupt(self, key: Key[Array, ""], x0: Tokens, t: Times) -> tuple[Tokens, Tokens]:
        """x_t keeps each token with probability keep(t); the target is x0."""
        x0 = self.data(x0)
        keep_mask = jax.random.uniform(key, x0.shape) < self.keep_probability(t)
        return jnp.where(keep_mask, x0, self.vocab), x0

    def feed(self, x_t: Tokens, t: Times) -> Tokens:
        """The tokens themselves."""
        return x_t

    def level(self, t: Times) -> Times:
        """1 - keep: the probability of the mask."""
        return 1 - self.keep_probability(t)

    def read(self, out: Logits, x_t: Tokens, t: Times) -> Logits:
        """The output as logits in at least float32. Raises UserError where their shape is not [*x_t, vocab]."""
        return self._logits("the net's logits", out, x_t)

    def miss(self, out: Logits, target: Tokens, x_t: Tokens, t: Times) -> Float[Array, "*batch n"]:
        """-log p(x0) at each masked position, in nats; 0 at others."""
        masked = x_t == self.vocab
        log_p = jax.nn.log_softmax(self.read(out, x_t, t))
        log_likelihood = jnp.take_along_axis(log_p, target[..., None], axis=-1)[..., 0]
        return jnp.where(masked, -log_likelihood, 0)

    def unmask_probability(self, t: Times, s: Times) -> Times:
        """(keep_s - keep_t) / (1 - keep_t): the probability that a mask is lifted from t to s; 0 where keep_t = 1."""
        keep_t = self.keep_probability(t)
        keep_s = self.keep_probability(s)
        masks = keep_t < 1
        return jnp.where(masks, (keep_s - keep_t) / jnp.where(masks, 1 - keep_t, 1), 0)

    def posterior(self, key: Key[Array, ""], x_t: Tokens, pred: Logits, t: Times, s: Times) -> Tokens:
        """Lifts each mask with `unmask_probability`, its token drawn from the logits (Sahoo et al. 2024, eq. 7)."""
        lift_key, token_key = jax.random.split(key)
        lifted = jax.random.uniform(lift_key, x_t.shape) < self.unmask_probability(t, s)
        tokens = sample_tokens(token_key, pred).astype(x_t.dtype)
        return jnp.where((x_t == self.vocab) & lifted, tokens, x_t)

    def bound(self, x0: Tokens, pred: Logits, x_t: Tokens, t: Times, s: Times) -> Float[Array, "*batch n"]:
        """(keep_s - keep_t)/(1 - keep_t) · cross-entropy at each masked position, in nats (Sahoo et al. 2024)."""
        return self.unmask_probability(t, s) * self.miss(pred, x0, x_t, t)

    def bound_grid(self, steps: int, levels: int | None = None) -> Times:
        """A grid of `steps` even steps, down to 0."""
        return jnp.linspace(1.0, 0.0, steps + 1)

    def boundary_terms(
        self, key: Key[Array, ""], x0: Tokens, s: Times, levels: int | None = None
    ) -> Float[Array, "*batch n"]:
        """0: x_1 is all masks, and x_0 has none."""
        return jnp.zeros(x0.shape)

    def log_snr(self, t: Times) -> Times:
        """log(keep / (1 - keep)), with the smallest normal number in place of 0."""
        keep = self.keep_probability(t)
        tiny = jnp.finfo(t.dtype).tiny
        return jnp.log(jnp.maximum(keep, tiny)) - jnp.log(jnp.maximum(1 - keep, tiny))

    def time(self, log_snr: Times) -> Times:
        """The t that has this log-SNR, clipped to [0, 1]."""
        return time_of_log_snr(_keep_schedule(self.keep), log_snr)

    def log_weight(self, t: Times) -> Times:
        """0: `miss` is the cross-entropy itself."""
        return jnp.zeros_like(self.keep(t))

    def _logits(self, source: str, value: object, x_t: Tokens) -> Logits:
        logits = require_floating(f"{source} (vocab={self.vocab})", value, (*x_t.shape, self.vocab))
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def sample_tokens(key: Key[Array, ""], logits: Logits) -> Tokens:
    """A token for each row of logits, rare ones included: Gumbel noise of 23 bits would never draw those below 1e-7."""
    return jax.random.categorical(key, logits, mode="high")


@memoize_by_arguments
def _keep_schedule(keep: Callable[[Times], Times]) -> Schedule:
    """keep as a schedule, alpha² = keep and sigma² = 1 - keep, which has the same log-SNR."""
    return lambda t: (jnp.sqrt(keep(t)), jnp.sqrt(1 - keep(t)))
