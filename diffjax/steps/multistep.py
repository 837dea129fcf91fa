"""Multistep rules: x_s from the predictions at several levels. The carry holds them, and is empty at the start.

`start` is a one-step rule (heun(), midpoint(), dpmpp_2s(), rk4()) for the steps with fewer previous finite levels than
the order needs: `order - 1` steps, and one more from alpha = 0, with evaluations of its own. Without it these steps are
of lower order, and their error limits the order of the whole.

The orders are attained as steps get shorter, on grids with bounded ratios of neighbouring steps (`multistep_weights`
lowers the order of a long step that would magnify errors). With few steps a lower slope may be measured, where the
errors of the first steps and of the others have opposite signs, or a step is over three times as long as the last.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffjax.errors import UserError
from diffjax.protocols import GaussianNoise, Keys, Level, Sample, Step
from diffjax.schedule import has_infinite_slope, log_snr
from diffjax.steps.ancestral import DenoiseAt, no_carry
from diffjax.steps.multistep_weights import Axis, Plan, StepCoefficients, Weigh, make_plan, polynomial_averages
from diffjax.steps.ode import ddim_step, euler_step, velocity
from diffjax.utils.memo import memoize_by_arguments

Memory = tuple[Sample, ...]  # the values at the levels before, the last first


@dataclass(frozen=True)
class Quantity:
    """A function of the level that a rule takes for a polynomial: x0, eps or dx/dt."""

    value: Callable[[GaussianNoise, Sample, Sample, Level], Sample]  # (noise, x0, x, t)
    one_step: Callable[[GaussianNoise, Sample, Sample, Level, Level], Sample]  # also s: exact for a constant
    axis: Callable[[GaussianNoise, Array], Axis]  # the variable of the polynomial at the levels of a grid
    average: Weigh  # weights of the polynomial's average over a step


@memoize_by_arguments
def adams(order: int = 4, start: Step | None = None) -> Step:
    """Adams-Bashforth on the clock: dx/dt is the polynomial in t through its last `order` values.

    (Hairer, Nørsett & Wanner 1993, III.5, weights for uneven steps.) Attains min(order, 2); with start=rk4(), or heun()
    up to order 3, its order, 1 to 4. Under edm_of(rho=1), whose clock is sigma, this is k-diffusion's LMS. A step to
    where sigma' is infinite or from sigma = 0 is ddim's.
    """
    _check("adams", order, 4, start)
    plan = make_plan(order, VELOCITY.axis, VELOCITY.average, start=start)
    return make_multistep("adams", VELOCITY, plan, order - 1, start, _attained_order(order, start))


@memoize_by_arguments
def dpmpp_3m(start: Step | None = None) -> Step:
    """DPM-Solver++(3M): x0 is the parabola in half log-SNR through its last values (Lu et al. 2022b, eq. 9, k = 3).

    Attains 2; with start=heun(), or any of order 2, it attains 3. diffusers' multistep code weighs the second
    difference with half of the integral of u², and so stays at order 2.
    """
    _check("dpmpp_3m", 3, 3, start)
    plan = make_plan(3, X0.axis, X0.average, start=start)
    return make_multistep("dpmpp_3m", X0, plan, 2, start, _attained_order(3, start))


@memoize_by_arguments
def deis(order: int = 3, start: Step | None = None) -> Step:
    """x_s / alpha_s = x_t / alpha_t + ∫ eps d(sigma/alpha), eps a polynomial in half log-SNR, integrated exactly.

    (Zhang & Chen 2023, DEIS, eq. 14 and 15, their AB with the polynomial in log(sigma/alpha), as in diffusers, in place
    of t.) Attains min(order, 2); with start=rk4(), or heun() up to order 3, its order, 1 to 4.
    """
    _check("deis", order, 4, start)
    plan = make_plan(order, EPS.axis, EPS.average, start=start)
    return make_multistep("deis", EPS, plan, order - 1, start, _attained_order(order, start))


@memoize_by_arguments
def unipc(order: int = 2, variant: str = "bh2", start: Step | None = None) -> Step:
    """UniPC (Zhao et al. 2023, algorithms 1 and 2) of x0: a predictor of `order` levels, and a corrector of its x_s.

    Attains min(order + 1, 3); with start=rk4() order 3 attains 4. The corrector uses the next step's prediction, so it
    costs no evaluation: x0 is not evaluated again at the corrected x_t, and the last x_s is not corrected. B(h) = h
    ("bh1") or e^h - 1 ("bh2") matters only where the paper solves one equation by a = 1/2: in predictors of two levels
    and correctors of one; all other weights are the exact integrals.

    Order 3 without a start has an error of h³ in all, partly from the first corrector: the exact weight of x0 at s is
    1/2 + h/12 + …, that of "bh2" 1/2, that of "bh1" 1/2 + h/4 + …, twice as far off with the other sign. With "bh1"
    the two parts may cancel at some number of steps, where slopes of 2 to 3 are measured.
    """
    _check("unipc", order, 3, start)
    if variant not in _SCALES:
        raise UserError(f'unipc: variant must be "bh1" or "bh2", got {variant!r}')
    scale = _SCALES[variant]

    def predictor(h: Array, nodes: Array, used: Array) -> Array:
        growth = -scale(h) * h / (2 * jnp.where(nodes[1:2] == 0, 1, nodes[1:2]))
        simple = jnp.concatenate([1 + growth, -growth, jnp.zeros_like(nodes[2:])])
        return jnp.where(jnp.sum(used) == 2, simple, X0.average(h, nodes, used))

    def corrector(h: Array, nodes: Array, used: Array) -> Array:
        half = scale(h)[None] / 2
        simple = jnp.concatenate([half, 1 - half, jnp.zeros_like(nodes[2:])])
        return jnp.where(jnp.sum(used) == 2, simple, X0.average(h, nodes, used))

    plan = make_plan(order, X0.axis, predictor if order > 1 else X0.average, corrector, start)
    return make_multistep("unipc", X0, plan, order, start, _attained_order(order + 1, start, 2))


_SCALES: dict[str, Callable[[Array], Array]] = {
    "bh1": lambda h: jnp.where(h == 0, 1, h) / -jnp.expm1(-jnp.where(h == 0, 1, h)),
    "bh2": jnp.ones_like,
}


def make_multistep(name: str, quantity: Quantity, plan: Plan, size: int, start: Step | None, order: int) -> Step:
    """The rule with a memory of `size` values v_1, v_2, … beside v_0, the value at t:

    x_s = one_step(x_t + Σ_k correct_k v_k) + Σ_k extra_k v_k, of which only unipc's remembers enough to correct x_t.
    """

    def update(
        keys: Keys,
        noise: GaussianNoise,
        denoise: DenoiseAt,
        x: Sample,
        t: Level,
        s: Level,
        past: Memory,
        row: StepCoefficients,
    ) -> tuple[Sample, Memory]:
        x0 = denoise(x, t)
        values = (quantity.value(noise, x0, x, t), *past)
        corrected = x + _dot(row.correct, values) if len(values) == len(row.correct) else x
        moved = quantity.one_step(noise, x0, corrected, t, s) + _dot(row.extra, values)
        starter = start
        if starter is not None:

            def take_start() -> Sample:
                rows = () if starter.plan is None else (row.start,)
                return starter.update(keys, noise, _reuse(denoise, x, t, x0), x, t, s, None, *rows)[0]

            moved = jax.lax.cond(row.starting > 0, take_start, lambda: moved)
        memory = tuple(jnp.where(t == s, old, new) for old, new in zip(past, values, strict=False))
        return jnp.where(t == s, x, moved), memory

    return Step(lambda x: (jnp.zeros_like(x),) * size, update, needs=GaussianNoise, plan=plan, order=order, name=name)


def _reuse(denoise: DenoiseAt, x: Sample, t: Level, x0: Sample) -> DenoiseAt:
    """The denoiser, its prediction x0 for these very arrays x and t being known."""
    return lambda x_t, level: x0 if x_t is x and level is t else denoise(x_t, level)


def _dot(weights: Array | np.ndarray, values: Memory) -> Array:
    total = weights[0] * values[0]
    for k in range(1, len(weights)):
        total = total + weights[k] * values[k]
    return total


def _clock_step(noise: GaussianNoise, x0: Sample, x: Sample, t: Level, s: Level) -> Sample:
    """Euler's step, and ddim's where it would need an infinite slope."""
    regular = (noise.coefficients(t).sigma > 0) & ~has_infinite_slope(noise.coefficients(s))
    return jnp.where(regular, euler_step(noise, x0, x, t, s), ddim_step(noise, x0, x, t, s))


def _clock_axis(noise: GaussianNoise, grid: Array) -> Axis:
    m = noise.coefficients(grid)
    is_noisy = m.sigma > 0
    is_node = is_noisy & ~has_infinite_slope(m)
    is_finite = is_noisy[:-1] & ~has_infinite_slope(m)[1:]
    return Axis(grid, is_node, is_finite, jnp.diff(grid), _step_lengths(*_finite_half_log_snr(noise, grid)))


def _half_log_snr_axis(noise: GaussianNoise, grid: Array, gain: Array) -> Axis:
    at, is_finite = _finite_half_log_snr(noise, grid)
    both = is_finite[:-1] & is_finite[1:]
    return Axis(at, is_finite, both, jnp.where(both, gain, 0), _step_lengths(at, is_finite))


def _finite_half_log_snr(noise: GaussianNoise, grid: Array) -> tuple[Array, Array]:
    """Half the log-SNR, 0 where it is infinite, and where it is finite."""
    at = log_snr(noise.schedule, grid) / 2
    finite = jnp.isfinite(at)
    return jnp.where(finite, at, 0), finite


def _step_lengths(at: Array, finite: Array) -> Array:
    """The length of each step, infinite where an end is."""
    return jnp.where(finite[:-1] & finite[1:], jnp.abs(jnp.diff(at)), jnp.inf)


def _x0_axis(noise: GaussianNoise, grid: Array) -> Axis:
    """Of x_s = alpha_s x0 + sigma_s (x_t - alpha_t x0) / sigma_t, the factor of x0."""
    alpha, sigma = noise.schedule(grid)
    factor = alpha[1:] - sigma[1:] * alpha[:-1] / jnp.where(sigma[:-1] > 0, sigma[:-1], 1)
    return _half_log_snr_axis(noise, grid, factor)


def _eps_axis(noise: GaussianNoise, grid: Array) -> Axis:
    """Of x_s = alpha_s (x_t - sigma_t eps) / alpha_t + sigma_s eps, the factor of eps."""
    alpha, sigma = noise.schedule(grid)
    factor = sigma[1:] - alpha[1:] * sigma[:-1] / jnp.where(alpha[:-1] > 0, alpha[:-1], 1)
    return _half_log_snr_axis(noise, grid, factor)


VELOCITY = Quantity(velocity, _clock_step, _clock_axis, polynomial_averages)
X0 = Quantity(
    lambda noise, x0, x, t: x0,
    ddim_step,
    _x0_axis,
    lambda h, nodes, used: polynomial_averages(h, nodes, used, 1),  # over d(alpha/sigma), which grows like e^lambda
)
EPS = Quantity(
    lambda noise, x0, x, t: noise.eps(x, x0, t),
    ddim_step,
    _eps_axis,
    lambda h, nodes, used: polynomial_averages(h, nodes, used, -1),  # over d(sigma/alpha)
)


def _attained_order(order: int, start: Step | None, start_order: int = 1) -> int:
    """At most p + 1, where the first steps are of order p (`start_order` without a start): they err by h^(p + 1)."""
    return min(order, ((start and start.order) or start_order) + 1)


def _check(rule: str, order: int, max_order: int, start: Step | None) -> None:
    """Raise UserError for an order beyond the rule's, or a start that is not a deterministic one-step rule."""
    if order not in range(1, max_order + 1):
        orders = ", ".join(str(k) for k in range(1, max_order))
        raise UserError(f"{rule}: order must be {orders} or {max_order}, got {order}")
    if start is not None and (start.init is not no_carry or start.stochastic):
        raise UserError(
            f"{rule}: start must be a deterministic rule of one step, such as steps.rk4(); got {start.name}"
        )
