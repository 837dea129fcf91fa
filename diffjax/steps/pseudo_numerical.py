"""Pseudo numerical methods (Liu et al. 2022, PNDM): classic methods whose every move is a step of ddim.

With an eps that is known the step of ddim is their transfer (eq. 9, written out),

    phi(x, eps, t, s) = alpha_s (x - sigma_t eps) / alpha_t + sigma_s eps,

and a method's mean of several eps takes the place of one: x_s = phi(x_t, mean, t, s).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffjax.protocols import GaussianNoise, Keys, Level, Sample, Step
from diffjax.steps.ancestral import DenoiseAt, no_carry
from diffjax.steps.multistep import EPS, make_multistep
from diffjax.steps.multistep_weights import Plan, StepCoefficients
from diffjax.utils.memo import memoize_by_arguments

WEIGHTS = (  # Adams-Bashforth of even steps: of 1 to 4 values, the last first
    (1.0, 0.0, 0.0, 0.0),
    (3 / 2, -1 / 2, 0.0, 0.0),
    (23 / 12, -16 / 12, 5 / 12, 0.0),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
RUNGE_KUTTA_STEPS = 3  # until there are four values


@memoize_by_arguments
def pndm(runge_kutta: bool = False) -> Step:
    """x_s = phi(x_t, mean, t, s) of an Adams-Bashforth mean of up to four eps (Liu et al. 2022, PNDM, eq. 12).

    Attains 2, on even steps of the clock, for which the means are. The first step has the mean of eps at t and, as
    ddim steps there, at s: the PLMS of Stable Diffusion. With `runge_kutta` the first three are pseudo Runge-Kutta
    steps of four evaluations: F-PNDM (algorithm 2). A step from alpha = 0 or sigma = 0 is ddim's.
    """
    start, starts = (_pseudo_rk4(), RUNGE_KUTTA_STEPS) if runge_kutta else (_pseudo_heun(), 1)
    return make_multistep("pndm", EPS, _make_plan(starts), len(WEIGHTS) - 1, start, 2)


def _make_plan(starts: int) -> Plan:
    """The coefficients where the first `starts` steps are the starting rule's."""

    def plan(noise: GaussianNoise, grid: Array) -> StepCoefficients:
        alpha, sigma = noise.schedule(grid)
        is_node = (grid[:-1] != grid[1:]) & (alpha[:-1] > 0) & (sigma[:-1] > 0)
        nodes_before = jnp.cumsum(is_node) - 1
        gain = sigma[1:] - alpha[1:] * sigma[:-1] / jnp.where(is_node, alpha[:-1], 1)  # of eps in x_s
        change = jnp.asarray(np.subtract(WEIGHTS, WEIGHTS[0]), grid.dtype)[jnp.clip(nodes_before, 0, len(WEIGHTS) - 1)]
        starting = is_node & (nodes_before < starts) & (sigma[1:] > 0)
        extra = jnp.where((is_node & ~starting)[:, None], gain[:, None] * change, 0)
        return StepCoefficients(extra, jnp.zeros((len(extra), 0), grid.dtype), starting.astype(grid.dtype), None)

    return plan


@memoize_by_arguments
def _pseudo_heun() -> Step:
    """The mean of eps at t and at s, as ddim steps there (Liu et al. 2022, S-PNDM)."""

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        first = _eps(noise, denoise, x, t)
        second = _eps(noise, denoise, _transfer(noise, x, first, t, s), s)
        return _transfer(noise, x, (first + second) / 2, t, s), carry

    return Step(no_carry, update, evaluations=2, needs=GaussianNoise, order=2)


@memoize_by_arguments
def _pseudo_rk4() -> Step:
    """eps at t, twice half way on the clock and at s, weighed 1 : 2 : 2 : 1 (Liu et al. 2022, eq. 13)."""

    def update(
        keys: Keys, noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level, s: Level, carry: None
    ) -> tuple[Sample, None]:
        half = (t + s) / 2
        first = _eps(noise, denoise, x, t)
        second = _eps(noise, denoise, _transfer(noise, x, first, t, half), half)
        third = _eps(noise, denoise, _transfer(noise, x, second, t, half), half)
        fourth = _eps(noise, denoise, _transfer(noise, x, third, t, s), s)
        return _transfer(noise, x, (first + 2 * second + 2 * third + fourth) / 6, t, s), carry

    return Step(no_carry, update, evaluations=4, needs=GaussianNoise, order=2)


def _eps(noise: GaussianNoise, denoise: DenoiseAt, x: Sample, t: Level) -> Sample:
    return noise.eps(x, denoise(x, t), t)


def _transfer(noise: GaussianNoise, x: Sample, eps: Sample, t: Level, s: Level) -> Sample:
    """phi(x, eps, t, s); x0 = 0 where alpha_t = 0."""
    at_t, at_s = noise.coefficients(t), noise.coefficients(s)
    has_signal = at_t.alpha > 0
    x0 = jnp.where(has_signal, x - at_t.sigma * eps, 0) / jnp.where(has_signal, at_t.alpha, 1)
    return at_s.alpha * x0 + at_s.sigma * eps
