"""How information is destroyed, and what is known of what was.

`Gaussian` mixes data with noise, x_t = alpha x0 + sigma eps; `Masking` hides tokens behind a mask. Methods with a `key`
speak of one example (the loss and the sampler `vmap` them over the batch); all others are elementwise and take either.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from diffjax.errors import UserError
from diffjax.predict import Row
from diffjax.schedule import Moment, Schedule, inverse, moment

__all__ = ["Gaussian", "Masking"]

Values = Float[Array, "..."]  # x of one example or of a batch
Times = Float[Array, "..."]  # levels, broadcasting against it


@dataclass(frozen=True)
class Gaussian:
    """x_t = alpha x0 + sigma eps, with eps ~ N(0, 1) and a net that outputs the given row of `predict`.

    `data_std` is the standard deviation of the data, used to hand nets inputs of unit variance (and by the row edm).
    Raises UserError where the row says nothing of x0 at t = 1 (eps and score need alpha(1) > 0).
    """

    schedule: Schedule
    row: Row
    data_std: float = 1.0

    channel_axes = 1

    def __post_init__(self) -> None:
        if not self.data_std > 0:
            raise UserError(f"Gaussian: data_std must be positive, got {self.data_std}")
        with jax.ensure_compile_time_eval():
            silent = bool(self.schedule(jnp.ones(()))[0] <= 0)
        if self.row.needs_signal and silent:
            raise UserError(
                f"Gaussian: prediction {self.row.name} cannot be solved for x0 where alpha(1) = 0; "
                "use x0, v, velocity or edm, or a schedule that keeps some signal (linear_beta, edm)"
            )

    def moment(self, t: Times) -> Moment:
        """alpha, sigma and their slopes."""
        return moment(self.schedule, t)

    def prior(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Values:
        """x_1 with its signal left out: N(0, sigma(1)²)."""
        sigma = self.schedule(jnp.ones(()))[1]
        return sigma * jax.random.normal(key, shape)

    def corrupt(self, key: Key[Array, ""], x0: Values, t: Times) -> tuple[Values, Values]:
        """x_t = alpha x0 + sigma eps and the target a x0 + b eps."""
        m = self.moment(t)
        a, b = self.row.pair(m, self.data_std)
        eps = jax.random.normal(key, x0.shape, x0.dtype)
        return m.alpha * x0 + m.sigma * eps, a * x0 + b * eps

    def feed(self, x_t: Values, t: Times) -> Values:
        """x_t scaled to unit variance (Karras et al. 2022, c_in of table 1)."""
        m = self.moment(t)
        return x_t / jnp.sqrt(m.alpha**2 * self.data_std**2 + m.sigma**2)

    def level(self, t: Times) -> Times:
        """2/π atan(sigma/alpha): 0 where nothing is destroyed, 1 where nothing is left, the same on every clock."""
        m = self.moment(t)
        return 2 / jnp.pi * jnp.arctan2(m.sigma, m.alpha)

    def read(self, out: Values, x_t: Values, t: Times) -> Values:
        """x0 = skip x_t + scale out."""
        skip, scale = self.row.solution(self.moment(t), self.data_std)
        return skip * x_t + scale * out.astype(x_t.dtype)

    def miss(self, out: Values, target: Values, x_t: Values, t: Times) -> Values:
        """(out - target)², averaged over the channels of each position; 0 where nothing is hidden.

        There nothing can be missed, and targets may be infinite (score, and velocity under linear_beta).
        """
        hidden = self.moment(t).sigma > 0
        error = jnp.where(hidden, out.astype(target.dtype), 0) - jnp.where(hidden, target, 0)
        return jnp.mean(error**2, axis=-1)

    def eps(self, x_t: Values, x0: Values, t: Times) -> Values:
        """(x_t - alpha x0) / sigma; 0 at sigma = 0, the limit of E[eps | x_t] = -sigma ∇ log q(x_t)."""
        m = self.moment(t)
        noisy = m.sigma > 0
        return jnp.where(noisy, (x_t - m.alpha * x0) / jnp.where(noisy, m.sigma, 1), 0)

    def kept(self, t: Times, s: Times) -> Times:
        """rho = alpha_t sigma_s / (alpha_s sigma_t) in [0, 1]: how much of eps_s is eps_t; 1 where t = s."""
        at_t, at_s, same = self.moment(t), self.moment(s), t == s
        return jnp.where(same, 1, at_t.alpha * at_s.sigma / jnp.where(same, 1, at_s.alpha * at_t.sigma))

    def posterior(self, key: Key[Array, ""], x_t: Values, pred: Values, t: Times, s: Times) -> Values:
        """x_s = alpha_s x0 + sigma_s (rho eps + √(1 - rho²) z), z ~ N(0, 1): Ho et al. 2020, eq. 7, for any (t, s)."""
        at_s, rho, same = self.moment(s), self.kept(t, s), t == s
        fresh = jnp.sqrt(jnp.where(same, 1, jnp.maximum(1 - rho**2, 0)))  # rounding may take rho above 1
        z = jax.random.normal(key, x_t.shape, x_t.dtype)
        return jnp.where(same, x_t, at_s.alpha * pred + at_s.sigma * (rho * self.eps(x_t, pred, t) + fresh * z))

    def bound(self, x0: Values, pred: Values, x_t: Values, t: Times, s: Times) -> Values:
        """½ (snr_s - snr_t) |x0 - pred|² at each position, in nats (Kingma et al. 2021, eq. 13); s > 0, or s = t."""
        at_t, at_s, same = self.moment(t), self.moment(s), t == s
        gain = (at_s.alpha / jnp.where(same, 1, at_s.sigma)) ** 2 - (at_t.alpha / jnp.where(same, 1, at_t.sigma)) ** 2
        return jnp.sum(jnp.where(same, 0, gain) / 2 * (x0 - pred) ** 2, axis=-1)

    def stops(self, steps: int, levels: int | None = None) -> Times:
        """Clock values for a bound of so many steps: even log-SNRs up to 14, where a density is as good as read.

        Of `levels` even values in [-1, 1], to where sigma/alpha is an eighth of their distance, which tells them apart.
        """
        low = jnp.maximum(self.log_snr(jnp.ones(())), -14.0)
        high = 14.0 if levels is None else 2 * jnp.log(4.0 * (levels - 1))
        return self.time(jnp.linspace(low, high, steps + 1)).at[0].set(1.0)

    def ends(self, key: Key[Array, ""], x0: Values, s: Times, levels: int | None = None) -> Values:
        """What the bound adds at both ends, in nats per position: prior at t = 1, reconstruction at s > 0.

        KL(q(x_1|x0) ‖ N(0, sigma(1)²)) - log p(x0|x_s), with p(x0|x_s) ∝ q(x_s|x0) over all reals, or over `levels`
        even values in [-1, 1] (Kingma et al. 2021, appendix A): then the whole bound is of a probability.
        """
        first, last = self.moment(jnp.ones(())), self.moment(s)
        prior, spread = (first.alpha * x0 / first.sigma) ** 2 / 2, last.sigma / last.alpha
        if levels is None:
            return jnp.sum(prior + 0.5 + jnp.log(2 * jnp.pi) / 2 + jnp.log(spread), axis=-1)
        seen = x0 + spread * jax.random.normal(key, x0.shape, x0.dtype)
        values = jnp.linspace(-1.0, 1.0, levels).reshape((levels,) + (1,) * x0.ndim)
        every = jax.nn.logsumexp(-(((seen[None] - values) / spread) ** 2) / 2, axis=0)
        return jnp.sum(prior + every + ((seen - x0) / spread) ** 2 / 2, axis=-1)

    def log_snr(self, t: Times) -> Times:
        """log(alpha²/sigma²), with the smallest normal number in place of 0, so that both ends are finite."""
        m, tiny = self.moment(t), jnp.finfo(jnp.asarray(t).dtype).tiny
        return 2 * (jnp.log(jnp.maximum(m.alpha, tiny)) - jnp.log(jnp.maximum(m.sigma, tiny)))

    def time(self, log_snr: Times) -> Times:
        """The t that has this log-SNR; the nearer end where there is none."""
        return inverse(self.schedule, log_snr)

    def log_weight(self, t: Times) -> Times:
        """-2 log |scale|: `miss` weighs the squared error of x0 by 1/scale², since x0 = skip x_t + scale out."""
        _, scale = self.row.solution(self.moment(t), self.data_std)
        return -2 * jnp.log(jnp.maximum(jnp.abs(scale), jnp.finfo(scale.dtype).tiny))


Tokens = Int[Array, "*batch n"]
Logits = Float[Array, "*batch n vocab"]


def linear(t: Times) -> Times:
    """keep = 1 - t: what is masked grows evenly with the clock."""
    return 1 - t


@dataclass(frozen=True)
class Masking:
    """Tokens 0 … vocab - 1, each hidden behind the mask (the token `vocab`) with probability 1 - keep(t).

    Absorbing diffusion (Austin et al. 2021; Sahoo et al. 2024; Shi et al. 2024). Under an order of width 0 a level is
    0 or 1, and this is autoregression.
    """

    vocab: int
    keep: Callable[[Times], Times] = linear

    channel_axes = 0

    def __post_init__(self) -> None:
        if self.vocab < 1:
            raise UserError(f"Masking: vocab must be at least 1, got {self.vocab}")

    def prior(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Tokens:
        """All masks."""
        return jnp.full(shape, self.vocab, jnp.int32)

    def corrupt(self, key: Key[Array, ""], x0: Tokens, t: Times) -> tuple[Tokens, Tokens]:
        """x_t keeps each token with probability keep(t); the target is x0."""
        kept = jax.random.uniform(key, x0.shape) < self.keep(t)
        return jnp.where(kept, x0, self.vocab), x0

    def feed(self, x_t: Tokens, t: Times) -> Tokens:
        """The tokens themselves."""
        return x_t

    def level(self, t: Times) -> Times:
        """1 - keep: the share that is hidden."""
        return 1 - self.keep(t)

    def read(self, out: Logits, x_t: Tokens, t: Times) -> Logits:
        """The output as logits, in float32 at least. Raises UserError where they are not of this vocabulary."""
        if out.shape[-1] != self.vocab:
            raise UserError(f"the net gives {out.shape[-1]} logits a token, and Masking's vocab is {self.vocab}")
        return out.astype(jnp.promote_types(out.dtype, jnp.float32))

    def miss(self, out: Logits, target: Tokens, x_t: Tokens, t: Times) -> Float[Array, "*batch n"]:
        """-log p(x0) at each masked position, in nats; 0 where the token is known."""
        hidden = x_t == self.vocab
        log_p = jax.nn.log_softmax(self.read(out, x_t, t))
        given = jnp.take_along_axis(log_p, target[..., None], axis=-1)[..., 0]
        return jnp.where(hidden, -given, 0)

    def revealed(self, t: Times, s: Times) -> Times:
        """(keep_s - keep_t) / (1 - keep_t): how likely a masked token is shown between t and s; 0 where keep_t = 1."""
        keep_t, keep_s, hides = self.keep(t), self.keep(s), self.keep(t) < 1
        return jnp.where(hides, (keep_s - keep_t) / jnp.where(hides, 1 - keep_t, 1), 0)

    def posterior(self, key: Key[Array, ""], x_t: Tokens, pred: Logits, t: Times, s: Times) -> Tokens:
        """Each mask is lifted with that probability, its token drawn from the logits (Sahoo et al. 2024, eq. 7)."""
        lift_key, token_key = jax.random.split(key)
        lifted = jax.random.uniform(lift_key, x_t.shape) < self.revealed(t, s)
        drawn = jax.random.categorical(token_key, pred).astype(x_t.dtype)
        return jnp.where((x_t == self.vocab) & lifted, drawn, x_t)

    def bound(self, x0: Tokens, pred: Logits, x_t: Tokens, t: Times, s: Times) -> Float[Array, "*batch n"]:
        """(keep_s - keep_t)/(1 - keep_t) · cross-entropy at each masked position, in nats (Sahoo et al. 2024)."""
        return self.revealed(t, s) * self.miss(pred, x0, x_t, t)

    def stops(self, steps: int, levels: int | None = None) -> Times:
        """Clock values for a bound of so many steps: even ones, down to 0."""
        return jnp.linspace(1.0, 0.0, steps + 1)

    def ends(self, key: Key[Array, ""], x0: Tokens, s: Times, levels: int | None = None) -> Float[Array, "*batch n"]:
        """0: the bound begins with masks alone, and ends with none."""
        return jnp.zeros(x0.shape)

    def log_snr(self, t: Times) -> Times:
        """log(keep / (1 - keep)), with the smallest normal number in place of 0."""
        keep, tiny = self.keep(t), jnp.finfo(t.dtype).tiny
        return jnp.log(jnp.maximum(keep, tiny)) - jnp.log(jnp.maximum(1 - keep, tiny))

    def time(self, log_snr: Times) -> Times:
        """The t that has this log-SNR; the nearer end where there is none."""
        return inverse(_square_roots(self.keep), log_snr)

    def log_weight(self, t: Times) -> Times:
        """0: `miss` is the cross-entropy itself."""
        return jnp.zeros_like(self.keep(t))


@functools.cache
def _square_roots(keep: Callable[[Times], Times]) -> Schedule:
    """keep as a schedule, alpha² = keep and sigma² = 1 - keep, which has the same log-SNR."""
    return lambda t: (jnp.sqrt(keep(t)), jnp.sqrt(1 - keep(t)))
