"""Weights of multistep rules: integrals of the polynomials through the levels of a grid.

x_s is the result of a one-step rule plus an integral of the change of the previous values (x0, eps or a velocity), for
the polynomial through the last `order` levels. The integral is an average of the values, with weights that sum to 1; it
depends on the grid alone and is computed once for all steps.

A level of infinite log-SNR is no node. The order of a step drops to the highest q <= order with q nodes whose
polynomial does not magnify errors of the values: where, with A the absolute sum of the weights and h the step in half
log-SNR,

    A <= 2^q    or    h A <= 1/2.

Even steps have A below 2^(q-1); at order 2 a step may be three times as long as the one before it. A step changes x_s
by about h A times an error of x0 or eps, so by the second bound short steps keep their order however uneven they are:
on grids with bounded ratios of neighbouring steps, a rule attains its order as the steps get shorter. By the first
alone, a pattern of steps such as 1 : 4 or 1 : 1 : 3 stays at the order of its longest step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from diffjax.protocols import GaussianNoise, Step

_ROUNDING = 1.001  # of A: at order 2 it is 2^q exactly where a step is three times as long as the one before it
_MAX_MAGNIFICATION = 0.5  # of h A
_POINTS, _SHARES = (a / 2 for a in np.polynomial.legendre.leggauss(32))  # exact to rounding for |h| < 40


class Axis(NamedTuple):
    """The levels of a grid of n steps as a polynomial sees them."""

    at: Float[Array, " n+1"]  # the variable of the polynomial
    is_node: Bool[Array, " n+1"]  # whether the polynomial may pass through it
    is_finite: Bool[Array, " n"]  # whether the integral over this step is finite
    gain: Float[Array, " n"]  # the factor of the average in x_s
    h: Float[Array, " n"]  # the step in half log-SNR; infinite where an end of it is


class StepCoefficients(NamedTuple):
    """One step's coefficients of the values at t, at the level before t, and so on; each sums to 0."""

    extra: Float[Array, "*n order"]  # added to the one-step rule's x_s
    correct: Float[Array, "*n order+1"]  # added to x_t once the value at t is known (unipc)
    starting: Float[Array, "*n"]  # 1 while there are fewer nodes than the order needs
    start: PyTree  # the row of the starting rule, if it has a plan


Weigh = Callable[[Array, Array, Array], Array]  # (h, nodes relative to t, which of them are used) -> weights
Plan = Callable[[GaussianNoise, Array], StepCoefficients]


@dataclass(frozen=True)
class _Rule:
    order: int
    predictor: Weigh
    corrector: Weigh | None
    has_start: bool


class _Interval(NamedTuple):
    """One step of the grid, from `at` to `to`, with its other entries of `Axis`."""

    at: Array
    is_node: Array
    to: Array
    is_finite: Array
    gain: Array
    h: Array
    is_still: Array  # whether t = s


class _Past(NamedTuple):
    """The last levels, the newest first, and the correction of the last step."""

    at: Float[Array, " order"]
    is_node: Bool[Array, " order"]
    correct: Float[Array, " order+1"]


def polynomial_averages(h: Array, nodes: Array, used: Array, tilt: int = 0) -> Array:
    """∫ e^(tilt u) L_j(u) du / ∫ e^(tilt u) du over [0, h], L_j the Lagrange polynomials of the nodes that are used."""
    points = jnp.asarray(_POINTS + 0.5, h.dtype)
    shares = jax.nn.softmax(tilt * h * points + jnp.asarray(np.log(_SHARES), h.dtype))
    gaps = nodes[:, None] - nodes[None]
    others = used[None] & ~np.eye(len(nodes), dtype=bool)
    away = h * points[None, None] - nodes[None, :, None]
    factors = jnp.where(others[:, :, None], away / jnp.where(gaps == 0, 1, gaps)[:, :, None], 1)
    return jnp.where(used, jnp.sum(shares[None] * jnp.prod(factors, axis=1), axis=1), 0)


