"""What a multistep rule needs of its grid: integrals of the polynomials through the levels it has seen.

x_s is a one-step rule's plus an integral of how the remembered values (x0, eps or a velocity) change, and they are
taken to change as the polynomial through the last `order` levels does. Its integral is an average of the values with
weights that add up to 1. All of it is a function of the grid alone, found once for all steps.

A level at an infinite log-SNR is no node. The order of a step drops to the highest q <= order for which there are q
nodes and the polynomial does not magnify errors of the values: for which, with A the weights' absolute sum and h the
step in half log-SNR,

    A <= 2^q    or    h A <= 1/2.

Even steps have A below 2^(q-1); at order 2 a step may be three times as long as the one before it. A step of x0 or eps
changes x_s by about h A times an error of the values, so the second bound lets short steps keep their order however
uneven they are: on grids whose neighbouring steps have bounded ratios, a rule attains its order as the steps get
shorter. By the first alone, a pattern of steps such as 1 : 4 or 1 : 1 : 3 stays at the order of its longest step.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffjax.noise import Gaussian

_ROUNDING = 1.001  # of A: at order 2 it is 2^q exactly where a step is three times as long as the one before it
_MAX_MAGNIFICATION = 0.5  # of h A
_POINTS, _SHARES = (a / 2 for a in np.polynomial.legendre.leggauss(32))  # exact to rounding for |h| < 40


class Axis(NamedTuple):
    """Where the levels lie, for a grid of n steps."""

    at: Array  # [n + 1], the variable of the polynomial
    node: Array  # [n + 1], whether the polynomial may pass through it
    finite: Array  # [n], whether the integral of this step is finite
    gain: Array  # [n], by how much x_s changes with the average
    h: Array  # [n], the step in half log-SNR; infinite where an end of it is


class StepCoefficients(NamedTuple):
    """One step's coefficients, for the values at t, at the level before t, and so on; each adds up to 0."""

    extra: Array  # what x_s is more than the one-step rule's
    correct: Array  # what x_t would have been more, had the value at t been known (unipc)
    starting: Array  # 1 while there are fewer nodes than the order asks for
    start: Any  # the row of the rule that starts, if it has one


Weigh = Callable[[Array, Array, Array], Array]  # (h, nodes relative to t, which of them are used) -> weights
Plan = Callable[[Gaussian, Array], StepCoefficients]


def polynomial_averages(h: Array, nodes: Array, used: Array, tilt: int = 0) -> Array:
    """∫ e^(tilt u) L_j(u) du / ∫ e^(tilt u) du over [0, h], L_j the Lagrange polynomials of the nodes that are used."""
    log_shares, points = (jnp.asarray(a, h.dtype) for a in (np.log(_SHARES), _POINTS + 0.5))
    shares = jax.nn.softmax(tilt * h * points + log_shares)
    gaps, others = nodes[:, None] - nodes[None], used[None] & ~np.eye(len(nodes), dtype=bool)
    away = h * points[None, None] - nodes[None, :, None]
    factors = jnp.where(others[:, :, None], away / jnp.where(gaps == 0, 1, gaps)[:, :, None], 1)
    return jnp.where(used, jnp.sum(shares[None] * jnp.prod(factors, axis=1), axis=1), 0)


def make_plan(
    order: int,
    axis: Callable[[Gaussian, Array], Axis],
    weigh: Weigh,
    corrector: Weigh | None = None,
    start: Any = None,
) -> Plan:
    """The plan of a rule whose average of q nodes has the weights `weigh`, and of q + 1, with s first, `corrector`."""

    row = functools.partial(_step_coefficients, order, weigh, corrector, start is not None)

    def plan(noise: Gaussian, grid: Array) -> StepCoefficients:
        a, still = axis(noise, grid), grid[:-1] == grid[1:]
        none = jnp.zeros(order, a.at.dtype), jnp.zeros(order, bool), jnp.zeros(order + 1, a.at.dtype)
        stops = (a.at[:-1], a.node[:-1], a.at[1:], a.finite, a.gain, a.h, still)
        extra, correct, lacking = jax.lax.scan(row, none, stops)[1]
        return StepCoefficients(extra, correct, lacking, start and start.plan and start.plan(noise, grid))

    return jax.jit(plan, static_argnums=0)


def _step_coefficients(
    order: int, weigh: Weigh, corrector: Weigh | None, has_start: bool, past: Any, now: Any
) -> tuple[Any, Any]:
    """One step's row, and what the next must know: the nodes so far, and by how much this step may be corrected."""
    (nodes, is_node, correct), (at, node, to, finite, gain, h, still) = past, now
    nodes = jnp.concatenate([at[None], nodes[: order - 1]])
    is_node = jnp.concatenate([node[None], is_node[: order - 1]])
    weights, after = _select_order(order, weigh, corrector, to - at, nodes - at, is_node, finite, h)
    lacking = ~jnp.all(is_node) & ~still
    starts = lacking & has_start
    change = gain * (weights - _unit_vector(order, gain.dtype))
    later = gain * (after - jnp.concatenate([jnp.zeros_like(gain)[None], weights]))
    new = nodes, is_node, jnp.where(starts, 0, later)
    state = jax.tree.map(lambda before, after: jnp.where(still, before, after), past, new)
    row = jnp.where(still | starts, 0, change), jnp.where(still, 0, correct), lacking.astype(gain.dtype)
    return state, row


def _unit_vector(count: int, dtype: Any) -> Array:
    return jnp.zeros(count, dtype).at[0].set(1)


def _select_order(
    order: int,
    weigh: Weigh,
    corrector: Weigh | None,
    step: Array,
    nodes: Array,
    is_node: Array,
    finite: Array,
    h: Array,
) -> tuple[Array, Array]:
    """The weights of the highest order that serves, and those with s; without a corrector, these give s none."""
    orders = jnp.arange(1, order + 1)
    used = jnp.arange(order)[None] < orders[:, None]
    weights = jax.vmap(weigh, (None, None, 0))(step, nodes, used)
    serves = finite & jnp.all(is_node[None] | ~used, axis=1) & _is_stable(weights, orders, h)
    best = jnp.max(jnp.where(serves, orders, 1)) - 1
    before = jnp.concatenate([jnp.zeros_like(step)[None], weights[best]])
    if corrector is None:
        return weights[best], before
    with_s = jnp.concatenate([jnp.ones((order, 1), bool), used], axis=1)
    after = jax.vmap(corrector, (None, None, 0))(step, jnp.concatenate([step[None], nodes]), with_s)[best]
    return weights[best], jnp.where(serves[best] & _is_stable(after, best + 2, h), after, before)


def _is_stable(weights: Array, order: Array, h: Array) -> Array:
    """Whether weights of this order magnify errors of the values by no more than they may."""
    size = jnp.sum(jnp.abs(weights), axis=-1)
    return (size <= _ROUNDING * 2.0**order) | (h * size <= _MAX_MAGNIFICATION)
