"""Rules that remember earlier predictions. All memory is in the carry; it starts empty with every sample.

`start` is a one-step rule (heun(), midpoint(), dpmpp_2s(), rk4()) that moves x while there are fewer finite levels
behind than the order asks for. It spends its own evaluations in these steps, `order - 1` of them and one more from
alpha = 0. Without it they are of a lower order, and their error caps the order that the whole attains.

The orders are attained as steps get shorter, on even grids and on uneven ones, where the ratios of neighbouring steps
are bounded (`interpolation` drops the order of a long step that would magnify errors). Of few steps less may be
measured: where the errors of the start and of the rest have opposite signs, and where a step is more than about three
times as long as the one before it and not yet short.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import GaussianNoise, Step
from diffjax.schedule import has_infinite_slope, log_snr
from diffjax.steps.ancestral import no_carry
from diffjax.steps.multistep_weights import Axis, StepCoefficients, make_plan, polynomial_averages
from diffjax.steps.ode import ddim_step, euler_step, velocity
from diffjax.utils.memo import memoize_by_arguments


@memoize_by_arguments
def adams(order: int = 4, start: Step | None = None) -> Step:
    """Adams-Bashforth on the clock: dx/dt is the polynomial in t through its last values. Attains min(order, 2).

    (Hairer, Nørsett & Wanner 1993, III.5, weights for uneven steps.) With start=rk4(), or heun() up to order 3, it
    attains its order, 1 to 4. Under edm_of(rho=1), whose clock is sigma, this is what k-diffusion calls LMS. A step
    to where sigma' is infinite or from sigma = 0 is ddim's.
    """
    _check("adams", order, 4, start)

    def update(*arguments: Any) -> tuple[Array, Any]:
        return _multistep_update(velocity, _clock_step, start, *arguments)

    plan = make_plan(order, _clock_axis, polynomial_averages, start=start)
    return Step(_empty_memory(order - 1), update, needs=GaussianNoise, plan=plan, order=_attained_order(order, start))


@memoize_by_arguments
def dpmpp_3m(start: Step | None = None) -> Step:
    """DPM-Solver++ of three levels: x0 is the parabola in half log-SNR through its last values. Attains 2.

    (Lu et al. 2022b, eq. 9 and section 5, with k = 3.) With start=heun(), or any of order 2, it attains 3. diffusers'
    multistep code weighs the second difference with half of the integral of u², and so stays at order 2.
    """
    _check("dpmpp_3m", 3, 3, start)

    def update(*arguments: Any) -> tuple[Array, Any]:
        return _multistep_update(_x0, ddim_step, start, *arguments)

    plan = make_plan(3, _x0_axis, _x0_weights, start=start)
    return Step(_empty_memory(2), update, needs=GaussianNoise, plan=plan, order=_attained_order(3, start))


@memoize_by_arguments
def deis(order: int = 3, start: Step | None = None) -> Step:
    """eps is the polynomial in half log-SNR through its last values, integrated exactly. Attains min(order, 2).

    x_s / alpha_s = x_t / alpha_t + ∫ eps d(sigma/alpha) (Zhang & Chen 2023, DEIS, eq. 14 and 15, their AB with the
    polynomial in log(sigma/alpha), as diffusers has it, in place of t). With start=rk4(), or heun() up to order 3, it
    attains its order, 1 to 4.
    """
    _check("deis", order, 4, start)

    def update(*arguments: Any) -> tuple[Array, Any]:
        return _multistep_update(_eps, ddim_step, start, *arguments)

    plan = make_plan(order, _eps_axis, _eps_weights, start=start)
    return Step(_empty_memory(order - 1), update, needs=GaussianNoise, plan=plan, order=_attained_order(order, start))


@memoize_by_arguments
def unipc(order: int = 2, variant: str = "bh2", start: Step | None = None) -> Step:
    """A predictor of so many levels in half log-SNR, whose x_t the next prediction corrects. Attains min(order + 1, 3).

    UniPC (Zhao et al. 2023, algorithms 1 and 2, of x0). The corrector costs no evaluation: x0 is not asked again at the
    corrected x_t, and the last x_s is not corrected. With start=rk4() order 3 attains 4. B(h) = h ("bh1") or e^h - 1
    ("bh2") matters only where the paper solves one equation by a = 1/2: in predictors of two levels and in correctors
    of the first; all other weights are the exact integrals.

    Order 3 without a start errs by h³ in all, and by h⁴ after its first step. A part of that h³ is the first
    corrector's: the exact weight of x0 at s is 1/2 + h/12 + …, "bh2" takes 1/2 and "bh1" 1/2 + h/4 + …, so it errs
    twice as much, to the other side. In "bh1" the two terms may cancel at some number of steps, and slopes of 2 to 3
    be seen there, in place of 3.
    """
    _check("unipc", order, 3, start)
    if variant not in _SCALES:
        raise UserError(f'unipc: variant must be "bh1" or "bh2", got {variant!r}')
    scale = _SCALES[variant]

    def predicted(h: Array, nodes: Array, used: Array) -> Array:
        growth = -scale(h) * h / (2 * jnp.where(nodes[1:2] == 0, 1, nodes[1:2]))
        simple = jnp.concatenate([1 + growth, -growth, jnp.zeros_like(nodes[2:])])
        return jnp.where(jnp.sum(used) == 2, simple, _x0_weights(h, nodes, used))

    def corrected(h: Array, nodes: Array, used: Array) -> Array:
        half = scale(h)[None] / 2
        simple = jnp.concatenate([half, 1 - half, jnp.zeros_like(nodes[2:])])
        return jnp.where(jnp.sum(used) == 2, simple, _x0_weights(h, nodes, used))

    def update(*arguments: Any) -> tuple[Array, Any]:
        return _multistep_update(_x0, ddim_step, start, *arguments)

    plan = make_plan(order, _x0_axis, predicted if order > 1 else _x0_weights, corrected, start)
    attained = _attained_order(order + 1, start, 2)
    return Step(_empty_memory(order), update, needs=GaussianNoise, plan=plan, order=attained)


_SCALES: dict[str, Callable[[Array], Array]] = {
    "bh1": lambda h: jnp.where(h == 0, 1, h) / -jnp.expm1(-jnp.where(h == 0, 1, h)),
    "bh2": jnp.ones_like,
}


def _multistep_update(
    value: Callable,
    first: Callable,
    start: Step | None,
    keys: Array,
    noise: Gaussian,
    denoise: Any,
    x: Array,
    t: Array,
    s: Array,
    past: tuple[Array, ...],
    row: StepCoefficients,
) -> tuple[Array, tuple[Array, ...]]:
    """x_t corrected, moved by the one-step rule `first` and by what the row adds of the values known so far."""
    x0 = denoise(x, t)
    values = (value(noise, x0, x, t), *past)
    here = x + _sum(row.correct, values) if len(values) == len(row.correct) else x
    moved = first(noise, x0, here, t, s) + _sum(row.extra, values)
    if start is not None:
        answers = [x0]  # to the first question, which is the same

        def again(x: Array, t: Array) -> Array:
            return answers.pop() if answers else denoise(x, t)

        rows = () if start.plan is None else (row.start,)
        moved = jax.lax.cond(
            row.starting > 0, lambda: start.update(keys, noise, again, x, t, s, None, *rows)[0], lambda: moved
        )
    memory = [jnp.where(t == s, old, new) for old, new in zip(past, values, strict=False)]
    return jnp.where(t == s, x, moved), tuple(memory)


def _sum(weights: Any, values: tuple[Array, ...]) -> Array:
    total = weights[0] * values[0]
    for k in range(1, len(weights)):
        total = total + weights[k] * values[k]
    return total


def _empty_memory(size: int) -> Callable[[Array], tuple[Array, ...]]:
    return lambda x: (jnp.zeros_like(x),) * size


def _x0(noise: Gaussian, x0: Array, x: Array, t: Array) -> Array:
    return x0


def _eps(noise: Gaussian, x0: Array, x: Array, t: Array) -> Array:
    return noise.eps(x, x0, t)


def _clock_step(noise: Gaussian, x0: Array, x: Array, t: Array, s: Array) -> Array:
    """Euler's step, and ddim's where it would need an infinite slope."""
    regular = (noise.coefficients(t).sigma > 0) & ~has_infinite_slope(noise.coefficients(s))
    return jnp.where(regular, euler_step(noise, x0, x, t, s), ddim_step(noise, x0, x, t, s))


def _x0_weights(h: Array, nodes: Array, used: Array) -> Array:
    return polynomial_averages(h, nodes, used, 1)  # x0 is integrated over d(alpha/sigma), which grows like e^lambda


def _eps_weights(h: Array, nodes: Array, used: Array) -> Array:
    return polynomial_averages(h, nodes, used, -1)  # eps over d(sigma/alpha)


def _clock_axis(noise: Gaussian, grid: Array) -> Axis:
    m = noise.coefficients(grid)
    noisy = m.sigma > 0
    reached = noisy[:-1] & ~has_infinite_slope(m)[1:]
    return Axis(
        grid, noisy & ~has_infinite_slope(m), reached, jnp.diff(grid), _step_lengths(*_finite_half_log_snr(noise, grid))
    )


def _half_log_snr_axis(noise: Gaussian, grid: Array, gain: Array) -> Axis:
    at, finite = _finite_half_log_snr(noise, grid)
    both = finite[:-1] & finite[1:]
    return Axis(at, finite, both, jnp.where(both, gain, 0), _step_lengths(at, finite))


def _finite_half_log_snr(noise: Gaussian, grid: Array) -> tuple[Array, Array]:
    """Half the log-SNR, 0 where it is infinite, and where it is finite."""
    at = log_snr(noise.schedule, grid) / 2
    finite = jnp.isfinite(at)
    return jnp.where(finite, at, 0), finite


def _step_lengths(at: Array, finite: Array) -> Array:
    """The length of each step, infinite where an end is."""
    return jnp.where(finite[:-1] & finite[1:], jnp.abs(jnp.diff(at)), jnp.inf)


def _x0_axis(noise: Gaussian, grid: Array) -> Axis:
    """x_s = alpha_s x0 + sigma_s (x_t - alpha_t x0) / sigma_t: alpha_s - sigma_s alpha_t / sigma_t times x0."""
    alpha, sigma = noise.schedule(grid)
    return _half_log_snr_axis(
        noise, grid, alpha[1:] - sigma[1:] * alpha[:-1] / jnp.where(sigma[:-1] > 0, sigma[:-1], 1)
    )


def _eps_axis(noise: Gaussian, grid: Array) -> Axis:
    """x_s = alpha_s (x_t - sigma_t eps) / alpha_t + sigma_s eps: sigma_s - alpha_s sigma_t / alpha_t times eps."""
    alpha, sigma = noise.schedule(grid)
    return _half_log_snr_axis(
        noise, grid, sigma[1:] - alpha[1:] * sigma[:-1] / jnp.where(alpha[:-1] > 0, alpha[:-1], 1)
    )


def _attained_order(order: int, start: Step | None, start_order: int = 1) -> int:
    """The first steps, of order p, err by h^(p + 1) in all; p of its `start_order` ones, where there is no other
    start."""
    return min(order, ((start and start.order) or start_order) + 1)


def _check(rule: str, order: int, max_order: int, start: Step | None) -> None:
    """Raise UserError for an order that is not there, or a start that is not one step of a deterministic rule."""
    if order not in range(1, max_order + 1):
        orders = ", ".join(str(k) for k in range(1, max_order))
        raise UserError(f"{rule}: order must be {orders} or {max_order}, got {order}")
    if start is not None and (start.init is not no_carry or start.stochastic):
        raise UserError(
            f"{rule}: start must be a deterministic rule of one step, such as steps.rk4(); got {start.name}"
        )
