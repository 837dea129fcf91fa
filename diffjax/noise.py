"""Gaussian noise of real numbers: x_t = alpha x0 + sigma eps.

Methods with a `key` take one example (the loss and the sampler `vmap` them over the batch); all others are elementwise
and take either.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.core import eval_context
from jaxtyping import Array, Float, Key

from diffjax import net_inputs, predict
from diffjax.errors import UserError
from diffjax.masking import Masking
from diffjax.net_inputs import NetInputs
from diffjax.predict import Parameterization
from diffjax.protocols import Coefficients, Prediction, Schedule, Times
from diffjax.schedule import coefficients, time_of_log_snr
from diffjax.schedule_checks import check_schedule
from diffjax.utils.closures import intern_function
from diffjax.utils.kinds import matches_type
from diffjax.utils.shape_checks import describe_array, require_array, require_floating
from diffjax.utils.values import python_scalar

__all__ = ["Gaussian", "Masking"]

MAX_TERMINAL_SIGNAL = 0.25  # most that alpha(1) data_std may be of sigma(1): then x_1 deviates 3 % more than the prior

Values = Float[Array, "..."]  # x of one example or of a batch


@dataclass(frozen=True)
class Gaussian:
    """x_t = alpha x0 + sigma eps, with eps ~ N(0, 1) and a net of the given parameterization (`predict`).

    `data_std` is the standard deviation of the data; it scales the net's input to unit variance, and enters
    `predict.edm`. `inputs` say how the net receives x_t and its level (`net_inputs`). Raises UserError for an invalid
    schedule (`check_schedule`), and where x0 cannot be solved for at t = 1 (eps and score need alpha(1) > 0).
    """

    schedule: Schedule
    parameterization: Parameterization
    data_std: float = 1.0
    inputs: NetInputs = net_inputs.unit

    channel_axes = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_std", _check_data_std(self.data_std))
        if not isinstance(self.parameterization, Parameterization):
            rows = ", ".join(f"dj.predict.{name}" for name in predict.__all__)
            raise UserError(f"Gaussian: prediction must be one of {rows}, got {self.parameterization!r}")
        check_schedule(self.schedule)
        object.__setattr__(self, "schedule", intern_function(self.schedule))
        with eval_context():
            no_signal = bool(self.schedule(jnp.ones(()))[0] <= 0)
        if self.parameterization.needs_signal and no_signal:
            raise UserError(
                f"Gaussian: prediction {self.parameterization.name} cannot be solved for x0 where alpha(1) = 0; "
                "use x0, v, velocity or edm, or a schedule that keeps some signal (linear_beta, edm)"
            )

    def coefficients(self, t: Times) -> Coefficients:
        """alpha, sigma and their derivatives."""
        return coefficients(self.schedule, t)

    def data(self, x0: object) -> Values:
        """The data in at least float32. Raises UserError for anything but real floating-point numbers."""
        array = require_array("x", x0)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise UserError(
                f"x: Gaussian noise is of real floating-point numbers, got {describe_array(array)}; of pixels 0 … 255 "
                "make x.astype(float) / 127.5 - 1, and of tokens use Masking"
            )
        return array

    def prediction(self, pred: object, x_t: Values) -> Values:
        """A denoiser's E[x0 | x_t], in float32 at least. Raises UserError where it has not the shape of x_t."""
        pred = pred.x0 if isinstance(pred, Prediction) else pred
        array = require_floating("the denoiser's prediction of x0", pred, x_t.shape)
        return array.astype(jnp.promote_types(array.dtype, jnp.float32))

    def check_prior(self) -> None:
        """Raise UserError where the signal left in x_1, which the prior ignores, is more than MAX_TERMINAL_SIGNAL."""
        with eval_context():
            alpha, sigma = (float(value) for value in self.schedule(jnp.ones(())))
        if alpha * self.data_std > MAX_TERMINAL_SIGNAL * sigma:
            raise UserError(
                f"Gaussian: with data_std={self.data_std:g} the signal at t = 1 has deviation "
                f"{alpha * self.data_std:.3g} beside noise of {sigma:.3g}, and sampling begins with noise alone; scale "
                f"the data, or use a schedule with sigma(1) of {4 * alpha * self.data_std:.3g} or more "
                "(dj.schedule.edm_of(sigma_max=…), shift)"
            )

    def prior(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Values:
        """A draw of N(0, sigma(1)²), x_1 without its signal."""
        sigma = self.schedule(jnp.ones(()))[1]
        return sigma * jax.random.normal(key, shape)

    def corrupt(self, key: Key[Array, ""], x0: Values, t: Times) -> tuple[Values, Values]:
        """x_t = alpha x0 + sigma eps and the target a x0 + b eps."""
        x0 = self.data(x0)
        m = self.coefficients(t)
        a, b = self.parameterization.pair(m, self.data_std)
        eps = jax.random.normal(key, x0.shape, x0.dtype)
        return m.alpha * x0 + m.sigma * eps, a * x0 + b * eps

    def feed(self, x_t: Values, t: Times) -> Values:
        """x_t at the scale that the net expects, by default of unit variance."""
        return self.inputs.feed(x_t, self.coefficients(t), self.data_std)

    def level(self, t: Times) -> Times:
        """The number that the net receives for t, by default 0 for data and 1 for noise, whatever the schedule."""
        return self.inputs.level(self.coefficients(t), t)

    def read(self, out: Values, x_t: Values, t: Times) -> Values:
        """x0 = skip x_t + scale out. Raises UserError where the output has not the shape of x_t."""
        out = require_floating("the net's output", out, x_t.shape)
        skip, scale = self.parameterization.solution(self.coefficients(t), self.data_std)
        return skip * x_t + scale * out.astype(x_t.dtype)

    def miss(self, out: Values, target: Values, x_t: Values, t: Times) -> Values:
        """(out - target)², averaged over the channels of each position; 0 where sigma = 0.

        There the target may be infinite (score, and velocity under linear_beta). Raises UserError where the output has
        not the shape of the target.
        """
        out = require_floating("the net's output", out, target.shape)
        noisy = self.coefficients(t).sigma > 0
        error = jnp.where(noisy, out.astype(target.dtype), 0) - jnp.where(noisy, target, 0)
        return jnp.mean(error**2, axis=-1)

    def eps(self, x_t: Values, x0: Values, t: Times) -> Values:
        """(x_t - alpha x0) / sigma; 0 at sigma = 0, the limit of E[eps | x_t] = -sigma ∇ log q(x_t)."""
        m = self.coefficients(t)
        noisy = m.sigma > 0
        return jnp.where(noisy, (x_t - m.alpha * x0) / jnp.where(noisy, m.sigma, 1), 0)

    def noise_correlation(self, t: Times, s: Times) -> Times:
        """rho = alpha_t sigma_s / (alpha_s sigma_t) in [0, 1]: the correlation of eps_t and eps_s; 1 where t = s."""
        at_t = self.coefficients(t)
        at_s = self.coefficients(s)
        same = t == s
        return jnp.where(same, 1, at_t.alpha * at_s.sigma / jnp.where(same, 1, at_s.alpha * at_t.sigma))

    def posterior(self, key: Key[Array, ""], x_t: Values, pred: Values | Prediction, t: Times, s: Times) -> Values:
        """x_s = alpha_s x0 + sigma_s (rho eps + √(1 - rho²) z), z ~ N(0, 1): Ho et al. 2020, eq. 7, for any (t, s).

        With a `Prediction` z is multiplied by (sigma_t / sigma_s)^share (Nichol & Dhariwal 2021, eq. 15).
        """
        z = jax.random.normal(key, x_t.shape, x_t.dtype)
        if isinstance(pred, Prediction):
            x0 = pred.x0
            z = jnp.exp(self._log_spread(pred, t, s)) * z
        else:
            x0 = pred
        at_s = self.coefficients(s)
        rho = self.noise_correlation(t, s)
        same = t == s
        fresh = jnp.sqrt(jnp.where(same, 1, jnp.maximum(1 - rho**2, 0)))  # rounding may take rho above 1
        return jnp.where(same, x_t, at_s.alpha * x0 + at_s.sigma * (rho * self.eps(x_t, x0, t) + fresh * z))

    def _log_spread(self, pred: Prediction, t: Times, s: Times) -> Values:
        """The share times log(sigma_t / sigma_s); 0 where nothing is drawn, s = t or sigma_s = 0."""
        at_t = self.coefficients(t).sigma
        at_s = self.coefficients(s).sigma
        drawn = (t != s) & (at_s > 0)
        return pred.variance_share * jnp.log(jnp.where(drawn, at_t, 1) / jnp.where(drawn, at_s, 1))

    def bound(self, x0: Values, pred: Values | Prediction, x_t: Values, t: Times, s: Times) -> Values:
        """½ (snr_s - snr_t) |x0 - pred|² at each position, in nats (Kingma et al. 2021, eq. 13); s > 0, or s = t.

        With a `Prediction`, KL(q(x_s|x_t,x0) ‖ p(x_s|x_t)) for its variance, r times the posterior's:
        ½ (log r + 1/r - 1) for each value, and the term above over r.
        """
        if isinstance(pred, Prediction):
            log_r = 2 * self._log_spread(pred, t, s)
            spread = (log_r + jnp.expm1(-log_r)) / 2
            error = x0 + (pred.x0 - x0) * jnp.exp(-log_r / 2)
            return jnp.sum(jnp.where(t == s, 0, spread), axis=-1) + self.bound(x0, error, x_t, t, s)
        at_t = self.coefficients(t)
        at_s = self.coefficients(s)
        same = t == s
        gain = (at_s.alpha / jnp.where(same, 1, at_s.sigma)) ** 2 - (at_t.alpha / jnp.where(same, 1, at_t.sigma)) ** 2
        return jnp.sum(jnp.where(same, 0, gain) / 2 * (x0 - pred) ** 2, axis=-1)

    def bound_grid(self, steps: int, levels: int | None = None) -> Times:
        """A grid of `steps` steps, even in log-SNR: for a density up to 14, which is as good as the data itself.

        For `levels` even values in [-1, 1], up to where sigma/alpha is an eighth of their spacing.
        """
        low = jnp.maximum(self.log_snr(jnp.ones(())), -14.0)
        high = 14.0 if levels is None else 2 * jnp.log(4.0 * (levels - 1))
        return self.time(jnp.linspace(low, high, steps + 1)).at[0].set(1.0)

    def boundary_terms(self, key: Key[Array, ""], x0: Values, s: Times, levels: int | None = None) -> Values:
        """The prior term at t = 1 and the reconstruction term at s > 0, in nats per position.

        KL(q(x_1|x0) ‖ N(0, sigma(1)²)) - log p(x0|x_s), with p(x0|x_s) ∝ q(x_s|x0) over all reals, or over `levels`
        even values in [-1, 1] (Kingma et al. 2021, appendix A): then the bound is on a probability.
        """
        first = self.coefficients(jnp.ones(()))
        last = self.coefficients(s)
        prior = (first.alpha * x0 / first.sigma) ** 2 / 2
        spread = last.sigma / last.alpha
        if levels is None:
            return jnp.sum(prior + 0.5 + jnp.log(2 * jnp.pi) / 2 + jnp.log(spread), axis=-1)
        noisy_value = x0 + spread * jax.random.normal(key, x0.shape, x0.dtype)
        values = jnp.linspace(-1.0, 1.0, levels).reshape((levels,) + (1,) * x0.ndim)
        log_normalizer = jax.nn.logsumexp(-(((noisy_value[None] - values) / spread) ** 2) / 2, axis=0)
        return jnp.sum(prior + log_normalizer + ((noisy_value - x0) / spread) ** 2 / 2, axis=-1)

    def log_snr(self, t: Times) -> Times:
        """log(alpha²/sigma²), with the smallest normal number in place of 0, so that both ends are finite."""
        m = self.coefficients(t)
        tiny = jnp.finfo(jnp.asarray(t).dtype).tiny
        return 2 * (jnp.log(jnp.maximum(m.alpha, tiny)) - jnp.log(jnp.maximum(m.sigma, tiny)))

    def time(self, log_snr: Times) -> Times:
        """The t that has this log-SNR, clipped to [0, 1]."""
        return time_of_log_snr(self.schedule, log_snr)

    def log_weight(self, t: Times) -> Times:
        """-2 log |scale|: since x0 = skip x_t + scale out, `miss` weights the squared error of x0 by 1/scale²."""
        _, scale = self.parameterization.solution(self.coefficients(t), self.data_std)
        return -2 * jnp.log(jnp.maximum(jnp.abs(scale), jnp.finfo(scale.dtype).tiny))


def _check_data_std(value: object) -> float:
    """The standard deviation as a float. Raises UserError where it is not positive and finite."""
    number = python_scalar(value)
    if not matches_type(number, float) or not number > 0:
        raise UserError(f"Gaussian: data_std must be one positive finite number, got {value}")
    return float(number)