def make_plan(
    order: int,
    axis: Callable[[GaussianNoise, Array], Axis],
    predictor: Weigh,
    corrector: Weigh | None = None,
    start: Step | None = None,
) -> Plan:
    """The plan of a rule whose average has the weights `predictor`, and with s as the first node, `corrector`."""
    rule = _Rule(order, predictor, corrector, start is not None)

    def plan(noise: GaussianNoise, grid: Array) -> StepCoefficients:
        a = axis(noise, grid)
        is_still = grid[:-1] == grid[1:]
        intervals = _Interval(a.at[:-1], a.is_node[:-1], a.at[1:], a.is_finite, a.gain, a.h, is_still)
        empty = _Past(jnp.zeros(order, a.at.dtype), jnp.zeros(order, bool), jnp.zeros(order + 1, a.at.dtype))
        rows = jax.lax.scan(lambda past, interval: _step_coefficients(rule, past, interval), empty, intervals)[1]
        return rows._replace(start=start and start.plan and start.plan(noise, grid))

    return jax.jit(plan, static_argnums=0)


def _step_coefficients(rule: _Rule, past: _Past, interval: _Interval) -> tuple[_Past, StepCoefficients]:
    """The levels with this one, and the coefficients of the step from it."""
    at = jnp.concatenate([interval.at[None], past.at[: rule.order - 1]])
    is_node = jnp.concatenate([interval.is_node[None], past.is_node[: rule.order - 1]])
    weights, with_s = _select_order(rule, at - interval.at, is_node, interval)
    lacks_nodes = ~jnp.all(is_node) & ~interval.is_still
    starts = lacks_nodes & rule.has_start
    gain = interval.gain
    extra = gain * (weights - jnp.zeros(rule.order, gain.dtype).at[0].set(1))
    correct = gain * (with_s - jnp.concatenate([jnp.zeros_like(gain)[None], weights]))
    present = _Past(at, is_node, jnp.where(starts, 0, correct))
    row = StepCoefficients(
        jnp.where(interval.is_still | starts, 0, extra),
        jnp.where(interval.is_still, 0, past.correct),
        lacks_nodes.astype(gain.dtype),
        None,
    )
    return jax.tree.map(lambda before, after: jnp.where(interval.is_still, before, after), past, present), row


def _select_order(rule: _Rule, nodes: Array, is_node: Array, interval: _Interval) -> tuple[Array, Array]:
    """The weights of the highest stable order, and those with s as a node; 0 for s without a corrector."""
    step = interval.to - interval.at
    orders = jnp.arange(1, rule.order + 1)
    used = jnp.arange(rule.order)[None] < orders[:, None]
    weights = jax.vmap(rule.predictor, (None, None, 0))(step, nodes, used)
    has_nodes = jnp.all(is_node[None] | ~used, axis=1)
    serves = interval.is_finite & has_nodes & _is_stable(weights, orders, interval.h)
    best = jnp.max(jnp.where(serves, orders, 1)) - 1
    without_s = jnp.concatenate([jnp.zeros_like(step)[None], weights[best]])
    if rule.corrector is None:
        return weights[best], without_s
    used = jnp.concatenate([jnp.ones((rule.order, 1), bool), used], axis=1)
    with_s = jax.vmap(rule.corrector, (None, None, 0))(step, jnp.concatenate([step[None], nodes]), used)[best]
    return weights[best], jnp.where(serves[best] & _is_stable(with_s, best + 2, interval.h), with_s, without_s)


def _is_stable(weights: Array, order: Array, h: Array) -> Array:
    """Whether weights of this order do not magnify errors of the values."""
    size = jnp.sum(jnp.abs(weights), axis=-1)
    return (size <= _ROUNDING * 2.0**order) | (h * size <= _MAX_MAGNIFICATION)
